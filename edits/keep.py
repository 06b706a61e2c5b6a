"""A keep set: training images whose right answer the repair should not break.

How dear a broken image is, is chosen by images that take no part: a fifth of those that are watched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import sytorch
from edits.repair import Repair
from edits.soft_keep import SoftProgram
from sytorch.arrays import Matrix, Vector
from sytorch.deadline import Deadline

PRICES = (0.01, 0.03, 0.1, 0.3)
NEAR = 0.05  # a lead
ASIDE = 5  # one image of so many is held aside


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

    def right_after(self, change: Matrix) -> NDArray[np.bool_]:
        """Which images are right after a change of the layer, (R,)."""
        return np.asarray(self.outputs.at(change).argmax(axis=1) == self.labels)

    def margins(self, which: NDArray[np.bool_]) -> sytorch.Margins:
        """That some of the images are right."""
        outputs = sytorch.AffineOutputs(self.outputs.logits[which], self.outputs.inputs[which])
        return sytorch.margin(outputs, self.labels[which], 0.0)


class Solve(Protocol):
    """Repairs images, of which the last K have to keep a lead only."""

    def __call__(self, outputs: sytorch.AffineOutputs, labels: torch.Tensor, floors: Vector | None = None) -> Repair:
        """See `edits.repair.compute_repair`."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A repair that keeps what it can.

    Attributes:
        repair: it, with its proof.
        images: how many of the images that were watched are constraints.
        price: of an image that breaks, by the strongest pull of an edit image; None where none is a constraint.
        accuracy_before, accuracy_after: on the images that were watched, before any repair and after this one.
    """

    repair: Repair
    images: int
    price: float | None
    accuracy_before: float
    accuracy_after: float


def keep_right(
    edits: sytorch.Margins, watched: Watched, metric: sytorch.Metric, solve: Solve, deadline: Deadline
) -> Kept:
    """Repair; find the price of a broken image that breaks fewest of those held aside; repair with what that keeps.

    The edit set comes first: where it leaves the images to keep no room, or nothing is gained on those held aside, the
    repair without them is the answer.

    Args:
        edits: the margins of the edit images.
        watched: the images to keep.
        metric: where the change is small.
        solve: repairs images.
        deadline: for everything.

    Raises:
        ContradictionError, SolverTimeLimitError, ...: as the repair without images to keep does.
    """
    alone = solve(edits.outputs, torch.from_numpy(edits.labels))
    aside = np.arange(len(watched.labels)) % ASIDE == 0
    broken = _broken(watched, alone.solution.change, aside)
    price = best_price(edits, watched, metric, aside=aside, broken=broken, deadline=deadline)
    if price is None:
        return _judged(alone, watched, 0, None)
    soft = SoftProgram(edits, watched.margins(watched.right), metric, deadline)
    change = soft.change(price)
    kept = watched.right & _is_near(watched, change, alone.solution.change)
    repair = _exact(edits, SoftProgram(edits, watched.margins(kept), metric, deadline), change, solve)
    return _judged(alone, watched, 0, None) if repair is None else _judged(repair, watched, int(kept.sum()), price)


def best_price(
    edits: sytorch.Margins,
    watched: Watched,
    metric: sytorch.Metric,
    *,
    aside: NDArray[np.bool_],
    broken: int,
    deadline: Deadline,
    prices: Iterable[float] = PRICES,
) -> float | None:
    """The price that breaks fewest images held aside; None where each breaks at least ``broken``."""
    best: float | None = None
    if not broken:
        return best
    soft = SoftProgram(edits, watched.margins(watched.right & ~aside), metric, deadline)
    for price in prices:
        found = _broken(watched, soft.change(price), aside)
        if found < broken:
            best, broken = price, found
    return best


def _exact(edits: sytorch.Margins, soft: SoftProgram, change: Matrix, solve: Solve) -> Repair | None:
    """The proved repair with what a soft one keeps; None where the bound on the change does not admit it."""
    labels = np.concatenate([edits.labels, soft.kept.labels])
    try:
        return solve(edits.outputs.joined(soft.kept.outputs), torch.from_numpy(labels), soft.floors(change))
    except sytorch.ContradictionError:
        return None


def _is_near(watched: Watched, change: Matrix, alone: Matrix) -> NDArray[np.bool_]:
    """The images that the repair alone breaks, or of which a change leaves next to no lead: the others need no row."""
    lead = sytorch.margin(watched.outputs, watched.labels, NEAR).shortfall(watched.outputs.inputs @ change.T)
    return ~watched.right_after(alone) | (lead > 0).any(axis=1)


def _broken(watched: Watched, change: Matrix, which: NDArray[np.bool_]) -> int:
    return int((watched.right & which & ~watched.right_after(change)).sum())


def _judged(repair: Repair, watched: Watched, images: int, price: float | None) -> Kept:
    after = watched.right_after(repair.solution.change)
    return Kept(repair, images, price, float(watched.right.mean()), float(after.mean()))
