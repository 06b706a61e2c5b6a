"""Making an edit set of a network's mistakes, or finding the one that was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from editset_helpers.building import select
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from editset_helpers.selection import SUFFIX, Selection, default_name
from helpers.cli import DatasetName, say
from helpers.errors import UsageError
from helpers.evaluation import predict_logits
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import spec_of
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash

DIGITS = 8


@dataclass(frozen=True)
class Wanted:
    """What a file is to hold: a selection of test images by what a network says of them."""

    selection: Selection
    test: ImageDataset
    weights_hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """What its provenance says then."""
        facts = self.selection.facts(self.test.class_names)
        if self.selection.max_samples is None:
            del facts["seed"]  # all images are taken
        return {**facts, "dataset_hash": self.test.content_hash, "split": "test", "weights_hash": self.weights_hash}

    def misfit(self, path: Path) -> str | None:
        """Why a file does not hold this, or None; raises `ToolError` where it cannot be read."""
        provenance = load_edit_set(path, None).provenance
        for key, value in self.facts.items():
            if key not in provenance:
                return "does not say how it was made"
            if provenance[key] != value:
                return WHY.get(key, "holds another selection").format(found=provenance[key] or "none")
        return None


WHY = {
    "max_samples": "was made with --max-samples {found}",
    "seed": "was made with --seed {found}",
    "dataset_hash": "was made of other images",
    "weights_hash": "was made with other weights",
}


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
    hashes = f"{wanted.weights_hash[:DIGITS]}_{wanted.test.content_hash[:DIGITS]}"
    other = usual.with_name(usual.name.replace(SUFFIX, f"_{hashes}{SUFFIX}"))
    if other.exists() and (still := wanted.misfit(other)) is not None:
        raise UsageError(f"{usual} {why}, and {other} {still}: remove one of them, or name a set yourself.")
    return Place(other, other.exists(), f"{usual} {why}, so {other} is used.")


def usual_path(wanted: Wanted, folder: Path) -> Path:
    """The file of a selection unless another set has its name; raises `UsageError` where there is no such class."""
    return folder / f"{default_name(wanted.selection, wanted.test.class_names)}{SUFFIX}"


@dataclass(frozen=True, eq=False)
class Source:
    """Test images and the network that says which of them it gets wrong.

    Attributes:
        test: the images.
        logits: gives the network's, float32 (N, C).
        weights: the network's file.
        weights_hash: names the network.
    """

    test: ImageDataset
    logits: Callable[[], torch.Tensor]
    weights: Path
    weights_hash: str


def open_source(dataset: DatasetName, data_root: Path | None, weights: Path) -> Source:
    """Load the test images and a network; raises `ToolError` where they are missing or damaged."""
    test = load_dataset(dataset, "test", data_root, spec_of(weights))
    model = load_alexnet(weights, len(test.class_names))

    def logits() -> torch.Tensor:
        return predict_logits(model, test, told="finding the images")

    return Source(test, logits, weights, weights_hash(model))


def find_or_make(selection: Selection, source: Source, folder: Path, command: str) -> Path:
    """The file of a selection in a folder, see `editset_helpers.generation`; it is made where it is missing.

    Raises:
        ToolError: there is no such class, no image qualifies, or a file cannot be read or written.
    """
    place = place_of(Wanted(selection, source.test, source.weights_hash), folder)
    if place.note is not None:
        say(f"note: {place.note}")
    if not place.exists:
        say(f"There is no {place.path} yet: generating it.")
        save_edit_set(generate_edit_set(selection, source, command), place.path)
    return place.path


def generate_edit_set(selection: Selection, source: Source, command: str) -> EditSet:
    """Select test images by what the network says of them.

    Args:
        selection: which images.
        source: the images and the network.
        command: the command line, for the provenance.

    Raises:
        ToolError: there is no such class, or no image qualifies.
    """
    edit_set = select(selection, source.test, source.logits())
    if selection.max_samples is not None and len(edit_set) < selection.max_samples:
        say(f"only {len(edit_set)} images qualify, fewer than {selection.max_samples}: all of them are taken")
    made_with = {"weights": str(source.weights), "weights_hash": source.weights_hash, "command": command}
    return replace(edit_set, provenance={**edit_set.provenance, **made_with})
