"""Making an edit set from files: the test images, the weights, one pass of the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from editset_helpers.building import select
from editset_helpers.edit_set import EditSet
from editset_helpers.selection import Selection, default_name, resolve_class
from helpers.cli import DatasetName, say
from helpers.datasets import load_dataset
from helpers.evaluation import predict_logits
from helpers.paths import edit_sets
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash


def generate_edit_set(
    selection: Selection, dataset: DatasetName, data_root: Path | None, weights: Path, command: str
) -> EditSet:
    """Select images of the test split by what the network with these weights says of them.

    Args:
        selection: which images.
        dataset: where the images come from.
        data_root: a folder to use instead of the dataset's own.
        weights: the weights' file.
        command: the command line, for the provenance.

    Raises:
        ToolError: there are no such images, weights or class, or no image qualifies.
    """
    images = load_dataset(dataset, "test", data_root)
    if selection.kind == "by-class":
        resolve_class(selection.target_class, images.class_names)  # before the network runs over every image
    model = load_alexnet(weights, len(images.class_names))
    edit_set = select(selection, images, predict_logits(model, images.images, progress="finding the images"))
    if selection.max_samples is not None and len(edit_set) < selection.max_samples:
        say(f"only {len(edit_set)} images qualify, fewer than {selection.max_samples}: all of them are taken")
    made_with = {"weights": str(weights), "weights_hash": weights_hash(model), "command": command}
    return replace(edit_set, provenance={**edit_set.provenance, **made_with})


def default_path(selection: Selection, dataset: DatasetName, data_root: Path | None = None) -> Path:
    """Where the edit set of a selection lies unless it is given another name; raises `UsageError` for no such class."""
    names = load_dataset(dataset, "test", data_root).class_names if selection.kind == "by-class" else ()
    return edit_sets(dataset) / default_name(selection, names)
