"""Those who solve the whole program: HiGHS's interior points, and Gurobi.

What was stopped by the time limit still gives the point it had, where it had one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import gurobipy as gp
import highspy
import numpy as np
import torch
from gurobipy import GRB

from benchmarks.opponents.case import NO_LICENCE, Attempt, Case, Run, Timer, last_layer_state, threads
from benchmarks.opponents.whole_program import WholeProgram, whole_program
from sytorch import margin
from sytorch.problem.arrays import Vector

OPTIMAL = "optimal"


def whole(solver: WholeSolver, licence: str = NO_LICENCE) -> Run:
    """The method that hands the whole program to a solver."""
    return functools.partial(_run, solver, licence)


def _run(solver: WholeSolver, licence: str, case: Case) -> Attempt:
    margins = margin(case.outputs, case.edit_set.labels.numpy(), case.safe_margin)
    timer = Timer()
    program = whole_program(margins, case.bound)
    point = solver(program, case.time_limit)
    size = f"{program.matrix.shape[0]:,} rows, {program.matrix.shape[1]:,} columns"
    if point.x is None or not np.isfinite(point.x).all():
        return Attempt(None, timer.seconds, point.status, point.message or size, licence)
    state = last_layer_state(case, torch.from_numpy(program.change(point.x)))
    return Attempt(state, timer.seconds, "found", _told(point, size), licence)


def _told(point: Point, size: str) -> str:
    stopped = "" if point.status == OPTIMAL else f"stopped: {point.status}"
    return "; ".join(part for part in (stopped, point.message, size) if part)


@dataclass(frozen=True, eq=False)
class Point:
    """Where a solver stopped.

    Attributes:
        x: the values, (n,); None where it had none.
        status: the solver's word for it, or ``licence refused``.
        message: a sentence on it, perhaps empty.
    """

    x: Vector | None
    status: str
    message: str = ""


WholeSolver = Callable[[WholeProgram, float], Point]


def solve_with_highs(program: WholeProgram, time_limit: float) -> Point:
    """Solve with HiGHS's interior points, without crossover to a vertex, which nobody needs here."""
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.silent()
    highs.setOptionValue("time_limit", time_limit)
    highs.setOptionValue("run_crossover", "off")
    highs.setOptionValue("threads", threads())
    highs.setOptionValue("solver", "ipm")
    highs.passModel(_highs_model(program))
    highs.run()
    status = highs.modelStatusToString(highs.getModelStatus()).lower()
    solution = highs.getSolution()
    return Point(np.array(solution.col_value) if solution.value_valid else None, status)


def _highs_model(program: WholeProgram) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_row_, model.num_col_ = program.matrix.shape
    model.col_cost_, model.col_lower_, model.col_upper_ = program.cost, np.zeros(len(program.cost)), program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    model.a_matrix_.value_ = program.matrix.data
    return model


def solve_with_gurobi(program: WholeProgram, time_limit: float) -> Point:
    """Solve with Gurobi's barrier, without crossover, where its licence admits the program."""
    settings = {"OutputFlag": 0, "Method": 2, "Crossover": 0, "TimeLimit": time_limit, "Threads": threads()}
    try:
        with gp.Env(params=settings) as environment, gp.Model(env=environment) as model:
            return _solve_with_gurobi(model, program)
    except gp.GurobiError as error:
        if error.errno in (GRB.Error.NO_LICENSE, GRB.Error.SIZE_LIMIT_EXCEEDED):
            rows, columns = program.matrix.shape
            return Point(None, "licence refused", f"the licence does not admit {rows:,} rows and {columns:,} columns")
        return Point(None, "failed", str(error))


def _solve_with_gurobi(model: gp.Model, program: WholeProgram) -> Point:
    x = model.addMVar(len(program.cost), ub=program.upper, obj=program.cost)
    for sense, rhs in ((">", program.row_lower), ("<", program.row_upper)):
        chosen = np.flatnonzero(np.isfinite(rhs))
        model.addMConstr(program.matrix[chosen], x, sense, rhs[chosen])
    model.optimize()
    words = {GRB.OPTIMAL: "optimal", GRB.TIME_LIMIT: "time limit reached", GRB.INFEASIBLE: "infeasible"}
    return Point(np.asarray(x.X) if model.SolCount else None, words.get(model.Status, f"status {model.Status}"))
