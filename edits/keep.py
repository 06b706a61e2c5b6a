"""A keep set: training images whose right answer the repair must not break, found as it breaks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import sytorch
from edits.repair import Repair

ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Watched:
    """Training images as the last layer sees them.

    Attributes:
        outputs: of the R images, affine in the layer's change.
        labels: int64, (R,).
        right: bool, (R,), what the network before any repair says right.
    """

    outputs: sytorch.AffineOutputs
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]

    def right_after(self, change: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which images are right after a change of the layer, (R,)."""
        return np.asarray(self.outputs.at(change).argmax(axis=1) == self.labels)

    def chosen(self, which: NDArray[np.bool_]) -> tuple[sytorch.AffineOutputs, NDArray[np.int64]]:
        """The outputs and labels of some of the images."""
        outputs = sytorch.AffineOutputs(self.outputs.logits[which], self.outputs.inputs[which])
        return outputs, self.labels[which]


@dataclass(frozen=True, eq=False)
class Kept:
    """A repair that keeps what it can.

    Attributes:
        repair: the best by the accuracy on the images that were watched.
        images: how many of them are constraints.
        accuracy_before, accuracy_after: on the images that were watched, before any repair and after this one.
    """

    repair: Repair
    images: int
    accuracy_before: float
    accuracy_after: float


def keep_right(
    outputs: sytorch.AffineOutputs,
    labels: torch.Tensor,
    watched: Watched,
    solve: Callable[[sytorch.AffineOutputs, torch.Tensor, int], Repair],
) -> Kept:
    """Repair, add the images that broke as constraints, and repeat until none breaks or nothing is gained.

    The edit set comes first: where it leaves the images to keep no room, the repair before them is the answer.

    Args:
        outputs, labels: of the edit images.
        watched: the images to keep.
        solve: repairs images of which the last so many are only to be right.

    Raises:
        ContradictionError, SolverTimeLimitError, ...: as the repair without images to keep does.
    """
    kept = np.zeros(len(watched.labels), dtype=bool)
    best = _judged(solve(outputs, labels, 0), watched, 0)
    broken = watched.right & ~watched.right_after(best.repair.solution.change)
    for _ in range(ROUNDS):
        if not (broken & ~kept).any():
            break
        kept |= broken
        more, more_labels = watched.chosen(kept)
        try:
            repair = solve(outputs.joined(more), torch.cat([labels, torch.from_numpy(more_labels)]), len(more_labels))
        except sytorch.ContradictionError:
            break
        found = _judged(repair, watched, len(more_labels))
        if found.accuracy_after <= best.accuracy_after:
            break
        best = found
        broken = watched.right & ~watched.right_after(repair.solution.change)
    return best


def _judged(repair: Repair, watched: Watched, images: int) -> Kept:
    after = watched.right_after(repair.solution.change)
    return Kept(repair, images, float(watched.right.mean()), float(after.mean()))
