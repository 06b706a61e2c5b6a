"""Detectors: affine functions of a layer's inputs that are large on a group of points and small on ordinary ones.

Sources: one point of a high-dimensional space is nearly always linearly separable from very many others (Gorban and
Tyukin, 2017); planted units edit language models in Sutton et al. (NeurIPS 2024). The filter is the matched one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from sytorch.metrics.last_layer import SecondMomentMetric
from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.errors import InvalidInputError
from sytorch.problem.outputs import append_one

OF_ANOTHER_GROUP = -1
COLLINEAR = 1e-3  # of the mean diagonal: points of a group that are nearly one get no large filter to tell them apart

Batches = Callable[[], Iterable[NDArray[np.floating]]]


@dataclass(frozen=True, eq=False)
class Detectors:
    """One filter for each of G groups of points, and how ordinary points respond to it.

    Attributes:
        filters: (G, k + 1), the bias as the last column; the response of the group's points is one or near it.
        own: (G,), the least response of the group's points.
        largest: (G,), the largest response of any other: an ordinary point, or one of a group with another label.
        nearest: (G,), the position of that ordinary point; `OF_ANOTHER_GROUP` where it is one of those.
    """

    filters: Matrix
    own: Vector
    largest: Vector
    nearest: Indices

    @property
    def separable(self) -> Mask:
        """(G,), where every point of the group responds more than any other point."""
        return self.own > self.largest


def detectors(metric: SecondMomentMetric, groups: Sequence[Matrix], labels: Indices, ordinary: Batches) -> Detectors:
    """The filters with the least mean square response of ordinary points for a response of one of their groups.

    Args:
        metric: the second moment of the layer's inputs over ordinary points, (k + 1).
        groups: what the layer gets from the points of each, (P, k).
        labels: (G,); a group with another label counts as ordinary, one with the same does not.
        ordinary: gives what the layer gets from ordinary points, (R, k) at a time.

    Raises:
        InvalidInputError: a group is empty or of another width, there are no ordinary points, or some hold NaN.
    """
    _check_groups(groups, labels, width=len(metric.factor) - 1)
    sizes = [len(points) for points in groups]
    rows = append_one(np.concatenate(groups))
    whitened = np.split(metric.whitened(rows)[0], np.cumsum(sizes)[:-1])
    matched = np.stack([_matched(points) for points in whitened])
    filters = np.asarray(solve_triangular(metric.factor, matched.T, lower=True, trans=1).T)
    responses, owners = rows @ filters.T, np.repeat(np.arange(len(groups)), sizes)
    mine = owners[:, None] == np.arange(len(groups))
    own = np.where(mine, responses, np.inf).min(axis=0)
    others = np.where(labels[owners][:, None] != labels, responses, -np.inf).max(axis=0)
    found, nearest = _largest_responses(filters, ordinary)
    nearest[others >= found] = OF_ANOTHER_GROUP
    return Detectors(filters, own, np.maximum(others, found), nearest)


def _check_groups(groups: Sequence[Matrix], labels: Indices, width: int) -> None:
    if not groups or len(labels) != len(groups):
        raise InvalidInputError(f"There must be one label for each group, and one group at least, not {len(groups)}.")
    for points in groups:
        if points.ndim != 2 or not len(points) or points.shape[1] != width:
            raise InvalidInputError(f"The points of a group must be (P, {width}) with P > 0, not {points.shape}.")
        if not np.isfinite(points).all():
            raise InvalidInputError("The points of a group hold NaN or infinity.")


def _matched(whitened: Matrix) -> Vector:
    """The filter of whitened points, (P, k + 1), in whitened coordinates."""
    gram = whitened @ whitened.T
    gram[np.diag_indices_from(gram)] += COLLINEAR * gram.trace() / len(gram) * (len(gram) > 1)
    return np.asarray(np.linalg.solve(gram, np.ones(len(gram))) @ whitened)


def _largest_responses(filters: Matrix, ordinary: Batches) -> tuple[Vector, Indices]:
    """The largest response of any ordinary point to each filter, (G,), and its position."""
    weights, biases = filters[:, :-1].T.astype(np.float32), filters[:, -1]
    largest, nearest, seen = np.full(len(filters), -np.inf), np.zeros(len(filters), dtype=np.int64), 0
    for points in ordinary():
        responses = points.astype(np.float32, copy=False) @ weights + biases
        if not np.isfinite(responses).all():
            raise InvalidInputError("Ordinary points hold NaN or infinity.")
        places = responses.argmax(axis=0)
        here = responses[places, np.arange(len(filters))]
        nearest, largest = np.where(here > largest, seen + places, nearest), np.maximum(here, largest)
        seen += len(points)
    if not seen:
        raise InvalidInputError("There are no ordinary points.")
    return largest, nearest
