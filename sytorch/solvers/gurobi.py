"""Gurobi, with whatever licence is found; the one inside gurobipy admits 2,000 columns and rows."""

from __future__ import annotations

import contextlib
import queue
import threading

import gurobipy as gp
import numpy as np
from gurobipy import GRB

from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import (
    InfeasibleProgramError,
    LicenceError,
    SolverFailedError,
    SolverTimeLimitError,
)
from sytorch.solvers.interruption import hearing, take_back
from sytorch.solvers.linear_program import LinearProgram, LinearSolution

START_LIMIT = 10.0  # seconds: a licence server that does not answer must not hold up everything
_LICENCE_CODES = (
    GRB.Error.NO_LICENSE,
    GRB.Error.SIZE_LIMIT_EXCEEDED,
    GRB.Error.NETWORK,
    GRB.Error.JOB_REJECTED,
    GRB.Error.CLOUD,
    GRB.Error.CSWORKER,
    10032,  # security, which has no name in gurobipy
)


class GurobiSolver:
    """Solves with Gurobi's dual simplex, quadratic programs with its barrier: both give the same answer every time."""

    name = "gurobi"

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """See `sytorch.solvers.linear_program.Solver.solve`."""
        deadline = Deadline(time_limit)
        deadline.check()
        try:
            with _environment(deadline) as environment, gp.Model(env=environment) as model:
                return _solve(model, program, deadline)
        except gp.GurobiError as error:
            if error.errno in _LICENCE_CODES:
                raise LicenceError(f"Gurobi's licence does not admit this program: {_sentence(error)}") from error
            raise SolverFailedError(f"Gurobi failed: {_sentence(error)}") from error


def _environment(deadline: Deadline) -> gp.Env:
    """Gurobi's environment, which looks for a licence, made in a thread since nothing else limits how long it looks.

    Raises:
        LicenceError: there is none, or its server does not answer.
        SolverTimeLimitError: the time is up.
    """
    answers: queue.SimpleQueue[gp.Env | BaseException] = queue.SimpleQueue()
    thread = threading.Thread(target=_start, args=(answers,), daemon=True)
    with hearing(lambda: answers.put(KeyboardInterrupt())):
        thread.start()
        found = _first(answers, deadline)
    if isinstance(found, gp.GurobiError):
        raise LicenceError(f"Gurobi has no licence that it can use: {_sentence(found)}") from found
    if isinstance(found, BaseException):
        raise found
    return found


def _first(answers: queue.SimpleQueue[gp.Env | BaseException], deadline: Deadline) -> gp.Env | BaseException:
    given_up, wait = Deadline(START_LIMIT), 1e-6
    while given_up.left:
        take_back()  # while Gurobi looks for a licence, its own handler is there
        deadline.check()
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=wait)
        wait = min(1.2 * wait, 0.05)
    raise LicenceError(f"Gurobi found no licence within {START_LIMIT:g} seconds.")


def _start(answers: queue.SimpleQueue[gp.Env | BaseException]) -> None:
    try:
        answers.put(gp.Env(params={"OutputFlag": 0}))
    except gp.GurobiError as error:
        answers.put(error)


def version() -> str:
    """Gurobi's version."""
    return ".".join(str(part) for part in gp.gurobi.version())


def _solve(model: gp.Model, program: LinearProgram, deadline: Deadline) -> LinearSolution:
    model.Params.FeasibilityTol = 1e-9
    model.Params.OptimalityTol = 1e-9
    model.Params.BarConvTol = 1e-12
    model.Params.BarQCPConvTol = 1e-12
    model.Params.NonConvex = 1  # rounding makes a semidefinite matrix indefinite: an error, not a search of hours
    model.Params.Method = 1 if program.quadratic is None else 2
    x = model.addMVar(len(program.cost), lb=program.lower, ub=program.upper, obj=program.cost)
    rows = model.addMConstr(program.matrix, x, ">", program.rhs)
    if program.quadratic is not None:
        model.setObjective(program.cost @ x + 0.5 * (x @ program.quadratic @ x))
    if deadline.left is not None:
        model.Params.TimeLimit = deadline.left
    with hearing(model.terminate):
        model.optimize(lambda *_: take_back())
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


def _sentence(error: Exception) -> str:
    return str(error).rstrip(".") + "."
