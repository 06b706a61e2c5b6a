"""The name for this package's own first-order methods among the solvers."""

from __future__ import annotations

from sytorch.problem.errors import SolverFailedError
from sytorch.solvers.linear_program import LinearProgram, LinearSolution


class FirstOrderSolver:
    """Asks for the first-order methods, which know the program's structure and take no written-out program."""

    name = "first-order"

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """Refuse: `sytorch.last_layer` solves these without writing a program out.

        Raises:
            SolverFailedError: always.
        """
        del program, time_limit
        raise SolverFailedError(
            "The first-order methods solve l1 and l2 without a written-out program; choose another solver for this."
        )
