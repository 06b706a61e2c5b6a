"""The restricted program of ``l1``: the rows and columns that are worked with, as a linear program for a solver.

A column is one signed entry of ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sytorch.last_layer.problem import Problem
from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.solution import Multipliers
from sytorch.solvers.linear_program import LinearProgram, LinearSolution, unbounded


@dataclass(frozen=True)
class Point:
    """What the restricted program's solution means for the whole one.

    Attributes:
        x: (C, m) coordinates.
        multipliers: of margins and bounds.
        missing: by how much the margins are missed together, the elastic column.
    """

    x: Matrix
    multipliers: Multipliers
    missing: float


class RestrictedProgram:
    """The working rows and columns of ``minimise |x|_1`` under margins and a bound on ``|D|``."""

    def __init__(self, problem: Problem):
        coordinates, margins = problem.coordinates, problem.margins
        classes, depth = margins.classes, coordinates.rows.shape[1]
        self.problem, self.coordinates, self.margins, self.bound = problem, coordinates, margins, problem.bound
        self.margin_rows: Mask = np.zeros(margins.required.shape, dtype=bool)
        self.bound_rows: Mask = np.zeros((2, classes, margins.outputs.inputs.shape[1]), dtype=bool)
        self.entries: Mask = np.zeros((2, classes, depth), dtype=bool)

    @property
    def bounds_are_columns(self) -> bool:
        """In the identity metric the bound on ``|D|`` is a bound on columns, and needs no rows."""
        return self.coordinates.basis is None

    def linear_program(self, penalty: float) -> LinearProgram:
        """Columns: the elastic one, entries. Rows: margins, bounds."""
        matrix = sparse.csr_array(sparse.vstack([self._margin_block(), self._bound_block()]))
        matrix.eliminate_zeros()
        matrix.sort_indices()
        rhs = [self.margins.required[self.margin_rows], np.full(int(self.bound_rows.sum()), -self.bound)]
        cost, upper = np.ones(matrix.shape[1]), unbounded(matrix.shape[1])
        cost[0] = penalty
        if self.bounds_are_columns:
            upper[1:] = self.bound
        return LinearProgram(cost, np.zeros_like(cost), upper, matrix, np.concatenate(rhs))

    def point(self, solution: LinearSolution) -> Point:
        """Translate a solver's values and duals back."""
        both = np.zeros(self.entries.shape)
        both[self.entries] = solution.x[1:]
        multipliers = Multipliers.of_rows(self.margin_rows, self.bound_rows, np.maximum(solution.duals, 0.0))
        return Point(both[0] - both[1], multipliers, float(solution.x[0]))

    def _margin_block(self) -> sparse.csr_array:
        images, places = np.nonzero(self.margin_rows)
        moved = self._weighted(self.coordinates.rows, images, self.margins.weights_of(images, places))
        return sparse.csr_array(sparse.hstack([np.ones((len(images), 1)), moved]))

    def _bound_block(self) -> sparse.csr_array:
        """Rows ``-D >= -bound`` and ``D >= -bound`` for the entries of ``D`` that are watched."""
        sides, rows, features = np.nonzero(self.bound_rows)
        basis = self.coordinates.basis
        if basis is None or not len(sides):
            return sparse.csr_array((0, 1 + int(self.entries.sum())))
        weights = np.zeros((len(sides), self.margins.classes))
        weights[np.arange(len(sides)), rows] = np.where(sides == 0, -1.0, 1.0)
        moved = self._weighted(basis.T, features, weights)
        return sparse.csr_array(sparse.hstack([sparse.csr_array((len(sides), 1)), moved]))

    def _weighted(self, values: Matrix, places: Indices, weights: Matrix) -> sparse.csr_array:
        """What the entries of ``x`` add to rows: ``weights[r, class] * values[places[r], depth]``; weights (R, C)."""
        signs, own, depths = np.nonzero(self.entries)
        turned = np.where(signs == 0, 1.0, -1.0)
        none = np.zeros(0, dtype=np.int64)
        found: list[tuple[Vector, Indices, Indices]] = [(np.zeros(0), none, none)]
        for number in np.flatnonzero(weights.any(axis=0)):
            rows, columns = np.flatnonzero(weights[:, number]), np.flatnonzero(own == number)
            block = values[np.ix_(places[rows], depths[columns])] * turned[columns] * weights[rows, number, None]
            found.append((block.ravel(), rows.repeat(len(columns)), np.tile(columns, len(rows))))
        entries, at, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return sparse.csr_array((entries, (at, columns)), shape=(len(weights), len(own)))
