"""What a repair gained and cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edits.outcome.report import RepairReport
from editset_helpers.edit_set import EditSet
from helpers.evaluation import is_right, margins


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


def measure_copies(report: RepairReport, logits: LogitsPair, labels: torch.Tensor) -> None:
    """Fill in what became of the copies that were constrained, M of them with their labels, (M,); M may be 0."""
    if len(labels):
        report.copies_accuracy_before, report.copies_accuracy_after = logits.accuracies(labels.numpy())
        report.copies_min_margin = float(margins(logits.after, labels).min())


def measure_accuracy(
    report: RepairReport,
    edit_logits: LogitsPair,
    edit_set: EditSet,
    *,
    test_logits: LogitsPair,
    test_labels: NDArray[np.int64],
    outside: NDArray[np.bool_] | None,
) -> None:
    """Fill in the accuracies of the edit set, of all test images, and of those outside the edit set."""
    labels = edit_set.labels.numpy()
    report.edit_accuracy_before, report.edit_accuracy_after = edit_logits.accuracies(labels)
    report.test_accuracy_before, report.test_accuracy_after = test_logits.accuracies(test_labels)
    report.min_margin = float(margins(edit_logits.after, edit_set.labels).min())
    if outside is not None and outside.any():
        before, after = test_logits.accuracies(test_labels, outside)
        report.drawdown_accuracy_before, report.drawdown_accuracy_after = before, after
        report.drawdown_points = 100 * (before - after)
