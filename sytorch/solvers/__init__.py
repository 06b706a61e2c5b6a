"""The solvers by name."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import LicenceError
from sytorch.solvers.gurobi import GurobiSolver
from sytorch.solvers.highs import HighsSolver
from sytorch.solvers.linear_program import LinearProgram, LinearSolution, Solver

__all__ = ["AutoSolver", "GurobiSolver", "HighsSolver", "SolverName", "solver_named"]


class SolverName(StrEnum):
    """What the command line calls the solvers."""

    AUTO = "auto"
    GUROBI = "gurobi"
    HIGHS = "highs"


class AutoSolver:
    """Gurobi while its licence admits the programs; HiGHS from the first one that it does not admit.

    `sytorch.Program` solves ``l2`` of many images by an ascent of its own instead.
    """

    name = "auto"

    def __init__(self, on_fallback: Callable[[str], None] = lambda _: None):
        """``on_fallback`` is told what takes over and why, and what will take long; each sentence once."""
        self._current: Solver = GurobiSolver()
        self._on_fallback = on_fallback
        self._told = set[str]()

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """See `sytorch.solvers.linear_program.Solver.solve`."""
        deadline = Deadline(time_limit)
        try:
            return self._current.solve(program, time_limit)
        except LicenceError as error:
            self.tell(f"{error} HiGHS solves it instead.")
            self._current = HighsSolver()
            return self._current.solve(program, deadline.left)

    def tell(self, sentence: str) -> None:
        """Say it, unless it was said."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._on_fallback(sentence)


def solver_named(name: SolverName | str, on_fallback: Callable[[str], None] = lambda _: None) -> Solver:
    """The solver of that name."""
    match SolverName(name):
        case SolverName.GUROBI:
            return GurobiSolver()
        case SolverName.HIGHS:
            return HighsSolver()
        case SolverName.AUTO:
            return AutoSolver(on_fallback)
