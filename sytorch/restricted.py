"""The restricted program: the rows and columns that are worked with, as a linear program for a solver.

A column is one signed entry of ``x``, or a *pattern*: a matrix of signs that moves all entries that are not columns of
their own at once. Patterns are what makes norms with a largest entry tractable: at their optimum nearly all of tens of
thousands of entries stand at the largest value, and only their signs matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sytorch.arrays import Indices, Mask, Matrix, Vector
from sytorch.certificate import Multipliers
from sytorch.constraints import Margins
from sytorch.linear_program import LinearProgram, LinearSolution, unbounded
from sytorch.metric import Coordinates
from sytorch.norms import Norm


@dataclass(frozen=True)
class Point:
    """What the restricted program's solution means for the whole one.

    Attributes:
        x: (C, m) coordinates.
        weights: (P,) of the patterns.
        multipliers: of margins and bounds.
        missing: by how much the margins are missed together, the elastic column.
        penalised: the objective with the elastic column's penalty.
        price: what the entries and patterns together pay for raising the largest entry.
    """

    x: Matrix
    weights: Vector
    multipliers: Multipliers
    missing: float
    penalised: float
    price: float


class RestrictedProgram:
    """The working rows and columns of ``minimise norm(x)`` under margins and a bound on ``|D|``."""

    def __init__(self, norm: Norm, coordinates: Coordinates, margins: Margins, bound: float):
        classes, depth = margins.required.shape[1], coordinates.rows.shape[1]
        self.norm, self.coordinates, self.margins, self.bound = norm, coordinates, margins, bound
        self.margin_rows: Mask = np.zeros(margins.required.shape, dtype=bool)
        self.bound_rows: Mask = np.zeros((2, classes, margins.outputs.inputs.shape[1]), dtype=bool)
        self.entries: Mask = np.zeros((2, classes, depth), dtype=bool)
        self.patterns: list[Matrix] = []

    @property
    def bounds_are_columns(self) -> bool:
        """In the identity metric the bound on ``|D|`` is a bound on columns, and needs no rows."""
        return self.coordinates.basis is None

    def linear_program(self, penalty: float) -> LinearProgram:
        """Columns: the elastic one, the largest entry, patterns, entries. Rows: margins, bounds, links."""
        patterns = [self._free_of_entries(pattern) for pattern in self.patterns]
        blocks = [[self._margin_block(patterns)], [self._bound_block(patterns)]]
        if self.norm.largest:
            blocks += [[self._link_block(len(patterns))]]
        matrix = sparse.csr_array(sparse.vstack([block[0] for block in blocks], format="csr"))
        bounds_count = int(self.bound_rows.sum())
        links_count = matrix.shape[0] - int(self.margin_rows.sum()) - bounds_count
        rhs = [self.margins.required[self.margin_rows], np.full(bounds_count, -self.bound), np.zeros(links_count)]
        cost, upper = self._costs(patterns, penalty), self._upper_bounds(len(patterns))
        return LinearProgram(cost, np.zeros_like(cost), upper, matrix, np.concatenate(rhs))

    def point(self, solution: LinearSolution, penalty: float) -> Point:
        """Translate a solver's values and duals back."""
        fixed, count = 1 + self._has_largest, len(self.patterns)
        weights, entries = solution.x[fixed : fixed + count], solution.x[fixed + count :]
        x = np.zeros(self.entries.shape[1:])
        for weight, pattern in zip(weights, self.patterns, strict=True):
            x += weight * self._free_of_entries(pattern)
        signs, rows, columns = np.nonzero(self.entries)
        np.add.at(x, (rows, columns), np.where(signs == 0, entries, -entries))
        links = solution.duals[int(self.margin_rows.sum() + self.bound_rows.sum()) :]
        missing = float(solution.x[0])
        penalised = self.norm.value(x) + penalty * missing
        return Point(x, weights, self._multipliers(solution.duals), missing, penalised, float(links.sum()))

    @property
    def _has_largest(self) -> int:
        return int(self.norm.largest > 0)

    def _free_of_entries(self, pattern: Matrix) -> Matrix:
        return np.where(self.entries.any(axis=0), 0.0, pattern)

    def _costs(self, patterns: list[Matrix], penalty: float) -> Vector:
        fixed = [penalty] + [self.norm.largest] * self._has_largest
        of_patterns = [self.norm.each * np.count_nonzero(pattern) for pattern in patterns]
        return np.array(fixed + of_patterns + [self.norm.each] * int(self.entries.sum()), dtype=np.float64)

    def _upper_bounds(self, patterns: int) -> Vector:
        upper = unbounded(1 + self._has_largest + patterns + int(self.entries.sum()))
        if self.bounds_are_columns:
            upper[1 : 2 if self._has_largest else None] = self.bound
        return upper

    def _margin_block(self, patterns: list[Matrix]) -> sparse.csr_array:
        images, others = np.nonzero(self.margin_rows)
        own = self.margins.labels[images]
        signs, classes, depths = np.nonzero(self.entries)
        sides = _one_hot(own, self.entries.shape[1]) - _one_hot(others, self.entries.shape[1])
        entries = self.coordinates.rows[np.ix_(images, depths)] * sides[:, classes] * np.where(signs == 0, 1.0, -1.0)
        leads = [self.margins.lead(self.coordinates.rows @ pattern.T)[images, others] for pattern in patterns]
        fixed = np.ones((len(images), 1)), np.zeros((len(images), self._has_largest))
        return sparse.csr_array(np.hstack([*fixed, _columns(leads, len(images)), entries]))

    def _bound_block(self, patterns: list[Matrix]) -> sparse.csr_array:
        """Rows ``-D >= -bound`` and ``D >= -bound`` for the entries of ``D`` that are watched."""
        sides, rows, features = np.nonzero(self.bound_rows)
        width = 1 + self._has_largest
        if not len(sides):
            return sparse.csr_array((0, width + len(patterns) + int(self.entries.sum())))
        basis = self.coordinates.basis
        assert basis is not None
        outward = np.where(sides == 0, -1.0, 1.0)[:, None]
        signs, classes, depths = np.nonzero(self.entries)
        same_class = rows[:, None] == classes[None, :]
        entries = basis[np.ix_(depths, features)].T * same_class * np.where(signs == 0, 1.0, -1.0)
        changes = [(pattern @ basis)[rows, features] for pattern in patterns]
        moved = np.hstack([_columns(changes, len(sides)), entries])
        return sparse.csr_array(np.hstack([np.zeros((len(sides), width)), outward * moved]))

    def _link_block(self, patterns: int) -> sparse.csr_array:
        """No entry and no sum of patterns exceeds the largest entry."""
        count = int(self.entries[0].sum())
        diagonal = sparse.eye_array(count)
        entries = sparse.hstack([-diagonal, -diagonal]) if count else sparse.csr_array((0, 0))
        together = sparse.csr_array(-np.ones((1, patterns)))
        body = sparse.block_diag([together, entries], format="csr")
        front = sparse.csr_array(np.tile([0.0, 1.0], (1 + count, 1)))
        return sparse.csr_array(sparse.hstack([front, body], format="csr"))

    def _multipliers(self, duals: Vector) -> Multipliers:
        margins, bounds = int(self.margin_rows.sum()), int(self.bound_rows.sum())
        multipliers = np.zeros(self.margin_rows.shape)
        multipliers[self.margin_rows] = np.maximum(duals[:margins], 0.0)
        both_sides = np.zeros(self.bound_rows.shape)
        both_sides[self.bound_rows] = np.maximum(duals[margins : margins + bounds], 0.0)
        return Multipliers(multipliers, both_sides[0] - both_sides[1])


def _one_hot(indices: Indices, size: int) -> Matrix:
    return np.eye(size)[indices]


def _columns(vectors: list[Vector], height: int) -> Matrix:
    return np.stack(vectors, axis=1) if vectors else np.zeros((height, 0))
