"""What a repair did to every image and to the weights, from the file beside its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.errors import ToolError
from helpers.files.writing import load_tensors
from model_classes.changes import whole

BLOCKS = 64
PLACES: dict[str, type] = {"edit_positions": np.int64, "outside": np.bool_}


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network said of N images: labels and predictions int64 (N,), margins float (N,)."""

    labels: NDArray[np.int64]
    predicted_before: NDArray[np.int64]
    predicted_after: NDArray[np.int64]
    margin_before: NDArray[np.float64]
    margin_after: NDArray[np.float64]

    @property
    def right_before(self) -> NDArray[np.bool_]:
        """Which were classified right before the repair."""
        return np.asarray(self.predicted_before == self.labels)

    @property
    def right_after(self) -> NDArray[np.bool_]:
        """Which are classified right by the repaired network."""
        return np.asarray(self.predicted_after == self.labels)

    @property
    def gained(self) -> NDArray[np.float64]:
        """The change of each margin."""
        return self.margin_after - self.margin_before


@dataclass(frozen=True, eq=False)
class Change:
    """How one parameter changed; ``blocks`` is the mean size of the change in blocks of rows and columns."""

    name: str
    shape: tuple[int, ...]
    changed: int
    largest: float
    norm: float
    blocks: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The whole file; of ``changes`` only what a page shows, since they may have millions of entries.

    ``edit_positions`` are where the edit images are in their set's file, and ``known_outside`` tells which test images
    are outside it; files of earlier versions have neither.
    """

    class_names: tuple[str, ...]
    dataset_hash: str
    test: Answers
    edit: Answers
    edit_indices: NDArray[np.int64]
    edit_positions: NDArray[np.int64] | None
    known_outside: NDArray[np.bool_] | None
    changes: list[Change]

    def outside(self) -> NDArray[np.bool_] | None:
        """Which test images are outside the edit set; None where the set did not say which are inside."""
        if self.edit_positions is not None:
            return self.known_outside
        inside = self.edit_indices
        if len(inside) == 0 or inside.min() < 0 or inside.max() >= len(self.test.labels):
            return None
        mask = np.ones(len(self.test.labels), dtype=bool)
        mask[inside] = False
        return mask


def load_outcomes(path: Path) -> Outcomes:
    """Load and check; raises `ToolError` where the file is missing, damaged, or holds something else."""
    content = load_tensors(path, "outcomes")
    try:
        test, edit = _answers(content, "test"), _answers(content, "edit")
        names = tuple(str(name)[:80] for name in content["class_names"])
        all_changes = whole(content["changes"], content.get("change_rows", {}))
        changes = [_change(str(name), change) for name, change in all_changes.items()]
        indices = content["edit_indices"].numpy().astype(np.int64)
        positions, outside = (_optional(content.get(key), kind) for key, kind in PLACES.items())
        loaded = Outcomes(names, str(content["dataset_hash"]), test, edit, indices, positions, outside, changes)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ToolError(f"{path} does not hold the outcomes of a repair ({error}).") from error
    shapes = [(indices, edit), (positions, edit), (outside, test)]
    if any(array is not None and array.shape != answers.labels.shape for array, answers in shapes) or not (
        _fit(test, len(names)) and _fit(edit, len(names))
    ):
        raise ToolError(f"{path} does not hold the outcomes of a repair: its parts do not fit together.")
    return loaded


def _optional(tensor: torch.Tensor | None, kind: type) -> NDArray[Any] | None:
    return None if tensor is None else np.asarray(tensor.numpy().astype(kind))


def _answers(content: dict[str, Any], what: str) -> Answers:
    keys = ("labels", "predicted_before", "predicted_after", "margin_before", "margin_after")
    arrays = [content[f"{what}_{key}"].numpy() for key in keys]
    return Answers(*(array.astype(np.int64) for array in arrays[:3]), *(array.astype(float) for array in arrays[3:]))


def _fit(answers: Answers, classes: int) -> bool:
    arrays = [answers.labels, answers.predicted_before, answers.predicted_after]
    margins = [answers.margin_before, answers.margin_after]
    if any(array.shape != (len(answers.labels),) for array in [*arrays, *margins]):
        return False
    return all(len(array) == 0 or (array.min() >= 0 and array.max() < classes) for array in arrays)


def _change(name: str, change: torch.Tensor) -> Change:
    size = change.detach().to(torch.float32).abs()
    table = size.reshape(len(size), -1).numpy()
    return Change(
        name,
        tuple(change.shape),
        int((size > 0).sum()),
        float(size.max()),
        float(size.double().square().sum().sqrt()),
        _block_means(_block_means(table, BLOCKS).T, BLOCKS).T,
    )


def _block_means(table: NDArray[Any], blocks: int) -> NDArray[np.float64]:
    """The means of at most ``blocks`` groups of neighbouring rows."""
    edges = np.unique(np.linspace(0, len(table), min(blocks, len(table)) + 1).astype(np.int64))
    sums = np.add.reduceat(table, edges[:-1], axis=0, dtype=float)
    return np.asarray(sums / np.diff(edges)[:, None])
