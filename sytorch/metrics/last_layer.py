"""The coordinates in which the size of a change is taken."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.blas import dtrmm

from sytorch.problem.arrays import Matrix, Stack, Vector
from sytorch.problem.checks import checked_moment
from sytorch.problem.errors import InvalidInputError


@dataclass(frozen=True)
class Coordinates:
    """A change is ``D = x @ basis``, and the outputs move by ``rows @ x.T``.

    Attributes:
        rows: (N, m), one row for each image.
        basis: (m, d), or None for the identity (then m = d).
    """

    rows: Matrix
    basis: Matrix | None

    def change(self, x: Matrix) -> Matrix:
        """The change ``D``, (C, d), at the coordinates ``x``, (C, m)."""
        return x if self.basis is None else x @ self.basis

    @functools.cached_property
    def inverse_basis(self) -> Matrix:
        """The pseudo-inverse of the basis, (d, m)."""
        assert self.basis is not None
        return np.asarray(np.linalg.pinv(self.basis))

    def pull_back(self, g: Matrix) -> Matrix:
        """The gradient in the coordinates, (C, m), of a linear function of ``D`` with gradient ``g``, (C, d)."""
        return g if self.basis is None else g @ self.basis.T


class SharedMetric(Protocol):
    """An inner product ``M`` on the layer's inputs, for all classes; a change has the size of ``D M^(1/2)``."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    def solve(self, columns: Matrix) -> Matrix:
        """``M^-1 @ columns`` for columns of shape (d, k)."""

    def check(self, classes: int, width: int) -> None:
        """Raise `InvalidInputError` unless it is of layers with so many outputs and inputs."""

    def size(self, change: Matrix) -> float:
        """``|D M^(1/2)|`` of a change, (C, d)."""

    def dual_size(self, gradient: Matrix) -> float:
        """``|G M^(-1/2)|`` of a gradient, (C, d): the largest ``<G, D>`` of a change of size 1."""

    def solved(self, inputs: Matrix) -> Stack:
        """``M^-1 h`` of inputs (S, d), (1, S, d); see `PerClassMetric.solved`."""

    def whitened(self, inputs: Matrix) -> Stack:
        """Inputs (S, d) with the inner products ``h M^-1 h``, (1, S, d); see `PerClassMetric.whitened`."""

    def coordinates(self, inputs: Matrix) -> Coordinates:
        """Coordinates for changes that serve the images with these inputs, (N, d)."""


@dataclass(frozen=True)
class IdentityMetric:
    """The weights themselves: ``M = I``."""

    name: str = "identity"

    def size(self, change: Matrix) -> float:
        """The Euclidean norm."""
        return float(np.linalg.norm(change))

    def whitened(self, inputs: Matrix) -> Stack:
        """The inputs as they are, (1, S, d)."""
        return inputs[None]

    def dual_size(self, gradient: Matrix) -> float:
        """The Euclidean norm, which is its own dual."""
        return float(np.linalg.norm(gradient))

    def solve(self, columns: Matrix) -> Matrix:
        """The columns as they are."""
        return columns

    def check(self, classes: int, width: int) -> None:
        """It fits every layer."""

    def solved(self, inputs: Matrix) -> Stack:
        """The inputs as they are, (1, S, d)."""
        return inputs[None]

    def coordinates(self, inputs: Matrix) -> Coordinates:
        """Every entry of ``D`` is a coordinate."""
        return Coordinates(rows=inputs, basis=None)


@dataclass(frozen=True)
class SecondMomentMetric:
    """``M = E[h h^T] + ridge * tr(E[h h^T]) / d * I``: how far a change moves the outputs of ordinary images.

    The covariance-weighted edit of ROME and MEMIT (Meng et al., 2022) minimises the same size. Make it with
    `second_moment_metric`, which factors ``M`` once.
    """

    factor: Matrix = field(repr=False)
    name: str = "training"

    def size(self, change: Matrix) -> float:
        """``|D M^(1/2)|`` of a change, (k, d)."""
        return float(np.linalg.norm(dtrmm(1.0, self.factor, change.T, lower=1, trans_a=1)))

    def whitened(self, inputs: Matrix) -> Stack:
        """``L^-1 h`` of inputs (S, d), (1, S, d), with ``M = L L^T``."""
        return np.asarray(solve_triangular(self.factor, inputs.T, lower=True, check_finite=False).T)[None]

    def dual_size(self, gradient: Matrix) -> float:
        """``|G M^(-1/2)|`` of a gradient, (k, d)."""
        return float(np.linalg.norm(self.whitened(gradient)))

    def solve(self, columns: Matrix) -> Matrix:
        """``M^-1 @ columns`` from the Cholesky factor."""
        return np.asarray(cho_solve((self.factor, True), columns, check_finite=False))

    def check(self, classes: int, width: int) -> None:
        """Raise `InvalidInputError` unless the layer has so many inputs, the bias's one counted."""
        del classes
        if len(self.factor) != width:
            raise InvalidInputError(f"The metric is of {len(self.factor)} inputs, the layer has {width}.")

    def solved(self, inputs: Matrix) -> Stack:
        """``M^-1 h`` of inputs (S, d), (1, S, d)."""
        return np.ascontiguousarray(self.solve(inputs.T).T)[None]

    def coordinates(self, inputs: Matrix) -> Coordinates:
        """One coordinate for each image and output: see `span_coordinates`."""
        return span_coordinates(self, inputs)


