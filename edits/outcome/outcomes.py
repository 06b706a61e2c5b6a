"""What a repair did to every image, beside its report: for pages and for one's own analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.edit_set import EditSet
from editset_helpers.location import Location
from helpers.evaluation import is_right, margins
from helpers.files.writing import save_tensors
from helpers.images.datasets import ImageDataset
from model_classes.changes import thin


@dataclass(frozen=True, eq=False)
class LogitsPair:
    """Logits of the same images, float32 (N, C), by the network before and after the repair."""

    before: torch.Tensor
    after: torch.Tensor

    def accuracies(self, labels: NDArray[np.int64], chosen: NDArray[np.bool_] | None = None) -> tuple[float, float]:
        """The fractions right, before and after, of all images or the chosen ones."""
        right = [is_right(logits, labels) for logits in (self.before, self.after)]
        before, after = (float((answers if chosen is None else answers[chosen]).mean()) for answers in right)
        return before, after

    def split(self, count: int) -> tuple[LogitsPair, LogitsPair]:
        """The first so many images, and the others."""
        return LogitsPair(self.before[:count], self.after[:count]), LogitsPair(self.before[count:], self.after[count:])


@dataclass(frozen=True, eq=False)
class NearImages:
    """The training images that are most like each edit image: the split's hash, and positions in it, int64 (N, n)."""

    training_hash: str
    positions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EditAnswers:
    """What became of the N edit images.

    Attributes:
        edit_set: they.
        logits: of them.
        location: where they are among the test images.
        on_copies: the classes that their copies are taken for, before and after, int64 (2, N, K).
        near: the training images most like them.
    """

    edit_set: EditSet
    logits: LogitsPair
    location: Location
    on_copies: NDArray[np.int64]
    near: NearImages


def save_outcomes(
    path: Path, test: ImageDataset, test_logits: LogitsPair, edits: EditAnswers, changes: dict[str, torch.Tensor]
) -> None:
    """Write, for test and edit images, the predicted class and the margin before and after, and what was changed.

    Of edit images, and of test images whose answer changed, the classes' probabilities are written, too.

    Args:
        path: where to.
        test: the test split.
        test_logits: of its images.
        edits: the edit images.
        changes: by parameter name.
    """
    labels, outside = torch.from_numpy(test.labels.copy()), edits.location.outside
    moved = torch.nonzero(test_logits.before.argmax(dim=1) != test_logits.after.argmax(dim=1)).flatten()
    content: dict[str, object] = {
        "class_names": list(test.class_names),
        "dataset_hash": test.content_hash,
        "test_labels": labels,
        "edit_labels": edits.edit_set.labels,
        "edit_positions": torch.from_numpy(edits.edit_set.file_positions),
        "edit_indices": torch.from_numpy(edits.location.indices),
        "outside": None if outside is None else torch.from_numpy(outside),
        "copies_predicted": torch.from_numpy(edits.on_copies).to(torch.int16),
        "training_hash": edits.near.training_hash,
        "nearest": torch.from_numpy(edits.near.positions),
        "moved": moved,
        "moved_probabilities": _probabilities(LogitsPair(test_logits.before[moved], test_logits.after[moved])),
        "edit_probabilities": _probabilities(edits.logits),
        "changes": thin(changes),
        "change_rows": {name: len(change) for name, change in changes.items()},
    }
    content |= _answers("test", test_logits, labels)
    content |= _answers("edit", edits.logits, edits.edit_set.labels)
    save_tensors(path, content)


def _probabilities(logits: LogitsPair) -> torch.Tensor:
    """Of the classes, before and after, float16 (2, N, C)."""
    return torch.stack([logits.before, logits.after]).softmax(dim=2).half()


def _answers(name: str, logits: LogitsPair, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    answers = {}
    for when, values in (("before", logits.before), ("after", logits.after)):
        answers[f"{name}_predicted_{when}"] = values.argmax(dim=1)
        answers[f"{name}_margin_{when}"] = margins(values, labels)
    return answers
