"""How little the margins can lack within a bound: the program that refutes a bound, and that finds the least one.

An elastic column keeps every program feasible. All other columns are there from the start; rows of margins and bounds
are added where they are violated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sytorch.certificate.bounds import farkas, refuted_by
from sytorch.last_layer.problem import Problem
from sytorch.metrics.last_layer import Coordinates, IdentityMetric
from sytorch.problem.arrays import Mask, Matrix
from sytorch.problem.errors import UNKNOWN, InfeasibleProgramError, SolverFailedError
from sytorch.problem.margins import Requirements
from sytorch.problem.solution import Multipliers
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.linear_program import LinearProgram

FEASIBILITY = 1e-8
ITERATION_LIMIT = 1000
STEP = 5e-4  # a bound is tried that is larger than what is refuted by this share
ROWS_OF_AN_IMAGE = 10  # at a time


class CannotMeetError(InfeasibleProgramError):
    """No change that is searched meets the margins; carries the multipliers, of `farkas`, that prove it."""

    def __init__(self, proof: Multipliers):
        super().__init__("the margins cannot be met")
        self.proof = proof


def most_missed(missed: Mask, shortfall: Matrix) -> Mask:
    """The margins that every image misses most, (N, C): with a thousand classes all of them would be too many rows."""
    if missed.shape[1] <= ROWS_OF_AN_IMAGE:
        return missed
    places = np.argpartition(np.where(missed, shortfall, -np.inf), -ROWS_OF_AN_IMAGE, axis=1)[:, -ROWS_OF_AN_IMAGE:]
    chosen = np.zeros_like(missed)
    np.put_along_axis(chosen, places, True, axis=1)
    return missed & chosen


@dataclass(frozen=True)
class Point:
    """The coordinates, (C, m), by which margins lack least, that amount, and the multipliers."""

    x: Matrix
    missing: float
    multipliers: Multipliers


class Shortfall:
    """Minimise what is ``missing`` of margins that a change ``x @ basis`` within a bound is to meet."""

    def __init__(self, coordinates: Coordinates, margins: Requirements):
        self.coordinates, self.margins = coordinates, margins
        self.shape = margins.classes, coordinates.rows.shape[1]
        self.margin_rows: Mask = margins.required > FEASIBILITY
        self.bound_rows: Mask = np.zeros((2, self.shape[0], margins.outputs.inputs.shape[1]), dtype=bool)

    def minimum(self, bound: float, solver: CountedSolver) -> Point:
        """Of the rows that are there."""
        scale = self._scale(bound)
        found = solver.solve(self._program(bound, scale))
        x = scale * found.x[:-1].reshape(self.shape)
        multipliers = Multipliers.of_rows(self.margin_rows, self.bound_rows, np.maximum(found.duals, 0.0))
        return Point(x, float(found.x[-1]), multipliers)

    def add_violated(self, point: Point, bound: float) -> bool:
        """Add the rows that are violated by more than what is missing; returns whether there are any."""
        before = self.margin_rows.sum() + self.bound_rows.sum()
        self.margin_rows |= self.margins.shortfall(self.coordinates.rows @ point.x.T) > point.missing + FEASIBILITY
        if self.coordinates.basis is not None and np.isfinite(bound):
            self.bound_rows |= beyond(self.coordinates.change(point.x), bound)
        return bool(self.margin_rows.sum() + self.bound_rows.sum() > before)

    def _scale(self, bound: float) -> float:
        """The unit of ``x``, in which its entries are of the size of 1."""
        return bound if self.coordinates.basis is None and np.isfinite(bound) else 1.0

    def _program(self, bound: float, scale: float) -> LinearProgram:
        images, places = np.nonzero(self.margin_rows)
        weights = self.margins.weights_of(images, places)
        raised = outer_rows(weights, scale * self.coordinates.rows[images])
        kept = bound_rows(self.coordinates, self.bound_rows)
        blocks = [
            sparse.hstack([raised, np.ones((raised.shape[0], 1))]),
            sparse.hstack([kept, sparse.csr_array((kept.shape[0], 1))]),
        ]
        rhs = [self.margins.required[images, places], np.full(kept.shape[0], -bound)]
        matrix = sparse.csr_array(sparse.vstack(blocks, format="csr"))
        cost, upper = np.zeros(matrix.shape[1]), np.full(matrix.shape[1], np.inf)
        cost[-1] = 1.0
        if self.coordinates.basis is None:
            upper[:-1] = bound / scale
        return LinearProgram(cost, np.append(-upper[:-1], 0.0), upper, matrix, np.concatenate(rhs))


def refute(problem: Problem, solver: CountedSolver) -> None:
    """Minimise what the margins lack, whatever the change costs; return where nothing is lacking.

    Raises:
        CannotMeetError: no ``x`` satisfies the constraints.
        SolverFailedError: neither that nor the opposite is shown.
    """
    coordinates, margins, bound = problem.coordinates, problem.margins, problem.bound
    program = Shortfall(coordinates, margins)
    for _ in range(ITERATION_LIMIT):
        point = program.minimum(bound, solver)
        lacks = point.missing > FEASIBILITY
        if lacks and (proof := farkas(coordinates, margins, bound, point.multipliers)):
            raise CannotMeetError(proof)
        if not program.add_violated(point, bound):
            if lacks:
                break
            return
    raise SolverFailedError(f"Whether any change meets the margins is not shown: {UNKNOWN}")


def least_bound(margins: Requirements, bound: float, solver: CountedSolver) -> tuple[Multipliers | None, float]:
    """The least bound within which a change of any form has the margins, but for `STEP`, and at least ``bound``.

    What the margins lack is a convex function of the bound, and its multipliers are a tangent: Newton's method goes
    to the bound that they refute, and a little beyond.

    Returns:
        The multipliers that refute the largest refuted bound, None if there is none; and a bound within which a change
        exists, infinite where every bound is refuted.

    Raises:
        SolverFailedError: neither is shown of a bound on the way.
    """
    any_change = IdentityMetric().coordinates(margins.outputs.inputs)
    program, refuting = Shortfall(any_change, margins), None
    for _ in range(ITERATION_LIMIT):
        point = program.minimum(bound, solver)
        violated, lacks = program.add_violated(point, bound), point.missing > FEASIBILITY
        if lacks and (proof := farkas(any_change, margins, bound, point.multipliers)):
            refuting, bound = proof, refuted_by(margins, proof) * (1 + STEP)
            if farkas(any_change, margins, np.inf, proof):
                return proof, np.inf
        elif not violated:
            if lacks:
                break
            return refuting, bound
    raise SolverFailedError(f"The least bound is not shown: {UNKNOWN}")


def beyond(change: Matrix, bound: float) -> Mask:
    """Which entries of a change, (C, d), are above the bound, and which below its negative, by more than rounding."""
    limit = bound * (1 + 1e-9) + 1e-12
    return np.stack([change > limit, change < -limit])


def bound_rows(coordinates: Coordinates, broken: Mask) -> sparse.csr_array:
    """Rows ``-D >= -bound`` and ``D >= -bound`` of the entries of ``D`` that are ``broken``, (2, C, d)."""
    sides, classes, features = np.nonzero(broken)
    if coordinates.basis is None or not len(sides):
        return sparse.csr_array((0, broken.shape[1] * coordinates.rows.shape[1]))
    weights = np.zeros((len(sides), broken.shape[1]))
    weights[np.arange(len(sides)), classes] = np.where(sides == 0, -1.0, 1.0)
    return outer_rows(weights, coordinates.basis[:, features].T)


def outer_rows(weights: Matrix, vectors: Matrix) -> sparse.csr_array:
    """Rows with the products of weights, (R, C), and vectors, (R, m), class by class: (R, C * m)."""
    (count, classes), depth = weights.shape, vectors.shape[1]
    own, blocks = np.nonzero(weights)
    columns = blocks[:, None] * depth + np.arange(depth)
    values = weights[own, blocks, None] * vectors[own]
    starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=count))]) * depth
    rows = sparse.csr_array((values.ravel(), columns.ravel(), starts), shape=(count, classes * depth))
    rows.eliminate_zeros()
    return rows
