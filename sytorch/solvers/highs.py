"""HiGHS, which needs no licence: its simplex for linear programs, its active-set method for quadratic ones."""

from __future__ import annotations

import highspy
import numpy as np
from scipy import sparse

from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import InfeasibleProgramError, SolverFailedError, SolverTimeLimitError
from sytorch.solvers.interruption import run_interruptible
from sytorch.solvers.linear_program import LinearProgram, LinearSolution

FEWEST, EACH = 1000, 20  # iterations of a quadratic program, and more of them for each column
_STATUS = highspy.HighsModelStatus


class HighsSolver:
    """Solves with HiGHS on one thread, so that the same program has the same answer every time."""

    name = "highs"

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        """See `sytorch.solvers.linear_program.Solver.solve`."""
        deadline = Deadline(time_limit)
        deadline.check()
        highs = highspy.Highs()
        highs.silent()
        highs.HandleUserInterrupt = True
        highs.passModel(_model(program))
        _set_options(highs, deadline.left)
        highs.setOptionValue("qp_iteration_limit", FEWEST + EACH * len(program.cost))  # it can go round in circles
        run_interruptible(highs.run, highs.cancelSolve)
        _check(highs)
        return _solution(highs)


def version() -> str:
    """HiGHS's version."""
    return str(highspy.Highs().version())


def _set_options(highs: highspy.Highs, time_limit: float | None) -> None:
    options: dict[str, float] = {
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
        "ipm_optimality_tolerance": 1e-10,
    }
    if time_limit is not None:
        options["time_limit"] = max(time_limit, 1e-3)
    for name, value in options.items():
        highs.setOptionValue(name, value)


def _model(program: LinearProgram) -> highspy.HighsModel:
    model = highspy.HighsModel()
    lp = model.lp_
    lp.num_row_, lp.num_col_ = program.matrix.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = program.rhs, np.full(lp.num_row_, np.inf)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = program.matrix.indptr, program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    if program.quadratic is not None:
        lower_triangle = sparse.csc_array(sparse.tril(program.quadratic))
        lower_triangle.sort_indices()
        model.hessian_.dim_ = lp.num_col_
        model.hessian_.format_ = highspy.HessianFormat.kTriangular
        model.hessian_.start_, model.hessian_.index_ = lower_triangle.indptr, lower_triangle.indices
        model.hessian_.value_ = lower_triangle.data
    return model


def _check(highs: highspy.Highs) -> None:
    status = highs.getModelStatus()
    if status == _STATUS.kInterrupt:
        raise KeyboardInterrupt
    if status == _STATUS.kTimeLimit:
        raise SolverTimeLimitError("HiGHS reached the time limit.")
    if status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
        raise InfeasibleProgramError("HiGHS found the program infeasible.")
    if status != _STATUS.kOptimal:
        raise SolverFailedError(f"HiGHS stopped with status {highs.modelStatusToString(status)}.")


def _solution(highs: highspy.Highs) -> LinearSolution:
    solution, info = highs.getSolution(), highs.getInfo()
    return LinearSolution(
        x=np.array(solution.col_value),
        duals=np.array(solution.row_dual),
        iterations=max(info.simplex_iteration_count, 0) + max(info.qp_iteration_count, 0),
        barrier_iterations=max(info.ipm_iteration_count, 0),
        solver=f"highs {version()}",
    )