@dataclass(frozen=True)
class PerClassMetric:
    """A second moment for each class's logit: a change has the size ``(sum of d_c M_c d_c)^(1/2)``, of its rows.

    Where training images are in doubt between other classes, a logit may move more freely. For ``l2`` only: the other
    norms are taken in coordinates that all classes share.
    """

    classes: tuple[SecondMomentMetric, ...]
    name: str = "per-class"

    def size(self, change: Matrix) -> float:
        """``(sum of d_c M_c d_c)^(1/2)`` of a change, (C, d)."""
        return math.hypot(*(metric.size(row[None]) for metric, row in zip(self.classes, change, strict=True)))

    def whitened(self, inputs: Matrix) -> Stack:
        """``L_c^-1 h`` of inputs (S, d), (C, S, d)."""
        return np.concatenate([metric.whitened(inputs) for metric in self.classes])

    def dual_size(self, gradient: Matrix) -> float:
        """The dual norm of a gradient, (C, d)."""
        return math.hypot(*(metric.dual_size(row[None]) for metric, row in zip(self.classes, gradient, strict=True)))

    def check(self, classes: int, width: int) -> None:
        """Raise `InvalidInputError` unless there is a metric for each output, of so many inputs."""
        if len(self.classes) != classes:
            raise InvalidInputError(f"There are metrics of {len(self.classes)} classes, and {classes} outputs.")
        for metric in self.classes:
            metric.check(classes, width)

    def solved(self, inputs: Matrix) -> Stack:
        """``M_c^-1 h`` of inputs (S, d), (C, S, d)."""
        return np.concatenate([metric.solved(inputs) for metric in self.classes])


Metric = SharedMetric | PerClassMetric


def second_moment_metric(
    moment: Matrix | NDArray[np.float32], ridge: float | Vector = 1e-3, overwrite: bool = False
) -> SecondMomentMetric:
    """The metric of a second moment ``E[h h^T]``, (d, d), made definite by a ridge relative to its mean diagonal.

    The ridge is one for all inputs, or one of each, (d,). Only the lower triangle of the moment is read. With
    ``overwrite`` the factor takes its place where it is float64 and in Fortran's order.

    Raises:
        InvalidInputError: the ridge is not positive, or the moment is no finite second moment.
    """
    definite = checked_moment(moment, copied=not overwrite)
    if np.shape(ridge) not in ((), (len(definite),)) or not (np.greater(ridge, 0) & np.less(ridge, np.inf)).all():
        raise InvalidInputError(f"The ridge must be positive, one for all inputs or for each, not {ridge}.")
    definite[np.diag_indices_from(definite)] += ridge * np.trace(definite) / len(definite)
    try:
        factor = cholesky(definite, lower=True, overwrite_a=True)  # with zeros above, for who reads all of it
    except np.linalg.LinAlgError as error:
        raise InvalidInputError(
            "The matrix is no second moment: with its ridge it is not positive definite."
        ) from error
    return SecondMomentMetric(factor)


def span_coordinates(metric: SharedMetric, inputs: Matrix) -> Coordinates:
    """Orthonormal coordinates of the changes that are combinations of the rows of ``H``, (N, d), in a metric.

    With ``K = H M^-1 H^T = B B`` and ``D = x B^-1 H M^-1`` the outputs of the images move by exactly ``B x^T``, and
    the rows of ``B^-1 H M^(-1/2)`` are orthonormal: a change has in the metric the Euclidean size of ``x``. ``B`` is
    the symmetric root, which among all roots keeps the coordinates closest to the images themselves.
    """
    pulled = metric.solve(inputs.T)
    root, inverse_root = _symmetric_roots(inputs @ pulled)
    return Coordinates(rows=root, basis=inverse_root @ pulled.T)


def _symmetric_roots(kernel: Matrix) -> tuple[Matrix, Matrix]:
    """``K^(1/2)`` and its pseudo-inverse; images that repeat each other make ``K`` singular, which is harmless."""
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    kept = values > values.max() * len(values) * np.finfo(np.float64).eps
    root = np.sqrt(np.where(kept, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=kept)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
