"""Making an edit set of a network's mistakes, or finding the one that was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from editset_helpers.building import at_positions, of_pictures, select
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from editset_helpers.lists import Picture
from editset_helpers.selection import SUFFIX, Correctness, Selection, default_name
from helpers.cli import say
from helpers.errors import ToolError, UsageError
from helpers.evaluation import is_right, predict_logits
from helpers.images.datasets import ImageDataset
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash

DIGITS = 8


@dataclass(frozen=True)
class Wanted:
    """What a file is to hold: a selection of a split's images by what a network says of them."""

    selection: Selection
    images: ImageDataset
    weights_hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """What its provenance says then."""
        images, facts = self.images, self.selection.facts(self.images.class_names)
        if self.selection.max_samples is None:
            del facts["seed"]  # all images are taken
        return {**facts, "dataset_hash": images.content_hash, "split": images.split, "weights_hash": self.weights_hash}

    def misfit(self, path: Path) -> str | None:
        """Why a file does not hold this, or None; raises `ToolError` where it cannot be read."""
        provenance = load_edit_set(path, None).provenance
        for key, value in self.facts.items():
            if key not in provenance and key not in YOUNGER:
                return "does not say how it was made"
            if provenance.get(key) != value:
                return WHY.get(key, "holds another selection").format(found=provenance.get(key) or "none")
        return None


WORD = {"incorrect": "wrong", "correct": "right"}
YOUNGER = ("predicted_class", "indices", "relabeled")  # what older sets do not say was not asked for
WHY = {
    "max_samples": "was made with --max-samples {found}",
    "seed": "was made with --seed {found}",
    "dataset_hash": "was made of other images",
    "weights_hash": "was made with other weights",
}


@dataclass(frozen=True, eq=False)
class WantedPictures:
    """What a file is to hold: these pictures, with these labels and what this network says of them."""

    edit_set: EditSet

    def misfit(self, path: Path) -> str | None:
        """Why a file does not hold this, or None; raises `ToolError` where it cannot be read."""
        there = load_edit_set(path, None)
        if there.content_hash != self.edit_set.content_hash:
            return "holds other images"
        same = there.provenance.get("weights_hash") == self.edit_set.provenance["weights_hash"]
        return None if same else WHY["weights_hash"]


@dataclass(frozen=True)
class Place:
    """Where a set lies or is to be made; ``note`` says why not under its usual name."""

    path: Path
    exists: bool
    note: str | None = None


def place_of(wanted: Wanted, folder: Path) -> Place:
    """The file of a selection, which is there or can be made.

    Raises:
        UsageError: both names are taken by other sets, or there is no such class.
        ToolError: a file of that name is damaged.
    """
    usual = usual_path(wanted, folder)
    if not usual.exists() or (why := wanted.misfit(usual)) is None:
        return Place(usual, usual.exists())
    hashes = f"{wanted.weights_hash[:DIGITS]}_{wanted.images.content_hash[:DIGITS]}"
    other = usual.with_name(usual.name.replace(SUFFIX, f"_{hashes}{SUFFIX}"))
    if other.exists() and (still := wanted.misfit(other)) is not None:
        raise UsageError(f"{usual} {why}, and {other} {still}: remove one of them, or name a set yourself.")
    return Place(other, other.exists(), f"{usual} {why}, so {other} is used.")


def usual_path(wanted: Wanted, folder: Path) -> Path:
    """The file of a selection unless another set has its name; raises `UsageError` where there is no such class."""
    return folder / f"{default_name(wanted.selection, wanted.images.class_names)}{SUFFIX}"


@dataclass(frozen=True, eq=False)
class Source:
    """A split's images and the network that says which of them it gets wrong.

    Attributes:
        images: the split.
        model: in evaluation mode.
        weights: the network's file.
        weights_hash: names the network.
        logits: gives what it says of them, (N, C), where that may be known already; None where it is not.
    """

    images: ImageDataset
    model: nn.Module
    weights: Path
    weights_hash: str
    logits: Callable[[], torch.Tensor] | None = None

    def all_logits(self) -> torch.Tensor:
        """What the network says of all images, (N, C)."""
        if self.logits is not None:
            return self.logits()
        return predict_logits(self.model, self.images.images, progress="finding the images")


def open_source(images: ImageDataset, weights: Path) -> Source:
    """Load a network for a split; raises `ToolError` where it is missing or damaged."""
    model = load_alexnet(weights, len(images.class_names))
    return Source(images, model, weights, weights_hash(model))


def find_or_make(selection: Selection, source: Source, folder: Path, command: str) -> Path:
    """The file of a selection in a folder, see `editset_helpers.generation`; it is made where it is missing.

    Raises:
        ToolError: there is no such class, no image qualifies, or a file cannot be read or written.
    """
    place = place_of(Wanted(selection, source.images, source.weights_hash), folder)
    if place.note is not None:
        say(f"note: {place.note}")
    if not place.exists:
        say(f"There is no {place.path} yet: generating it.")
        save_edit_set(generate_edit_set(selection, source, command), place.path)
    return place.path


def generate_edit_set(selection: Selection, source: Source, command: str) -> EditSet:
    """Select images of a split by what the network says of them, or by their numbers.

    Args:
        selection: which images.
        source: the images and the network.
        command: the command line, for the provenance.

    Raises:
        ToolError: there is no such class, or no image qualifies.
    """
    if selection.kind == "indices":
        positions = np.array(selection.indices, dtype=np.int64)
        logits = predict_logits(source.model, source.images.images[positions])
        return made_with(source, command, at_positions(selection, source.images, positions, logits))
    edit_set = select(selection, source.images, source.all_logits())
    if selection.max_samples is not None and len(edit_set) < selection.max_samples:
        say(f"only {len(edit_set)} images qualify, fewer than {selection.max_samples}: all of them are taken")
    return made_with(source, command, edit_set)


def generate_set_of_files(
    path: Path,
    pictures: list[Picture],
    correctness: Correctness,
    splits: list[ImageDataset],
    *,
    source: Source,
    command: str,
) -> EditSet:
    """The edit set of listed pictures.

    Args:
        path: the list, for the provenance.
        pictures: in its order.
        correctness: which of them, by whether the network is right.
        splits: the dataset, in which pictures may be, too.
        source: one of the splits, and the network.
        command: the command line, for the provenance.

    Raises:
        ToolError: no picture qualifies.
    """
    logits = predict_logits(source.model, np.stack([picture.pixels for picture in pictures]))
    edit_set = of_pictures(pictures, splits, logits)
    right = is_right(logits, edit_set.labels.numpy())
    chosen = np.flatnonzero({"incorrect": ~right, "correct": right, "any": np.ones_like(right)}[correctness])
    if not len(chosen):
        raise ToolError(f"There is nothing to select: the network gets no picture of {path} {WORD[correctness]}.")
    facts = {"list": str(path), "correctness": correctness}
    edit_set = replace(edit_set.at(chosen), positions=None, provenance={**edit_set.provenance, **facts})
    return made_with(source, command, edit_set)


def made_with(source: Source, command: str, edit_set: EditSet) -> EditSet:
    """The set whose provenance says which network and which command made it."""
    facts = {"weights": str(source.weights), "weights_hash": source.weights_hash, "command": command}
    return replace(edit_set, provenance={**edit_set.provenance, **facts})
