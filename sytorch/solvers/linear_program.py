"""The form in which every program reaches a solver, and the protocol that solvers follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from sytorch.problem.arrays import Vector


@dataclass(frozen=True)
class LinearProgram:
    """Minimise ``cost @ x + x @ quadratic @ x / 2`` subject to ``matrix @ x >= rhs`` and ``lower <= x <= upper``.

    Attributes:
        cost, lower, upper: (n,), bounds may be infinite.
        matrix: (m, n) sparse rows.
        rhs: (m,).
        quadratic: (n, n) symmetric and positive semidefinite, or None.
    """

    cost: Vector
    lower: Vector
    upper: Vector
    matrix: sparse.csr_array
    rhs: Vector
    quadratic: sparse.csc_array | None = None


@dataclass(frozen=True)
class LinearSolution:
    """An optimal vertex or point of a `LinearProgram`.

    Attributes:
        x: (n,) values.
        duals: (m,) multipliers of the rows, not negative.
        iterations: simplex or active-set iterations.
        barrier_iterations: interior-point iterations.
        solver: name and version of the solver that answered.
    """

    x: Vector
    duals: Vector
    iterations: int
    barrier_iterations: int
    solver: str


class Solver(Protocol):
    """Solves one program at a time; a solver's own model lives no longer than one call."""

    name: str

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """Solve to optimality.

        Args:
            program: what to solve.
            time_limit: seconds, or None; where none is left, the limit was reached.

        Raises:
            LicenceError: no licence admits the program.
            SolverTimeLimitError: the time limit was reached first.
            InfeasibleProgramError: no point satisfies the rows.
            SolverFailedError: anything else but an optimum.
        """


def unbounded(count: int) -> Vector:
    """``count`` infinite upper bounds."""
    return np.full(count, np.inf)
