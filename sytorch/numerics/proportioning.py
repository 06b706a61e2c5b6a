"""Quadratic programs over nonnegative multipliers of which only products with the matrix are known.

Modified proportioning with reduced gradient projections (MPRGP; Dostál and Schöberl 2005): conjugate gradients on the
multipliers that are positive, a projected step where one of them reaches zero, and a step on the others once their
gradient dominates. It ends at the optimum itself, not only near it, for it finds the right face in finitely many steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sytorch.problem.errors import gave_up

Product = Callable[[torch.Tensor], torch.Tensor]
Test = Callable[[torch.Tensor, torch.Tensor], bool]
ITERATION_LIMIT = 20_000
CHECK_EVERY = 20
ROUNDING = 1e-26


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the iterations ended.

    Attributes:
        point: u, (R,).
        products: how many with K were made.
        is_done: whether the test says so; False where rounding ended them before.
    """

    point: torch.Tensor
    products: int
    is_done: bool


def minimise_nonnegative(product: Product, rhs: torch.Tensor, norm: float, start: torch.Tensor, test: Test) -> Minimum:
    """Minimise ``u K u / 2 - b u`` over ``u >= 0``.

    Args:
        product: with K, symmetric and positive definite.
        rhs: b, (R,).
        norm: an estimate of K's largest eigenvalue; one too small is noticed.
        start: u, (R,), not negative.
        test: of a point and its gradient, (R,) each, whether it is near enough; asked every `CHECK_EVERY` steps.

    Raises:
        SolverFailedError: it is not done in `ITERATION_LIMIT` steps.
    """
    method = _Proportioning(product, rhs, norm, start)
    is_done = method.run(test)
    return Minimum(method.point, method.products, is_done)


class _Proportioning:
    """The iterations of `minimise_nonnegative`."""

    def __init__(self, product: Product, rhs: torch.Tensor, norm: float, start: torch.Tensor):
        self._product, self._rhs, self._step = product, rhs, 1.8 / norm
        self.products = 0
        self.point = start.clone()
        self.gradient = self._multiply(self.point) - rhs
        self._direction = self._free()

    def run(self, is_done: Test) -> bool:
        """Iterate until it is done; False where rounding ends the iterations before that."""
        smallest = ROUNDING * float(self._rhs.norm()) ** 2
        for iteration in range(ITERATION_LIMIT):
            if iteration % CHECK_EVERY == 0 and is_done(self.point, self.gradient):
                return True
            free, chopped = self._free(), self._chopped()
            if float(free @ free + chopped @ chopped) <= smallest:
                return is_done(self.point, self.gradient)
            reduced = torch.minimum(self.point / self._step, free)
            if float(chopped @ chopped) <= float(reduced @ free):
                self._conjugate_step()
            else:
                self._proportion(chopped)
        raise gave_up(f"the quadratic program was not solved in {ITERATION_LIMIT} steps")

    def _conjugate_step(self) -> None:
        direction = self._direction
        moved = self._multiply(direction)
        curvature = float(direction @ moved)
        wanted = float(self.gradient @ direction) / curvature
        falling = direction > 0
        longest = float((self.point[falling] / direction[falling]).min()) if falling.any() else torch.inf
        length = min(wanted, longest)
        self._move(length, direction, moved)
        if wanted > longest:
            self._expand()
            return
        free = self._free()
        self._direction = free - float(free @ moved) / curvature * direction

    def _expand(self) -> None:
        """A projected gradient step; where it raises the objective, the step was too long for K's norm."""
        before, value = self.point, self._value(self.point, self.gradient)
        while True:
            point = (before - self._step * self._free_at(before)).clamp(min=0.0)
            gradient = self._multiply(point) - self._rhs
            if self._value(point, gradient) <= value + 1e-12 * abs(value):
                break
            self._step /= 2
        self.point, self.gradient = point, gradient
        self._direction = self._free()

    def _proportion(self, chopped: torch.Tensor) -> None:
        moved = self._multiply(chopped)
        self._move(float(self.gradient @ chopped) / float(chopped @ moved), chopped, moved)
        self._direction = self._free()

    def _move(self, length: float, direction: torch.Tensor, moved: torch.Tensor) -> None:
        self.point = (self.point - length * direction).clamp(min=0.0)
        self.gradient = self.gradient - length * moved

    def _value(self, point: torch.Tensor, gradient: torch.Tensor) -> float:
        return float(point @ (gradient - self._rhs)) / 2

    def _free(self) -> torch.Tensor:
        return self._free_at(self.point)

    def _free_at(self, point: torch.Tensor) -> torch.Tensor:
        return torch.where(point > 0, self.gradient, 0.0)

    def _chopped(self) -> torch.Tensor:
        return torch.where(self.point > 0, 0.0, self.gradient.clamp(max=0.0))

    def _multiply(self, vector: torch.Tensor) -> torch.Tensor:
        self.products += 1
        return self._product(vector)
