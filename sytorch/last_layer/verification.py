"""What a method found, looked at apart from it: no change counts as a solution before this, and no bound as proved."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np

from sytorch.certificate.bounds import bound_from, constraint_gradient, slope, weighed
from sytorch.last_layer.problem import Problem
from sytorch.problem.arrays import Matrix
from sytorch.problem.errors import UNKNOWN, SolverFailedError, SolverTimeLimitError
from sytorch.problem.norms import NormName
from sytorch.problem.solution import Multipliers, Solution
from sytorch.solvers.counted import CountedSolver

MISSED = 1e-6  # of the largest requirement
BEYOND = 2e-7  # of the bound, as float32 rounds it


def verified(problem: Problem, solution: Solution) -> Solution:
    """The solution with its change computed anew, and with its objective and lower bound, in float64.

    Raises:
        SolverFailedError: the change misses a margin or breaks the bound by more than rounding, or the objective is
            below the lower bound.
    """
    margins, x = problem.margins, solution.coordinates
    change = solution.change if x is None else problem.coordinates.change(x)
    missed = float(margins.shortfall(margins.outputs.inputs @ change.T).max())
    if not missed <= MISSED * float(margins.required.max()):
        raise SolverFailedError(f"The change that was found misses a margin by {missed:.2g}: {UNKNOWN}")
    largest = float(np.abs(change).max())
    if not largest <= problem.bound * (1 + BEYOND):
        raise SolverFailedError(f"The change that was found has an entry of {largest:.9g}, beyond its bound: {UNKNOWN}")
    if problem.norm_name is NormName.L2:
        size = problem.metric.size(change)
    else:
        size = problem.norm.value(change if x is None else x)
    low, sensitivity = _lower_bound(problem, solution.multipliers)
    return replace(solution, change=change, objective=size, lower_bound=low, sensitivity=sensitivity)


def _lower_bound(problem: Problem, multipliers: Multipliers) -> tuple[float, float]:
    """The bound, and by how much it falls where every margin asks for one less."""
    margins, weights = problem.margins, np.maximum(multipliers.margins, 0.0)
    usable = Multipliers(weights, multipliers.bounds)
    value = weighed(margins, problem.bound, usable)
    if problem.norm_name is NormName.L2:
        dual = problem.metric.dual_size(constraint_gradient(margins, weights) - multipliers.bounds)
    else:
        dual = problem.norm.dual_value(slope(problem.coordinates, margins, usable))
    return bound_from(value, dual), float(margins.counted(weights).sum()) / dual if dual else 0.0


class BestSoFar:
    """A method's latest point. A time limit that is reached inside this context carries a solution made of it.

    Args:
        problem: that is being solved.
        solver: whose effort counts.
        path: of the solution.
    """

    def __init__(self, problem: Problem, solver: CountedSolver, path: str):
        self._problem, self._solver, self._path = problem, solver, path
        self._point: tuple[Matrix, Multipliers] | None = None

    def keep(self, x: Matrix, multipliers: Multipliers) -> None:
        """Coordinates, (C, m), and multipliers in place of those before."""
        self._point = x, multipliers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if isinstance(error, SolverTimeLimitError) and self._point is not None:
            error.best = self._solution(*self._point)

    def _solution(self, x: Matrix, multipliers: Multipliers) -> Solution | None:
        """The least multiple of the point that has the margins; None where none within the bound has."""
        margins = self._problem.margins
        moved, asked = margins.at(self._problem.coordinates.rows @ x.T), margins.required > 0.0
        if not (moved[asked] > 0.0).all():
            return None
        x = x * (margins.required[asked] / moved[asked]).max()
        found = self._problem.solution(x, multipliers, self._path, self._solver.effort())
        with contextlib.suppress(SolverFailedError):
            return verified(self._problem, found)
        return None
