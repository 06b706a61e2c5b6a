"""The four norms that a program can minimise, each with its dual norm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sytorch.problem.arrays import Matrix, Vector
from sytorch.problem.errors import InvalidInputError


class NormName(StrEnum):
    """What is minimised."""

    L1 = "l1"
    LINF = "linf"
    LINF_L1 = "linf+l1"
    L2 = "l2"


@dataclass(frozen=True)
class Norm:
    """A norm of matrices with ``size`` entries: ``largest * max|x| + each * sum|x|``, or the Euclidean norm.

    ``linf+l1`` is the largest entry plus the mean entry, the objective of APRNN (Tao et al., PLDI 2023, section 6).
    """

    name: NormName
    largest: float
    each: float

    @property
    def is_euclidean(self) -> bool:
        """Whether minimising it is a quadratic program."""
        return self.name is NormName.L2

    def value(self, x: Matrix) -> float:
        """The norm of ``x``."""
        if self.is_euclidean:
            return float(np.linalg.norm(x))
        magnitudes = np.abs(x)
        return float(self.largest * magnitudes.max(initial=0.0) + self.each * magnitudes.sum())

    def dual_value(self, g: Matrix) -> float:
        """The dual norm: the largest inner product of ``g`` with an ``x`` of norm 1."""
        if self.is_euclidean:
            return float(np.linalg.norm(g))
        magnitudes = np.abs(g).ravel()
        if self.largest == 0.0:
            return float(magnitudes.max(initial=0.0)) / self.each
        return _dual_of_mixture(np.sort(magnitudes)[::-1], self.largest, self.each)


def norm_name(name: NormName | str) -> NormName:
    """The norm of that name.

    Raises:
        InvalidInputError: there is none.
    """
    if name not in list(NormName):
        raise InvalidInputError(f"There is no norm {name!r}; choose from: {', '.join(NormName)}.")
    return NormName(name)


def norm(name: NormName | str, size: int) -> Norm:
    """The norm of that name for matrices with ``size`` entries."""
    name = norm_name(name)
    largest = {NormName.LINF: 1.0, NormName.LINF_L1: 1.0}.get(name, 0.0)
    each = {NormName.L1: 1.0, NormName.LINF_L1: 1.0 / size}.get(name, 0.0)
    return Norm(name, largest, each)


def _dual_of_mixture(descending: Vector, largest: float, each: float) -> float:
    """The dual of ``largest * max + each * sum``.

    A unit ball of the mixture has the vertices ``sign / (largest + k * each)`` on k entries, so the inner product with
    ``g`` is greatest for some k on the k largest entries of ``g``.
    """
    counts = np.arange(1, len(descending) + 1)
    return float((np.cumsum(descending) / (largest + each * counts)).max(initial=0.0))
