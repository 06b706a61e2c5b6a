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
from visualizer.content.changes import Change, read_changes

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
class Likely:
    """Probabilities of the C classes and answers on copies, the first axis before and after the repair.

    Attributes:
        edit: of the edit images, float (2, N, C).
        moved: which test images were taken for another class after than before, int64 (M,), ascending.
        of_moved: of these, float (2, M, C).
        copies: the classes that K copies of each edit image are taken for, int64 (2, N, K).
        nearest: the training images most like each edit image, int64 (N, n); ``training_hash`` is their split's.
    """

    edit: NDArray[np.float64]
    moved: NDArray[np.int64]
    of_moved: NDArray[np.float64]
    copies: NDArray[np.int64]
    nearest: NDArray[np.int64]
    training_hash: str


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The whole file; of ``changes`` only what a page shows, since they may have millions of entries.

    ``edit_positions`` are where the edit images are in their set's file, and ``known_outside`` tells which test images
    are outside it; files of earlier versions have neither, and no ``likely``.
    """

    class_names: tuple[str, ...]
    dataset_hash: str
    test: Answers
    edit: Answers
    edit_indices: NDArray[np.int64]
    edit_positions: NDArray[np.int64] | None
    known_outside: NDArray[np.bool_] | None
    changes: list[Change]
    likely: Likely | None

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
        changes = read_changes(content["changes"], content.get("change_rows", {}))
        indices = content["edit_indices"].numpy().astype(np.int64)
        positions, outside = (_optional(content.get(key), kind) for key, kind in PLACES.items())
        likely = _likely(content) if "edit_probabilities" in content else None
        loaded = Outcomes(names, str(content["dataset_hash"]), test, edit, indices, positions, outside, changes, likely)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ToolError(f"{path} does not hold the outcomes of a repair ({error}).") from error
    shapes = [(indices, edit), (positions, edit), (outside, test)]
    unlike = any(array is not None and array.shape != answers.labels.shape for array, answers in shapes)
    if unlike or not (_fit(test, len(names)) and _fit(edit, len(names)) and _likely_fit(loaded)):
        raise ToolError(f"{path} does not hold the outcomes of a repair: its parts do not fit together.")
    return loaded


def _optional(tensor: torch.Tensor | None, kind: type) -> NDArray[Any] | None:
    return None if tensor is None else np.asarray(tensor.numpy().astype(kind))


def _answers(content: dict[str, Any], what: str) -> Answers:
    keys = ("labels", "predicted_before", "predicted_after", "margin_before", "margin_after")
    arrays = [content[f"{what}_{key}"].numpy() for key in keys]
    return Answers(*(array.astype(np.int64) for array in arrays[:3]), *(array.astype(float) for array in arrays[3:]))


def _likely(content: dict[str, Any]) -> Likely:
    edit, of_moved = (content[key].numpy().astype(float) for key in ("edit_probabilities", "moved_probabilities"))
    moved, copies = (content[key].numpy().astype(np.int64) for key in ("moved", "copies_predicted"))
    nearest, hashed = content.get("nearest"), str(content.get("training_hash", ""))
    near = np.zeros((edit.shape[1], 0), dtype=np.int64) if nearest is None else nearest.numpy().astype(np.int64)
    return Likely(edit, moved, of_moved, copies, near, hashed)


def _likely_fit(outcomes: Outcomes) -> bool:
    likely, classes = outcomes.likely, len(outcomes.class_names)
    if likely is None:
        return True
    images, copies = len(outcomes.edit.labels), likely.copies
    shapes = likely.edit.shape == (2, images, classes) and likely.of_moved.shape == (2, len(likely.moved), classes)
    shapes &= likely.nearest.ndim == 2 and len(likely.nearest) == images
    return shapes and copies.shape[:2] == (2, images) and bool(((copies >= 0) & (copies < classes)).all())


def _fit(answers: Answers, classes: int) -> bool:
    arrays = [answers.labels, answers.predicted_before, answers.predicted_after]
    margins = [answers.margin_before, answers.margin_after]
    if any(array.shape != (len(answers.labels),) for array in [*arrays, *margins]):
        return False
    return all(len(array) == 0 or (array.min() >= 0 and array.max() < classes) for array in arrays)
