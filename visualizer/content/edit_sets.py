"""What an edit set's page shows: one row an image, and counts of classes and confusions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from editset_helpers.edit_set import EditSet, load_edit_set
from visualizer.caching import UNREADABLE

SORTS = {"position": "as in the file", "margin": "margin, lowest first", "-margin": "margin, highest first"}


@dataclass(frozen=True)
class Brief:
    """An edit set in a list: its images, when its file was written (seconds), and what it says of its origin."""

    images: int
    written: float
    dataset: str | None
    target_class: str | None
    weights: str | None


@dataclass(frozen=True)
class ImageRow:
    """One image. What the set does not say is None, and so is a number in the test split of a training image."""

    position: int
    true: int
    predicted: int | None
    true_probability: float | None
    predicted_probability: float | None
    margin: float | None
    test_index: int | None
    training_index: int | None


@dataclass(frozen=True)
class Filter:
    """Which images are shown: of these classes (None for all), in this order."""

    true: int | None = None
    predicted: int | None = None
    sort: str = "position"


@dataclass(frozen=True)
class Classes:
    """How often each class occurs, the confusion counts by (true, predicted), and the classes' names."""

    names: dict[int, str]
    true: Counter[int]
    predicted: Counter[int]
    confusion: Counter[tuple[int, int]]


def dataset_of(edit_set: EditSet) -> str | None:
    """The dataset that a set says its images are of."""
    told = edit_set.provenance.get("dataset")
    return told if isinstance(told, str) else None


def image_rows(edit_set: EditSet) -> list[ImageRow]:
    """The rows, in the order of the file."""
    pairs = zip(edit_set.labels.tolist(), edit_set.metadata, strict=True)
    return [_row(position, label, facts) for position, (label, facts) in enumerate(pairs)]


def _row(position: int, label: int, facts: dict[str, Any]) -> ImageRow:
    return ImageRow(
        position,
        label,
        integer(facts.get("predicted_label")),
        number(facts.get("true_probability")),
        number(facts.get("predicted_probability")),
        number(facts.get("margin")),
        integer(facts.get("image_idx")),
        integer(facts.get("training_idx")),
    )


def number(value: Any) -> float | None:
    """A finite number, or None: files by others may hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def integer(value: Any) -> int | None:
    """A whole number that 64 bits hold, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def count_classes(edit_set: EditSet, rows: list[ImageRow]) -> Classes:
    """The counts of all rows."""
    predicted = [row.predicted for row in rows if row.predicted is not None]
    confusion = Counter((row.true, row.predicted) for row in rows if row.predicted is not None)
    true = Counter(row.true for row in rows)
    return Classes(_names(edit_set, rows, {*true, *predicted}), true, Counter(predicted), confusion)


def _names(edit_set: EditSet, rows: list[ImageRow], labels: set[int]) -> dict[int, str]:
    """The classes' names where the metadata tells them, else their numbers; by number."""
    names = {label: str(label) for label in sorted(labels)}
    for row, facts in zip(rows, edit_set.metadata, strict=True):
        for label, name in ((row.predicted, facts.get("predicted_class")), (row.true, facts.get("true_class"))):
            if label is not None and isinstance(name, str) and name.strip():
                names[label] = name[:80]
    return names


def chosen(rows: list[ImageRow], wanted: Filter) -> list[ImageRow]:
    """The rows that a filter lets through, in its order; those without a margin come last."""
    kept = [
        row
        for row in rows
        if wanted.true in {None, row.true} and (wanted.predicted is None or wanted.predicted == row.predicted)
    ]
    if wanted.sort == "position":
        return kept
    sign = -1.0 if wanted.sort == "-margin" else 1.0
    return sorted(kept, key=lambda row: math.inf if row.margin is None else sign * row.margin)


def read_brief(path: Path) -> Brief:
    """What a list says of a set. Only shapes and facts are looked at, in a file mapped into memory: no pixel is read.

    Raises:
        ToolError: the file is damaged, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        count, facts = len(content["images"]), content.get("provenance")
    except UNREADABLE:  # whatever it was, reading all of it finds it again and says it in words
        edit_set = load_edit_set(path, num_classes=None)
        count, facts = len(edit_set), edit_set.provenance
    told = facts if isinstance(facts, dict) else {}
    dataset, target, weights = (
        value if isinstance(value := told.get(key), str) else None for key in ("dataset", "target_class", "weights")
    )
    return Brief(count, path.stat().st_mtime, dataset, target, weights)
