"""Gurobi, with whatever licence is found; the one inside gurobipy admits 2,000 columns and rows."""

from __future__ import annotations

import gurobipy as gp
import numpy as np
from gurobipy import GRB

from sytorch.deadline import Deadline
from sytorch.errors import (
    InfeasibleProgramError,
    LicenceError,
    SolverFailedError,
    SolverTimeLimitError,
)
from sytorch.linear_program import LinearProgram, LinearSolution

_LICENCE_CODES = (GRB.Error.NO_LICENSE, GRB.Error.SIZE_LIMIT_EXCEEDED)


class GurobiSolver:
    """Solves with Gurobi's dual simplex, quadratic programs with its barrier: both give the same answer every time."""

    name = "gurobi"

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """See `sytorch.linear_program.Solver.solve`."""
        deadline = Deadline(time_limit)
        deadline.check()
        try:
            with gp.Env(params={"OutputFlag": 0}) as environment, gp.Model(env=environment) as model:
                return _solve(model, program, deadline)
        except gp.GurobiError as error:
            if error.errno in _LICENCE_CODES:
                raise LicenceError(f"Gurobi's licence does not admit this program: {_sentence(error)}") from error
            raise SolverFailedError(f"Gurobi failed: {_sentence(error)}") from error


def version() -> str:
    """Gurobi's version."""
    return ".".join(str(part) for part in gp.gurobi.version())


def _solve(model: gp.Model, program: LinearProgram, deadline: Deadline) -> LinearSolution:
    model.Params.FeasibilityTol = 1e-9
    model.Params.OptimalityTol = 1e-9
    model.Params.BarConvTol = 1e-12
    model.Params.BarQCPConvTol = 1e-12
    model.Params.Method = 1 if program.quadratic is None else 2
    x = model.addMVar(len(program.cost), lb=program.lower, ub=program.upper, obj=program.cost)
    rows = model.addMConstr(program.matrix, x, ">", program.rhs)
    if program.quadratic is not None:
        model.setObjective(program.cost @ x + 0.5 * (x @ program.quadratic @ x))
    if deadline.left is not None:
        model.Params.TimeLimit = deadline.left
    model.optimize()
    _check(model.Status)
    return LinearSolution(
        x=np.asarray(x.X),
        duals=np.asarray(rows.Pi),
        iterations=int(model.IterCount),
        barrier_iterations=int(model.BarIterCount),
        solver=f"gurobi {version()}",
    )


def _check(status: int) -> None:
    """Only an optimum is an answer; Gurobi turns Ctrl-C into a status, which becomes the usual exception again."""
    if status == GRB.INTERRUPTED:
        raise KeyboardInterrupt
    if status == GRB.TIME_LIMIT:
        raise SolverTimeLimitError("Gurobi reached the time limit.")
    if status in (GRB.INFEASIBLE, GRB.INF_OR_UNBD):
        raise InfeasibleProgramError("Gurobi found the program infeasible.")
    if status != GRB.OPTIMAL:
        raise SolverFailedError(f"Gurobi stopped with status {status}.")


def _sentence(error: gp.GurobiError) -> str:
    return str(error).rstrip(".") + "."
