"""Planting: units that the layer behind hardly uses become detectors of points, within a bound of what they were.

The layer behind stays as it is: its program finds by itself that a column no ordinary point sees costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.checks import checked_bound
from sytorch.problem.errors import InvalidInputError
from sytorch.spare_units.detectors import Detectors

CLOSENESS = 0.4  # a threshold starts no nearer to the group's own response, so that no unit needs very large weights


@dataclass(frozen=True, eq=False)
class Planting:
    """What was planted.

    Attributes:
        units: (G,), the positions of the units that became detectors, one of each group, in the order of groups.
        change: (G, k + 1), of their weights and biases, float64.
        missed: what ordinary points lose, as `cost_of_units` counts it, summed.
    """

    units: Indices
    change: Matrix
    missed: float


def cost_of_units(behind: Matrix, squares: Vector) -> Vector:
    """What each unit gives to the outputs behind it: ``|W_u|^2 E[h_u^2]``, (m,).

    Args:
        behind: ``W``, (C, m), the weights of the layer that gets the units.
        squares: ``E[h^2]``, (m,), over ordinary points, weighted by how much their answers can still change.
    """
    return np.asarray(np.square(behind).sum(axis=0) * squares)


def plant(layer: Matrix, costs: Vector, found: Detectors, *, threshold: float, bound: float) -> Planting:
    """Detectors in the place of the units that cost least; nothing is changed.

    A unit is off below its threshold, which lies so far between the largest response of others, 0, and that of its own
    group, 1. It is 1 where the group responds least, or less where an entry would leave the bound: a unit behind a
    ReLU that is half as large is on for the same points, and the layer behind may use it twice as much.

    Args:
        layer: (m, k + 1), weights and biases of a hidden layer behind which there is a ReLU.
        costs: (m,), see `cost_of_units`.
        found: detectors of G groups.
        threshold: from 0 to below 1. Where others respond with more than `CLOSENESS` of the group's own response, it
            is counted from there, and the unit is on for these others, too.
        bound: no entry of the change gets larger.

    Raises:
        InvalidInputError: there are more groups than units whose weights are within the bound themselves, or a
            threshold or a bound that is none.
    """
    if not 0 <= threshold < 1:
        raise InvalidInputError(f"The threshold must be from 0 to below 1, not {threshold}.")
    possible = np.abs(layer).max(axis=1) <= checked_bound(bound)
    if len(found.own) > possible.sum():
        raise InvalidInputError(
            f"{len(found.own)} detectors need as many spare units; there are {possible.sum()}, so take fewer images."
        )
    units = _cheapest(costs, possible, len(found.own))
    largest = np.minimum(found.largest, CLOSENESS * found.own)
    thresholds = largest + threshold * (found.own - largest)
    planted = found.filters.copy()
    planted[:, -1] -= thresholds
    planted /= (found.own - thresholds)[:, None]
    return Planting(units, within(planted, layer[units], bound) - layer[units], float(costs[units].sum()))


def within(units: Matrix, before: Matrix, bound: float) -> Matrix:
    """Units, (G, k + 1), made smaller where an entry is farther than the bound from what it was, at most the bound."""
    room = np.where(units > 0, bound + before, bound - before)
    scales = np.divide(room, np.abs(units), out=np.full(units.shape, np.inf), where=units != 0).min(axis=1)
    return np.asarray(units * np.minimum(scales, 1.0)[:, None])


def _cheapest(costs: Vector, possible: Mask, count: int) -> Indices:
    return np.argsort(np.where(possible, costs, np.inf), kind="stable")[:count]
