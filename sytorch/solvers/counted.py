"""A solver that counts what it is asked, and a clock that all its calls share."""

from __future__ import annotations

from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import InfeasibleProgramError, SolverFailedError
from sytorch.problem.solution import Effort
from sytorch.solvers.linear_program import LinearProgram, LinearSolution, Solver

ASCENT = "first-order"  # how tables and reports call the ascent of `sytorch.numerics.ascent`


class CountedSolver:
    """Passes programs on to a solver within one time limit for all of them, and adds up the effort.

    Args:
        solver: of written-out programs.
        deadline: for all calls.
        by_ascent: whether ``l2`` goes by the ascent at once, without asking the solver first.
    """

    def __init__(self, solver: Solver, deadline: Deadline, by_ascent: bool = False):
        self._solver, self._deadline, self.by_ascent = solver, deadline, by_ascent
        self._names: list[str] = []
        self._counts = {"rows": 0, "columns": 0, "programs": 0, "iterations": 0, "barrier_iterations": 0}

    def solve(self, program: LinearProgram) -> LinearSolution:
        """Solve one program, which has a solution, in the time that is left.

        Raises:
            SolverTimeLimitError: none is left.
            SolverFailedError: it gives no answer.
        """
        try:
            return self.try_to_solve(program)
        except InfeasibleProgramError as error:
            raise SolverFailedError(
                f"{error} That is not so: the solver's precision ended; try another --solver or a smaller --margin."
            ) from error

    def try_to_solve(self, program: LinearProgram) -> LinearSolution:
        """The same of a program that may have no solution.

        Raises:
            InfeasibleProgramError: the solver says so, which proves nothing.
        """
        self.check()
        solution = self._solver.solve(program, self._deadline.left)
        self._counts["rows"], self._counts["columns"] = program.matrix.shape
        self._counts["programs"] += 1
        self._counts["iterations"] += solution.iterations
        self._counts["barrier_iterations"] += solution.barrier_iterations
        if solution.solver not in self._names:
            self._names.append(solution.solver)
        return solution

    def count(self, iterations: int, rows: int, columns: int) -> None:
        """Count iterations of the ascent.

        Raises:
            SolverTimeLimitError: the time is up.
        """
        self._counts["rows"], self._counts["columns"], self._counts["programs"] = rows, columns, 1
        self._counts["iterations"] += iterations
        if ASCENT not in self._names:
            self._names.append(ASCENT)
        self.check()

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        self._deadline.check()

    def effort(self) -> Effort:
        """The effort so far."""
        return Effort(**self._counts, solver=", then ".join(self._names))
