"""A solver that counts what it is asked, and a clock that all its calls share."""

from __future__ import annotations

from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import InfeasibleProgramError, SolverFailedError
from sytorch.problem.solution import Effort
from sytorch.solvers.first_order import FirstOrderSolver
from sytorch.solvers.highs import HighsSolver
from sytorch.solvers.linear_program import LinearProgram, LinearSolution, Solver


class CountedSolver:
    """Passes programs on to a solver within one time limit for all of them, and adds up the effort."""

    def __init__(self, solver: Solver, deadline: Deadline):
        self._solver, self._deadline = solver, deadline
        self._names: list[str] = []
        self._counts = {"rows": 0, "columns": 0, "rounds": 0, "iterations": 0, "barrier_iterations": 0}

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
        self._counts["rounds"] += 1
        self._counts["iterations"] += solution.iterations
        self._counts["barrier_iterations"] += solution.barrier_iterations
        if solution.solver not in self._names:
            self._names.append(solution.solver)
        return solution

    @property
    def is_first_order(self) -> bool:
        """Whether programs are to be solved by first-order methods of this package."""
        return isinstance(self._solver, FirstOrderSolver)

    @property
    def exact(self) -> CountedSolver:
        """A solver of written-out programs within the same time: this one, or HiGHS for those of first order."""
        return CountedSolver(HighsSolver(), self._deadline) if self.is_first_order else self

    def count(self, iterations: int, rows: int, columns: int) -> None:
        """Count iterations of a first-order method.

        Raises:
            SolverTimeLimitError: the time is up.
        """
        self._counts["rows"], self._counts["columns"], self._counts["rounds"] = rows, columns, 1
        self._counts["iterations"] += iterations
        if FirstOrderSolver.name not in self._names:
            self._names.append(FirstOrderSolver.name)
        self.check()

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        self._deadline.check()

    def effort(self) -> Effort:
        """The effort so far."""
        return Effort(**self._counts, solver=", then ".join(self._names))
