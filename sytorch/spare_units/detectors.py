"""Detectors: affine functions of a layer's inputs that are large on a group of points and small on ordinary ones.

Sources: one point of a high-dimensional space is nearly always linearly separable from very many others (Gorban and
Tyukin, 2017); planted units edit language models in Sutton et al. (NeurIPS 2024). The filter is the matched one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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
POINTS = 2_000  # so many are whitened at a time, for memory

Batches = Callable[[], Iterable[NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Group:
    """Points of one label, of which a detector is made.

    Attributes:
        points: (P, k), what the layer gets from them.
        label: theirs; points of a group with another one count as ordinary.
        needed: so many, the first, must be detected; the others are left out where ordinary points respond too much.
    """

    points: NDArray[np.floating]
    label: int
    needed: int

    @property
    def alone(self) -> Group:
        """Only what is needed."""
        return Group(self.points[: self.needed], self.label, self.needed)


@dataclass(frozen=True, eq=False)
class Detectors:
    """One filter for each of G groups of points, and how ordinary points respond to it.

    Attributes:
        filters: (G, k + 1), the bias as the last column; the response of the group's points is one or near it.
        own: (G,), the least response of the group's points.
        largest: (G,), the largest response of any other: an ordinary point, or one of a group with another label.
        nearest: (G,), the position of that ordinary point; `OF_ANOTHER_GROUP` where it is one of those.
        alone: (G,), whether it is of the needed points alone, because ordinary ones respond too much to the others'.
    """

    filters: Matrix
    own: Vector
    largest: Vector
    nearest: Indices
    alone: Mask

    @property
    def separable(self) -> Mask:
        """(G,), where every point of the group responds more than any other point."""
        return self.own > self.largest


def detectors(
    metric: SecondMomentMetric, groups: Sequence[Group], ordinary: Batches, tolerated: float = math.inf
) -> Detectors:
    """The filters with the least mean square response of ordinary points for a response of one of their groups.

    Args:
        metric: the second moment of the layer's inputs over ordinary points, (k + 1).
        groups: what to detect.
        ordinary: gives what the layer gets from ordinary points, (R, k) at a time.
        tolerated: where another point responds with more than so much of the group's own least response, the filter is
            made anew of the points that are needed.

    Raises:
        InvalidInputError: a group is empty or of another width, there are no ordinary points, or some hold NaN.
    """
    _check_groups(groups, width=len(metric.factor) - 1)
    found = _detectors(metric, groups, groups, ordinary)
    more = np.array([len(group.points) > group.needed for group in groups])
    loud = np.flatnonzero(more & (found.largest > tolerated * found.own))
    if loud.size:
        again = _detectors(metric, [groups[int(place)].alone for place in loud], groups, ordinary)
        for kept, anew in zip(
            (found.filters, found.own, found.largest, found.nearest),
            (again.filters, again.own, again.largest, again.nearest),
            strict=True,
        ):
            kept[loud] = anew
        found.alone[loud] = True
    return found


def _check_groups(groups: Sequence[Group], width: int) -> None:
    if not groups:
        raise InvalidInputError("There must be one group of points at least.")
    for group in groups:
        points = group.points
        if points.ndim != 2 or not len(points) or points.shape[1] != width or not 0 < group.needed <= len(points):
            raise InvalidInputError(
                f"The points of a group must be (P, {width}) with P > 0, some of which are needed, not {points.shape} "
                f"of which {group.needed} are."
            )
        if not np.isfinite(points).all():
            raise InvalidInputError("The points of a group hold NaN or infinity.")


def _detectors(
    metric: SecondMomentMetric, chosen: Sequence[Group], groups: Sequence[Group], ordinary: Batches
) -> Detectors:
    """Those of chosen groups; all groups' points are looked at."""
    filters, labels = _filters(metric, chosen), np.array([group.label for group in chosen])
    own = np.array([(append_one(group.points) @ filter_).min() for group, filter_ in zip(chosen, filters, strict=True)])
    found, nearest = _largest_responses(filters, ordinary)
    others = np.full(len(chosen), -np.inf)
    for part in _parts(groups):
        unlike = np.repeat([group.label for group in part], [len(group.points) for group in part])[:, None] != labels
        responses = append_one(np.concatenate([group.points for group in part])) @ filters.T
        others = np.maximum(others, np.where(unlike, responses, -np.inf).max(axis=0))
    nearest[others >= found] = OF_ANOTHER_GROUP
    return Detectors(filters, own, np.maximum(others, found), nearest, np.zeros(len(chosen), dtype=bool))


def _parts(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Some groups at a time, with up to `POINTS` points, or one group."""
    part, size = list[Group](), 0
    for group in groups:
        if part and size + len(group.points) > POINTS:
            yield part
            part, size = [], 0
        part.append(group)
        size += len(group.points)
    yield part


def _filters(metric: SecondMomentMetric, groups: Sequence[Group]) -> Matrix:
    matched = []
    for part in _parts(groups):
        whitened = metric.whitened(append_one(np.concatenate([group.points for group in part])))[0]
        ends = np.cumsum([len(group.points) for group in part])[:-1]
        matched += [_matched(points) for points in np.split(whitened, ends)]
    return np.asarray(solve_triangular(metric.factor, np.stack(matched).T, lower=True, trans=1, check_finite=False).T)


def _matched(whitened: Matrix) -> Vector:
    """The filter of whitened points, (P, k + 1), in whitened coordinates."""
    gram = whitened @ whitened.T
    gram[np.diag_indices_from(gram)] += COLLINEAR * gram.trace() / len(gram) * (len(gram) > 1)
    return np.asarray(np.linalg.solve(gram, np.ones(len(gram))) @ whitened)


def _largest_responses(filters: Matrix, ordinary: Batches) -> tuple[Vector, Indices]:
    """The largest response of any ordinary point to each filter, (G,), and its position."""
    weights, biases = filters[:, :-1].T.astype(np.float32), filters[:, -1].astype(np.float32)
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
