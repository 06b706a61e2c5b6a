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

from sytorch.numerics.threads import threads_for
from sytorch.problem.errors import gave_up

STEP_LIMIT = 200
HALVINGS = 50
FEW_CHANGES = 0.1  # of the rows of a factor, up to which it serves others


class Rows(Protocol):
    """Inequalities ``<a, D> >= b``, R of them."""

    @property
    def required(self) -> torch.Tensor:
        """b, (R,)."""

    def gram(self, chosen: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        """Inner products of chosen rows with others, (A,) and (B,) to (A, B), or with themselves; a copy."""

    def scores(self, multipliers: torch.Tensor) -> torch.Tensor:
        """``<a, D>`` of all rows, (R,), at the change that multipliers, (R,), of the rows add up to."""


@dataclass(frozen=True, eq=False)
class DenseRows:
    """Rows whose inner products, (R, R), are known."""

    products: torch.Tensor
    required: torch.Tensor

    def gram(self, chosen: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        """See `Rows`."""
        return self.products[chosen[:, None], chosen if others is None else others]

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
    point, systems = Point(start.weights, start.missing + shift), _Systems(rows, elastic)
    for steps in range(1, STEP_LIMIT + 1):
        missed = point.missing > 0
        aim = _aim(systems, rows.required + shift, torch.nonzero(missed)[:, 0])
        watch(aim.weights.clamp(min=0.0))
        least = 1e-12 * float(aim.weights.max())
        is_done = bool((aim.weights >= -least).all()) and bool((aim.missing <= tolerances)[~missed].all())
        if is_done and systems.is_own:
            return Point(aim.weights.clamp(min=0.0), aim.missing - shift), steps
        if is_done:
            systems.forget()
        point = point.towards(aim, _step_length(elastic, point, aim))
    raise gave_up(f"the quadratic program was not solved in {STEP_LIMIT} steps")


def beginning(rows: Rows) -> Point:
    """No change."""
    return Point(torch.zeros_like(rows.required), rows.required)


class _Systems:
    """Solutions of ``(K + e) w = b`` for one choice of rows after another.

    The factor of one choice serves those that differ from it by few rows, which border it (Gill, Golub, Murray and
    Saunders 1974): a quarter of the time of a factor of their own.

    Attributes:
        is_own: whether the last choice had a factor of its own.
    """

    def __init__(self, rows: Rows, elastic: torch.Tensor) -> None:
        self.rows, self.elastic, self.is_own = rows, elastic, True
        self.forget()

    def forget(self) -> None:
        """Factor the next choice."""
        self._chosen, self._factor = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)

    def solve(self, chosen: torch.Tensor, required: torch.Tensor) -> torch.Tensor:
        """w of rows, (A,) ascending, for b, (R,); raises `SolverFailedError` where they depend on each other."""
        gone = torch.nonzero(~torch.isin(self._chosen, chosen))[:, 0]
        new = chosen[~torch.isin(chosen, self._chosen)]
        changes = len(gone) + len(new)
        if 0 < changes < FEW_CHANGES * len(self._chosen):
            self.is_own = False
            if (found := self._bordered(chosen, gone, new, required)) is not None:
                return found
        if changes or not len(chosen):
            self._chosen, self._factor = chosen, self._factored(chosen)
        self.is_own = True
        return torch.cholesky_solve(required[chosen, None], self._factor)[:, 0]

    def _factored(self, chosen: torch.Tensor) -> torch.Tensor:
        gram = self.rows.gram(chosen)
        gram.diagonal().add_(self.elastic[chosen])
        factor: torch.Tensor
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed:
            raise gave_up("rows depend on each other too closely for double precision")
        return factor

    def _bordered(
        self, chosen: torch.Tensor, gone: torch.Tensor, new: torch.Tensor, required: torch.Tensor
    ) -> torch.Tensor | None:
        """The same by the factor that there is: rows that are gone, by their place, get the weight zero.

        None where rounding leaves nothing of it.
        """
        border = torch.zeros(len(self._chosen), len(gone) + len(new), dtype=torch.float64)
        border[gone, torch.arange(len(gone))] = 1.0
        border[:, len(gone) :] = self.rows.gram(self._chosen, new)
        corner = torch.zeros(border.shape[1], border.shape[1], dtype=torch.float64)
        inner = self.rows.gram(new)
        inner.diagonal().add_(self.elastic[new])
        corner[len(gone) :, len(gone) :] = inner
        seen = torch.linalg.solve_triangular(
            self._factor, torch.cat([required[self._chosen, None], border], dim=1), upper=False
        )
        first, behind = seen[:, :1], seen[:, 1:]
        ends = torch.cat([torch.zeros(len(gone), dtype=torch.float64), required[new]])[:, None]
        outer, failed = torch.linalg.solve_ex(behind.T @ behind - corner, behind.T @ first - ends)
        if failed:
            return None
        kept = torch.linalg.solve_triangular(self._factor.T, first - behind @ outer, upper=True)[:, 0]
        weights = torch.zeros_like(required)
        weights[self._chosen], weights[new] = kept, outer[len(gone) :, 0]
        return weights[chosen]


def _aim(systems: _Systems, required: torch.Tensor, missed: torch.Tensor) -> Point:
    """The optimum if the missed rows, (A,), were all that counts, and counted also where they are more than met."""
    weights = torch.zeros_like(required)
    with threads_for(len(missed)):
        weights[missed] = systems.solve(missed, required)
    missing = required - systems.rows.scores(weights)
    missing[missed] = systems.elastic[missed] * weights[missed]
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
