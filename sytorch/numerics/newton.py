"""Least changes that a softened set of inequalities asks for, by Newton's method with a step length.

With rows ``a`` of inner products ``K`` the softened program is ``|D|^2 / 2 + sum of miss^2 / (2 e)``, where
``miss = max(0, b - <a, D>)``. It is convex and piecewise quadratic, so each Newton step solves for the rows that are
missed, and finitely many steps reach the optimum (Mangasarian 2002; Keerthi and DeCoste 2005). Rows that are not missed
cost nothing but the look whether they are: a program with very many rows of which few matter stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from sytorch.problem.errors import gave_up

STEP_LIMIT = 200
HALVINGS = 50


class Rows(Protocol):
    """Inequalities ``<a, D> >= b``, R of them."""

    @property
    def required(self) -> torch.Tensor:
        """b, (R,)."""

    def gram(self, chosen: torch.Tensor) -> torch.Tensor:
        """Inner products of chosen rows, (A,) to (A, A)."""

    def scores(self, multipliers: torch.Tensor) -> torch.Tensor:
        """``<a, D>`` of all rows, (R,), at the change that multipliers, (R,), of the rows add up to."""


@dataclass(frozen=True, eq=False)
class DenseRows:
    """Rows whose inner products, (R, R), are known."""

    products: torch.Tensor
    required: torch.Tensor

    def gram(self, chosen: torch.Tensor) -> torch.Tensor:
        """See `Rows`."""
        return self.products[chosen][:, chosen]

    def scores(self, multipliers: torch.Tensor) -> torch.Tensor:
        """See `Rows`."""
        return self.products @ multipliers


@dataclass(frozen=True, eq=False)
class Point:
    """A change as a sum of rows.

    Attributes:
        weights: (R,), of the rows; those of an optimum are the multipliers.
        missing: (R,), ``b - <a, D>``.
    """

    weights: torch.Tensor
    missing: torch.Tensor

    def towards(self, other: Point, share: float) -> Point:
        """The point at that share of the way to another."""
        return Point(self.weights.lerp(other.weights, share), self.missing.lerp(other.missing, share))


def soften(
    rows: Rows,
    elastic: torch.Tensor,
    start: Point,
    tolerances: torch.Tensor,
    watch: Callable[[torch.Tensor], None] = lambda _: None,
    *,
    centre: torch.Tensor | None = None,
) -> tuple[Point, int]:
    """The optimum of the softened program, whose rows may be missed by e times their multipliers.

    Args:
        rows: the inequalities.
        elastic: e, (R,), above zero.
        start: where to begin.
        tolerances: (R,), by how much rows that have no multiplier may be missed in the end.
        watch: called with multipliers, (R,), none negative, after every step; it may raise.
        centre: (R,), multipliers from which those are counted; None for zero.

    Returns:
        The optimum, and the number of steps.

    Raises:
        SolverFailedError: the steps do not end.
    """
    shift = torch.zeros_like(elastic) if centre is None else elastic * centre
    point = Point(start.weights, start.missing + shift)
    for steps in range(1, STEP_LIMIT + 1):
        missed = point.missing > 0
        aim = _aim(rows, elastic, rows.required + shift, torch.nonzero(missed)[:, 0])
        watch(aim.weights.clamp(min=0.0))
        least = 1e-12 * float(aim.weights.max())
        if bool((aim.weights >= -least).all()) and bool((aim.missing <= tolerances)[~missed].all()):
            return Point(aim.weights.clamp(min=0.0), aim.missing - shift), steps
        point = point.towards(aim, _step_length(elastic, point, aim))
    raise gave_up(f"the quadratic program was not solved in {STEP_LIMIT} steps")


def beginning(rows: Rows) -> Point:
    """No change."""
    return Point(torch.zeros_like(rows.required), rows.required)


def _aim(rows: Rows, elastic: torch.Tensor, required: torch.Tensor, missed: torch.Tensor) -> Point:
    """The optimum if the missed rows, (A,), were all that counts, and counted also where they are more than met."""
    weights = torch.zeros_like(elastic)
    factor, failed = torch.linalg.cholesky_ex(rows.gram(missed) + elastic[missed].diag())
    if failed:
        raise gave_up("rows depend on each other too closely for double precision")
    weights[missed] = torch.cholesky_solve(required[missed, None], factor)[:, 0]
    missing = required - rows.scores(weights)
    missing[missed] = elastic[missed] * weights[missed]
    return Point(weights, missing)


def _step_length(elastic: torch.Tensor, point: Point, aim: Point) -> float:
    """How much of the way to take, at most all: the objective falls along it until its slope, bisected, is zero."""
    turn, lift = aim.weights - point.weights, point.missing - aim.missing
    start, curvature = float(point.weights @ lift), float(turn @ lift)

    def slope(share: float) -> float:
        missing = point.missing.lerp(aim.missing, share).clamp(min=0.0)
        return start + share * curvature - float((missing / elastic) @ lift)

    low, high = 0.0, 1.0
    if slope(high) <= 0:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) <= 0 else (low, middle)
    return high
