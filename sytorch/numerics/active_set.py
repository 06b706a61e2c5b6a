"""Exact multipliers of a quadratic program in the multipliers alone, from its inner products or a root of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import scipy  # `optimize` is imported on its first use: 0.3 s
from scipy.linalg import cho_factor, cho_solve

from sytorch.problem.arrays import Matrix, Vector

PIVOT_LIMIT = 20


def polished(gram: Matrix, rhs: Vector, values: Vector) -> Vector:
    """The exact optimum near a solver's answer, by pivoting on its active rows; else the answer itself.

    Barrier and active-set codes stop at tolerances that leave the gap above what is promised here.
    """
    active = values > 1e-7 * values.max(initial=0.0)
    for _ in range(PIVOT_LIMIT):
        exact = np.zeros_like(values)
        exact[active] = _solved(gram[np.ix_(active, active)], rhs[active])
        negative = exact < -1e-12 * np.abs(exact).max(initial=1.0)
        missed = rhs - gram @ exact > 1e-10 * np.abs(rhs).max(initial=1.0)
        if not (negative | missed).any():
            return np.asarray(np.maximum(exact, 0.0))
        active = (active & ~negative) | missed
    return values


def _solved(gram: Matrix, rhs: Vector) -> Vector:
    """``gram^-1 rhs``; the least of many solutions where images repeat each other."""
    try:
        solution = cho_solve(cho_factor(gram, lower=True), rhs)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(gram, rhs, rcond=None)[0])
    if np.abs(gram @ solution - rhs).max(initial=0.0) > 1e-11 * np.abs(rhs).max(initial=1.0):
        return np.asarray(np.linalg.lstsq(gram, rhs, rcond=None)[0])
    return np.asarray(solution)


def least_distance(root: Matrix, rhs: Vector) -> Iterator[Vector]:
    """The active-set method for least distances, or its proof that none is (Lawson and Hanson 1974, chapter 23).

    It is exact for distances near 1, so it is done twice.
    """
    lengths = np.linalg.norm(root, axis=0)
    lengths[lengths == 0.0] = 1.0  # of what no change moves
    columns, needed, distance = root / lengths, rhs / lengths, 1.0
    aim = np.append(np.zeros(len(root)), 1.0)
    with contextlib.suppress(RuntimeError):  # too many iterations
        for _ in range(2):
            with np.errstate(over="ignore"):
                asked = needed / distance
            if not np.isfinite(asked).all():
                return
            found, _ = scipy.optimize.nnls(np.vstack([columns, asked]), aim)
            left = max(1.0 - float(needed @ found) / distance, np.finfo(np.float64).eps)
            found = found * distance / left
            yield found / lengths
            distance = max(float(np.linalg.norm(columns @ found)), np.finfo(np.float64).tiny)


def solved_by_root(root: Matrix, rhs: Vector) -> Vector:
    """``(root^T root)^-1 rhs``, the least of many solutions."""
    halfway = np.linalg.lstsq(root.T, rhs, rcond=None)[0]
    return np.asarray(np.linalg.lstsq(root, halfway, rcond=None)[0])
