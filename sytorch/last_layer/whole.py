"""The whole program, written out at once: every column, every margin. For ``linf`` and ``linf+l1``; of others a check.

Only the bound on ``|D|`` is added where it is broken, when the change is not itself the unknown: those rows are as
many as the layer has weights.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sytorch.certificate.bounds import lower_bound
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.shortfall import beyond, bound_rows, outer_rows, refute
from sytorch.metrics.last_layer import Coordinates, PerClassMetric, SharedMetric, span_coordinates
from sytorch.problem.arrays import Mask, Matrix, Vector
from sytorch.problem.errors import UNKNOWN, InfeasibleProgramError, SolverFailedError
from sytorch.problem.norms import Norm, NormName, norm
from sytorch.problem.solution import Multipliers, Solution
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.linear_program import LinearProgram, LinearSolution

ITERATION_LIMIT = 100


def minimise_whole(problem: Problem, solver: CountedSolver) -> Solution:
    """Minimise any norm by the explicit program.

    Raises:
        TypeError: the metric is one of each class.
        CannotMeetError: no change of the metric's form satisfies the constraints.
        SolverFailedError: the bounds do not settle, or there is neither a solution nor a proof that there is none.
    """
    metric, margins = problem.metric, problem.margins
    if isinstance(metric, PerClassMetric):
        raise TypeError("the whole program is not written out in a metric of each class")
    broken: Mask = np.zeros((2, margins.classes, margins.outputs.inputs.shape[1]), dtype=bool)
    for _ in range(ITERATION_LIMIT):
        program = _Whole(problem, _coordinates(problem, metric, broken), broken)
        try:
            solution = program.read(solver.try_to_solve(program.linear_program()), solver)
        except (InfeasibleProgramError, SolverFailedError) as error:  # solvers also fail where there is no solution
            refute(problem, solver)
            raise SolverFailedError(f"{error} A solution exists: {UNKNOWN}") from error
        newly = beyond(solution.change, problem.bound) & ~broken
        if not newly.any():
            return solution
        broken |= newly
    raise SolverFailedError(f"The bound on the change did not settle in {ITERATION_LIMIT} iterations.")


def _coordinates(problem: Problem, metric: SharedMetric, broken: Mask) -> Coordinates:
    """For the Euclidean norm the span of images and of features at their bound holds the optimum over all changes."""
    if problem.norm_name is not NormName.L2:
        return problem.coordinates
    inputs = problem.margins.outputs.inputs
    units = np.eye(inputs.shape[1])[broken.any(axis=(0, 1))]
    spanned = span_coordinates(metric, np.vstack([inputs, units]))
    return Coordinates(rows=spanned.rows[: len(inputs)], basis=spanned.basis)


class _Whole:
    """Columns: the positive and the negative part of ``x``, (C, m) each; the largest entry where the norm has one.

    For the Euclidean norm ``x`` itself, free.
    """

    def __init__(self, problem: Problem, coordinates: Coordinates, broken: Mask):
        self.margins, self.bound = problem.margins, problem.bound
        self.coordinates, self.broken = coordinates, broken
        self.shape = self.margins.classes, coordinates.rows.shape[1]
        self.norm: Norm = norm(problem.norm_name, self.shape[0] * self.shape[1])
        self.images, self.places = np.nonzero(np.isfinite(self.margins.required))

    def linear_program(self) -> LinearProgram:
        rows = [self._margin_rows(), bound_rows(self.coordinates, self.broken)]
        rhs = [self.margins.required[self.images, self.places], np.full(rows[1].shape[0], -self.bound)]
        return self._quadratic(rows, rhs) if self.norm.is_euclidean else self._linear(rows, rhs)

    def _quadratic(self, rows: list[sparse.csr_array], rhs: list[Vector]) -> LinearProgram:
        size = self.shape[0] * self.shape[1]
        free = np.full(size, np.inf)
        matrix = sparse.csr_array(sparse.vstack(rows, format="csr"))
        square = sparse.csc_array(sparse.eye_array(size))
        return LinearProgram(np.zeros(size), -free, free, matrix, np.concatenate(rhs), square)

    def _linear(self, rows: list[sparse.csr_array], rhs: list[Vector]) -> LinearProgram:
        size = self.shape[0] * self.shape[1]
        largest = int(self.norm.largest > 0)
        blocks = [sparse.hstack([part, -part, sparse.csr_array((part.shape[0], largest))]) for part in rows]
        if largest:
            one = sparse.eye_array(size)
            blocks.append(sparse.hstack([-one, -one, np.ones((size, 1))]))
            rhs.append(np.zeros(size))
        width = 2 * size + largest
        cost = np.concatenate([np.full(2 * size, self.norm.each), [self.norm.largest] * largest])
        upper = np.full(width, self.bound if self.coordinates.basis is None else np.inf)
        upper[2 * size :] = np.inf  # the bound's multipliers are to be found on the entries, not on the largest of them
        matrix = sparse.csr_array(sparse.vstack(blocks, format="csr"))
        return LinearProgram(cost, np.zeros(width), upper, matrix, np.concatenate(rhs))

    def read(self, found: LinearSolution, solver: CountedSolver) -> Solution:
        size = self.shape[0] * self.shape[1]
        x = found.x if self.norm.is_euclidean else found.x[:size] - found.x[size : 2 * size]
        x = x.reshape(self.shape)
        multipliers = self._multipliers(np.maximum(found.duals, 0.0))
        low = lower_bound(self.norm, self.coordinates, self.margins, self.bound, multipliers)
        change, value = self.coordinates.change(x), self.norm.value(x)
        own = None if self.norm.is_euclidean or self.coordinates.basis is None else x
        return Solution(change, value, low, multipliers, "whole", solver.effort(), coordinates=own)

    def _margin_rows(self) -> sparse.csr_array:
        weights = self.margins.weights_of(self.images, self.places)
        return outer_rows(weights, self.coordinates.rows[self.images])

    def _multipliers(self, duals: Vector) -> Multipliers:
        asked = np.isfinite(self.margins.required)
        if self.coordinates.basis is not None:
            return Multipliers.of_rows(asked, self.broken, duals)
        margins = Multipliers.of_rows(asked, np.zeros_like(self.broken), duals).margins
        return Multipliers(margins, self._bounds_of_columns(margins, duals))

    def _bounds_of_columns(self, margins: Matrix, duals: Vector) -> Matrix:
        """Where the change is the unknown, its bound's multipliers are what the other rows leave of the gradient."""
        gradient = self.margins.combine(margins).T @ self.coordinates.rows
        linked = duals[len(self.images) :].reshape(self.shape) if self.norm.largest else 0.0
        left = np.maximum(np.abs(gradient) - self.norm.each - linked, 0.0)
        return np.asarray(np.sign(gradient) * left * np.isfinite(self.bound))
