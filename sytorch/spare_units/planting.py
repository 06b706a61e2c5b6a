"""Planting: units that the layer behind hardly uses become detectors of points, within a bound of what they were.

The layer behind stays as it is: its program finds by itself that a column no ordinary point sees costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.problem.checks import checked_bound
from sytorch.problem.errors import InvalidInputError
from sytorch.spare_units.detectors import Detectors

AT_A_TIME = 64  # units, when it is counted how many can go
NEAR = 1e-9
TOLERATED_LOSS = 2e-4  # of the ordinary points' answers, for units that are taken out


@dataclass(frozen=True, eq=False)
class Planting:
    """What was planted.

    Attributes:
        units: (U,), the positions of the units that became detectors.
        change: (U, k + 1), of their weights and biases, float64.
        groups: (U,), whose detector each is; the first G are one of each group, in their order.
    """

    units: Indices
    change: Matrix
    groups: Indices

    def beside(self, units: Indices, change: Matrix) -> Planting:
        """This planting after an earlier one of other units, (K,), whose change was (K, k + 1); of no group here."""
        return Planting(
            np.concatenate([units, self.units]),
            np.concatenate([change, self.change]),
            np.concatenate([np.full(len(units), -1), self.groups]),
        )


@dataclass(frozen=True, eq=False)
class SpareUnits:
    """All units, those first that ordinary points need least.

    Attributes:
        order: (m,), their positions.
        lost: (m,), which part of the ordinary points gets another answer without this unit and all before it.
    """

    order: Indices
    lost: Vector

    def count(self, tolerated: float) -> int:
        """How many can be taken out until more than that part of the points gets another answer."""
        beyond = np.flatnonzero(self.lost > tolerated)
        return int(beyond[0]) if beyond.size else len(self.order)

    def without(self, taken: Indices) -> SpareUnits:
        """The units that are not taken already."""
        free = ~np.isin(self.order, taken)
        return SpareUnits(self.order[free], self.lost[free])

    def within(self, layer: NDArray[np.floating], bound: float) -> tuple[Indices, int]:
        """Those whose weights, rows of (m, k + 1), are within a bound, and how many of the first are hardly missed."""
        possible = within_reach(layer, bound)[self.order]
        return self.order[possible], int(possible[: self.count(TOLERATED_LOSS)].sum())


def spare_units(
    behind: Matrix, values: NDArray[np.float32], logits: Matrix, weights: Vector, shares: Vector
) -> SpareUnits:
    """Units by what each gives to the outputs behind it, ``|W_u|^2 E[h_u^2]``.

    Args:
        behind: ``W``, (C, m), the weights of the layer that gets the units.
        values: ``h``, (R, m), the units' values for ordinary points.
        logits: (R, C), of these points.
        weights: (R,), of the points in that mean: how much their answers can still change.
        shares: (R,), how many points each stands for, where it is counted who gets another answer.
    """
    squares = (weights / weights.sum()) @ np.square(values)
    order = np.argsort(np.square(behind).sum(axis=0) * squares, kind="stable")
    before, left, lost = logits.argmax(axis=1), logits.astype(np.float64), []
    for start in range(0, len(order), AT_A_TIME):
        part = order[start : start + AT_A_TIME]
        left = left - values[:, part] @ behind[:, part].T
        loss = shares[left.argmax(axis=1) != before].sum() / shares.sum()
        lost.append(np.full(len(part), loss))
    return SpareUnits(order, np.maximum.accumulate(np.concatenate(lost)))


def moment_with(
    moment: NDArray[np.floating],
    units: Indices,
    planted: NDArray[np.float32],
    values: NDArray[np.float32],
    weights: Vector,
) -> Matrix:
    """The second moment ``E[h h^T]`` of a layer's outputs, a 1 appended, after planting, (m + 1, m + 1).

    It is float64 and in Fortran's order, as a Cholesky factorisation wants it.

    Args:
        moment: before; only its lower triangle need be there.
        units: (G,), that were planted.
        planted: (R, G), their values for the points that set any of them off.
        values: (R, m), of all units for these points, before.
        weights: (R,), of these points; those of all points sum to 1.
    """
    rows = np.hstack([values, np.ones((len(values), 1), dtype=np.float32)])
    rows[:, units] = planted
    products = (rows * weights[:, None].astype(np.float32)).T @ planted
    after = np.array(moment, dtype=np.float64, order="F")
    after[:, units], after[units, :] = products, products.T
    return after


def plant(
    layer: NDArray[np.floating],
    units: Indices,
    found: Detectors,
    values: Vector,
    *,
    threshold: float,
    tolerated: float,
    bound: float,
) -> Planting:
    """Detectors in the place of units; nothing is changed.

    A unit is off below its threshold, which lies so far between the largest response of others, 0, and that of its own
    group, 1. It has the value that is wanted where the group responds least. Where an entry would leave the bound, it
    is smaller, which leaves it on for the same points, and the group gets more such units, while there are any: first
    those groups that have least of what they want.

    Args:
        layer: (m, k + 1), weights and biases of a hidden layer behind which there is a ReLU.
        units: as many at least as there are groups, those first that are taken first.
        found: detectors of G groups.
        values: (G,), what the units of a group should be for it in sum, above 0.
        threshold: from 0 to below 1. Where others respond with more than ``tolerated`` of the group's own response, it
            is counted from there, and the unit is on for these others, too.
        tolerated: from 0 to below 1.
        bound: no entry of the change gets larger.

    Raises:
        InvalidInputError: there are more groups than units whose weights are within the bound themselves, or a
            threshold or a bound that is none.
    """
    if not (0 <= threshold < 1 and 0 <= tolerated < 1):
        raise InvalidInputError(f"A threshold must be from 0 to below 1, not {threshold} and {tolerated}.")
    possible, groups = units[within_reach(layer[units], bound)], len(found.own)
    before = layer[possible].astype(np.float64)
    if groups > len(possible):
        raise InvalidInputError(f"{groups} detectors need as many spare units; there are {len(possible)}.")
    largest = np.minimum(found.largest, tolerated * found.own)
    thresholds = largest + threshold * (found.own - largest)
    planted = found.filters.copy()
    planted[:, -1] -= thresholds
    planted *= (values / (found.own - thresholds))[:, None]
    of_group, scales = np.zeros(0, dtype=np.int64), np.zeros(0)
    while (shares := np.bincount(of_group, scales, groups)).min() < 1 - NEAR and len(of_group) < len(possible):
        lacking = np.argsort(shares, kind="stable")[: np.count_nonzero(shares < 1 - NEAR)]
        more = lacking[: len(possible) - len(of_group)]
        here = before[len(of_group) : len(of_group) + len(more)]
        scales = np.concatenate([scales, scales_within(planted[more], here, bound)])
        of_group = np.concatenate([of_group, more])
    taken = possible[: len(of_group)]
    change = planted[of_group] * scales[:, None] - before[: len(taken)]
    return Planting(taken, np.clip(change, -bound, bound), of_group)


def within_reach(units: NDArray[np.floating], bound: float) -> NDArray[np.bool_]:
    """Which units, (G, k + 1), can be taken out without an entry that changes by more than the bound, (G,)."""
    largest = np.maximum(units.max(axis=1), -units.min(axis=1))
    return np.asarray(largest <= checked_bound(bound))


def scales_within(units: Matrix, before: Matrix, bound: float) -> Vector:
    """By what to multiply units, (G, k + 1), at most 1, so that no entry is farther than the bound from before."""
    room = np.where(units > 0, bound + before, bound - before)
    scales = np.divide(room, np.abs(units), out=np.full(units.shape, np.inf), where=units != 0).min(axis=1)
    return np.asarray(np.minimum(scales, 1.0))
