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


def save_outcomes(
    path: Path,
    test: ImageDataset,
    test_logits: LogitsPair,
    edit_set: EditSet,
    edit_logits: LogitsPair,
    *,
    location: Location,
    changes: dict[str, torch.Tensor],
) -> None:
    """Write, for test and edit images, the predicted class and the margin before and after, and what was changed.

    Args:
        path: where to.
        test: the test split.
        test_logits: of its images.
        edit_set: the edit set.
        edit_logits: of its images.
        location: where they are among the test images.
        changes: by parameter name.
    """
    content: dict[str, object] = {
        "class_names": list(test.class_names),
        "dataset_hash": test.content_hash,
        "test_labels": torch.from_numpy(test.labels.copy()),
        "edit_labels": edit_set.labels,
        "edit_positions": torch.from_numpy(edit_set.file_positions),
        "edit_indices": torch.from_numpy(location.indices),
        "outside": None if location.outside is None else torch.from_numpy(location.outside),
        "changes": thin(changes),
        "change_rows": {name: len(change) for name, change in changes.items()},
    }
    content |= _answers("test", test_logits, torch.from_numpy(test.labels.copy()))
    content |= _answers("edit", edit_logits, edit_set.labels)
    save_tensors(path, content)


def _answers(name: str, logits: LogitsPair, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    answers = {}
    for when, values in (("before", logits.before), ("after", logits.after)):
        answers[f"{name}_predicted_{when}"] = values.argmax(dim=1)
        answers[f"{name}_margin_{when}"] = margins(values, labels)
    return answers
