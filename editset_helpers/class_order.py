"""Labels are positions in a list of class names: those of an edit set, and those of the dataset it meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from editset_helpers.edit_set import EditSet, load_edit_set
from editset_helpers.file_checks import checked_labels
from helpers.cli import say_once
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset


def load_for(path: Path, test: ImageDataset) -> EditSet:
    """Load an edit set with its labels in the order of a dataset's classes; see `in_order_of`.

    Raises:
        UsageError: the set names classes that the dataset has not, or its images are inputs of another preprocessing.
        ToolError: the file is missing, damaged, or no edit set.
    """
    edit_set, note = in_order_of(load_edit_set(path, None, test.preprocessing), test, path)
    if note is not None:
        say_once(f"note: {note}")
    return edit_set


def in_order_of(edit_set: EditSet, test: ImageDataset, path: Path) -> tuple[EditSet, str | None]:
    """The set with labels that are positions in ``test.class_names``, and what one has to know about that.

    Labels of another order are mapped by name. Where the set does not name its classes, they are taken as they are.

    Args:
        edit_set: with labels in the order of the set's own classes.
        test: the dataset.
        path: the set's file, for the messages.

    Raises:
        UsageError: the set names classes that the dataset has not.
        ToolError: a label that has no name is no class's position.
    """
    names, used = stated_names(edit_set), sorted(set(edit_set.labels.tolist()))
    here = dict(enumerate(test.class_names))
    unnamed = [label for label in used if label not in names]
    differing = {label: names[label] for label in used if label in names and names[label] != here.get(label)}
    foreign = sorted(set(differing.values()) - set(test.class_names))
    if foreign or (differing and unnamed):
        listed = ", ".join(map(repr, foreign or differing.values()))
        raise UsageError(
            f"The edit set {path} holds images of {listed}, which {test.name} does not have there (its classes: "
            f"{', '.join(test.class_names)}): give the --dataset and --data-root it came from."
        )
    if differing:
        return _mapped(edit_set, names, test.class_names), (
            f"the classes of {path} are in another order than those of {test.name}; its labels were mapped by name."
        )
    checked_labels(edit_set.labels, len(edit_set), len(here), path)
    if not unnamed or edit_set.provenance.get("dataset_hash") == test.content_hash:
        return edit_set, None
    return edit_set, (
        f"{path} does not name its classes, so its labels could not be checked; they are taken as positions in "
        f"{', '.join(test.class_names)}."
    )


def stated_names(edit_set: EditSet) -> dict[int, str]:
    """What the set calls its classes, by label: by its provenance, else by its metadata where they agree."""
    stated = edit_set.provenance.get("class_names")
    if isinstance(stated, list) and all(isinstance(name, str) for name in stated):
        return dict(enumerate(stated))
    names: dict[int, set[str]] = {}
    for label, name in _pairs(edit_set):
        if isinstance(name, str) and isinstance(label, int):
            names.setdefault(label, set()).add(name)
    found = {label: some.copy().pop() for label, some in names.items() if len(some) == 1}
    return found if len(set(found.values())) == len(found) else {}


def _pairs(edit_set: EditSet) -> Iterator[tuple[Any, Any]]:
    for label, facts in zip(edit_set.labels.tolist(), edit_set.metadata, strict=True):
        true = facts.get("true_label")
        yield (true if isinstance(true, int) else label), facts.get("true_class")
        yield facts.get("predicted_label"), facts.get("predicted_class")


def _mapped(edit_set: EditSet, names: dict[int, str], class_names: tuple[str, ...]) -> EditSet:
    order = {label: class_names.index(name) for label, name in names.items() if name in class_names}
    labels = torch.tensor([order[label] for label in edit_set.labels.tolist()])
    metadata = [
        {
            key: order.get(value, -1) if key in {"true_label", "predicted_label"} and isinstance(value, int) else value
            for key, value in facts.items()
        }
        for facts in edit_set.metadata
    ]
    provenance = {**edit_set.provenance, "class_names": list(class_names)}
    whole = tuple(order.get(label, -1) for label in range(max(order) + 1))
    return replace(edit_set, labels=labels, metadata=metadata, provenance=provenance, label_order=whole)
