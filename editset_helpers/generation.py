"""Making an edit set of a network's mistakes, or finding the one that was made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from editset_helpers.building import select
from editset_helpers.edit_set import EditSet, save_edit_set
from editset_helpers.naming import Wanted, place_of
from editset_helpers.selection import Selection
from helpers.cli import DatasetName, say
from helpers.datasets import ImageDataset, load_dataset
from helpers.evaluation import predict_logits
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash


@dataclass(frozen=True, eq=False)
class Source:
    """Test images and the network that says which of them it gets wrong.

    Attributes:
        test: the images.
        model: in evaluation mode.
        weights: the network's file.
        weights_hash: names the network.
    """

    test: ImageDataset
    model: nn.Module
    weights: Path
    weights_hash: str


def open_source(dataset: DatasetName, data_root: Path | None, weights: Path) -> Source:
    """Load the test images and a network; raises `ToolError` where they are missing or damaged."""
    test = load_dataset(dataset, "test", data_root)
    model = load_alexnet(weights, len(test.class_names))
    return Source(test, model, weights, weights_hash(model))


def find_or_make(selection: Selection, source: Source, folder: Path, command: str) -> Path:
    """The file of a selection in a folder, see `editset_helpers.naming`; it is made where it is missing.

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
    logits = predict_logits(source.model, source.test.images, progress="finding the images")
    edit_set = select(selection, source.test, logits)
    if selection.max_samples is not None and len(edit_set) < selection.max_samples:
        say(f"only {len(edit_set)} images qualify, fewer than {selection.max_samples}: all of them are taken")
    made_with = {"weights": str(source.weights), "weights_hash": source.weights_hash, "command": command}
    return replace(edit_set, provenance={**edit_set.provenance, **made_with})
