"""The whole linear program in the weights themselves, written out at once: the objective of APRNN.

Tao et al., "Architecture-Preserving Provable Repair of Deep Neural Networks", PLDI 2023, minimise the largest entry and
the mean entry, together, of the change of the weights and of the change of the edit images' outputs, in one vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sytorch import Margins
from sytorch.problem.arrays import Matrix, Vector


@dataclass(frozen=True, eq=False)
class WholeProgram:
    """Minimise ``cost @ x`` subject to ``row_lower <= matrix @ x <= row_upper`` and ``0 <= x <= upper``.

    The columns are the parts above and below zero of the change of the weights, (C, d) each, those of the movement of
    the outputs, (C, N) each, and the largest entry.

    Attributes:
        cost, upper: (n,).
        matrix: (m, n), rows.
        row_lower, row_upper: (m,), perhaps infinite.
        shape: (C, d), of the change.
    """

    cost: Vector
    upper: Vector
    matrix: sparse.csr_array
    row_lower: Vector
    row_upper: Vector
    shape: tuple[int, int]

    def change(self, x: Vector) -> Matrix:
        """The change ``D``, (C, d), at a point."""
        size = self.shape[0] * self.shape[1]
        return np.asarray((x[:size] - x[size : 2 * size]).reshape(self.shape))


def whole_program(margins: Margins, bound: float, count_outputs: bool = True) -> WholeProgram:
    """Write the program out.

    Args:
        margins: the constraints on N images.
        bound: on every entry of the change.
        count_outputs: whether the movement of the outputs is minimised, too; else it is ``linf+l1`` of the weights.
    """
    (images, classes), features = margins.required.shape, margins.outputs.inputs.shape[1]
    size, moved = classes * features, classes * images
    counted = moved if count_outputs else 0
    each = 1.0 / (size + counted)
    blocks = [_movement_rows(margins), _margin_rows(margins, size), _largest_rows(size, moved, counted)]
    required = margins.required[np.isfinite(margins.required)]
    lower = np.concatenate([np.zeros(moved), required, np.zeros(size + counted)])
    upper = np.concatenate([np.zeros(moved), np.full(len(required) + size + counted, np.inf)])
    return WholeProgram(
        cost=np.concatenate([np.full(2 * size, each), np.full(2 * moved, each * count_outputs), [1.0]]),
        upper=np.concatenate([np.full(2 * size, bound), np.full(2 * moved + 1, np.inf)]),
        matrix=sparse.csr_array(sparse.vstack(blocks, format="csr")),
        row_lower=lower,
        row_upper=upper,
        shape=(classes, features),
    )


def _movement_rows(margins: Margins) -> sparse.csr_array:
    """``H D^T`` is the movement: a row for each class and image."""
    images, classes = margins.required.shape
    weights = sparse.kron(sparse.eye_array(classes), sparse.csr_array(margins.outputs.inputs), format="csr")
    outputs = sparse.eye_array(classes * images)
    return sparse.hstack([weights, -weights, -outputs, outputs, _nothing(classes * images, 1)])


def _margin_rows(margins: Margins, size: int) -> sparse.csr_array:
    """The movement raises each margin by what it requires: a row for each image and other class."""
    count, classes = margins.required.shape
    images, others = np.nonzero(np.isfinite(margins.required))
    places = np.arange(len(images))
    values = np.concatenate([np.ones(len(images)), -np.ones(len(images))])
    columns = np.concatenate([margins.labels[images] * count + images, others * count + images])
    rows = sparse.csr_array((values, (np.tile(places, 2), columns)), shape=(len(images), classes * count))
    return sparse.hstack([_nothing(len(images), 2 * size), rows, -rows, _nothing(len(images), 1)])


def _largest_rows(size: int, moved: int, counted: int) -> sparse.csr_array:
    """No entry of the change, and of the movement where that counts, is beyond the largest."""
    parts = [(size, size), (counted, moved)]
    doubled = [-sparse.eye_array(rows, columns) for rows, columns in parts]
    blocks = sparse.block_diag([sparse.hstack([one, one]) for one in doubled], format="csr")
    return sparse.hstack([blocks, np.ones((size + counted, 1))])


def _nothing(rows: int, columns: int) -> sparse.csr_array:
    return sparse.csr_array((rows, columns))
