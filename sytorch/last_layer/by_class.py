"""``l2`` with many classes or thousands of images: exact pivoting on margins and bounds, class by class.

With a thousand classes ten thousands of margins bind, and as many entries are at their bound; of ten thousand images as
many margins are missed at first: too many for a matrix of inner products. But classes meet only in how high each
image's own output rises. Let ``t`` be these rises, (N,). Then

* the row ``d`` of class c is the least one with ``<h_i, d> = t_i`` for images of class c, ``<h_i, -d> = r_ic - t_i``
  for images whose margin to c binds, and entries at their bound: a small system of inner products in the metric;
* at the optimum every image's multiplier in its own class is the sum of those in all others, which is a linear system
  in ``t``, (N, N).

Classes in which the same images' margins bind, and none of their own, share the matrix of that system: where images are
alike, a thousand classes make a few dozen.

Rows whose multiplier is negative leave, those that are violated enter, all at once (block principal pivoting, Portugal,
Júdice and Vicente 1994), until there are none: that is the optimum itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotri

from sytorch.certificate.bounds import bound_from, refutation
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.shortfall import CannotMeetError, most_missed
from sytorch.last_layer.verification import BestSoFar, verified
from sytorch.metrics.last_layer import PerClassMetric
from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.errors import SolverFailedError
from sytorch.problem.margins import Margins
from sytorch.problem.solution import Multipliers, Solution
from sytorch.solvers.counted import CountedSolver

MANY_CLASSES = 50  # from which on; with few the matrix of inner products is small
MANY_POINTS = 3_000  # that lack their margin, beyond which it is not
FIRST_SHARE = 10  # of how many margins of an image one is there at first, those that it misses most; others enter
STEPS = 100  # of each softness
PATIENCE = 3  # steps with as much to exchange as before; from then on only a share of it is exchanged
SHARE = 0.5
SOFT = (1e-2, 1e-4, 0.0)
MISSED = 1e-9
GAP = 1e-7  # relative; images that repeat each other cost digits
NEGATIVE = 1e-12  # of the largest multiplier
NUDGE = 1e-10  # of a diagonal, for images that repeat each other
OTHERS = -1  # of no class: all images that bind are of others
PATH = "decomposed"


def fits(problem: Problem) -> bool:
    """Whether a problem is one of margins, of many classes or points, in a metric that all classes share."""
    margins = problem.margins
    if not isinstance(margins, Margins) or isinstance(problem.metric, PerClassMetric):
        return False
    return margins.classes >= MANY_CLASSES or int(problem.missing.any(axis=1).sum()) > MANY_POINTS


def minimise_by_class(problem: Problem, solver: CountedSolver) -> Solution | None:
    """Minimise ``||D M^(1/2)||`` of a problem that `fits`; None where pivoting does not end, or not exactly enough.

    Raises:
        CannotMeetError: multipliers on the way refute the bound.
        SolverTimeLimitError: the time is up.
    """
    method = _Pivoting(problem)
    with BestSoFar(problem, solver, PATH) as best, contextlib.suppress(np.linalg.LinAlgError):
        for soft in SOFT:
            point = method.settled(soft, solver, best)
        with contextlib.suppress(SolverFailedError):
            found = None if point is None else verified(problem, _solution(problem, point, solver))
            return found if found is not None and found.gap <= GAP else None
    return None


def _solution(problem: Problem, point: _Point, solver: CountedSolver) -> Solution:
    multipliers, size = point.multipliers, problem.metric.size(point.change)
    spent = float(np.abs(multipliers.bounds).sum())
    value = problem.margins.total(multipliers.margins) - (problem.bound * spent if spent else 0.0)
    return Solution(point.change, size, bound_from(value, size), multipliers, PATH, solver.effort())


@dataclass(frozen=True)
class _Point:
    """What the rows that are taken to bind give: a change, (C, d), and multipliers of any sign."""

    change: Matrix
    multipliers: Multipliers


@dataclass(frozen=True)
class _Alike:
    """Classes in which the same rows bind, (L,), and their multipliers as an affine function of the images' rises.

    Attributes:
        numbers: (L,), the classes.
        images, signs: whose margins bind, (I,), and the rows' signs.
        entries: (F,), of which features the entries are at their bound.
        by_rise: (I + F, I), of the images' rows and of the bounds: a column for the rise of each image.
        without: (I + F, L), what there is without any rise.
    """

    numbers: Indices
    images: Indices
    signs: Vector
    entries: Indices
    by_rise: Matrix
    without: Matrix


class _Pivoting:
    """Which margins, (N, C), and which entries, (C, d), are taken to bind; of these the side, 1 or -1, else 0."""

    def __init__(self, problem: Problem):
        margins = problem.margins
        assert isinstance(margins, Margins) and not isinstance(problem.metric, PerClassMetric)
        self.problem, self.required, self.labels = problem, margins.required, margins.labels
        self.inputs, self.images = margins.outputs.inputs, np.arange(len(margins.labels))
        self.solved = problem.metric.solved(self.inputs)[0]
        self.kernel = self.inputs @ self.solved.T
        least = np.sort(self.required, axis=1)[:, -max(1, margins.classes // FIRST_SHARE), None]
        self.margins: Mask = most_missed((self.required > MISSED) & (self.required >= least), self.required)
        self.bounds = np.zeros((margins.classes, self.inputs.shape[1]), dtype=np.int8)
        self._random = np.random.default_rng(0)
        self._inverse, self._features = np.zeros((0, self.inputs.shape[1])), np.full(self.inputs.shape[1], -1)

    def settled(self, soft: float, solver: CountedSolver, best: BestSoFar) -> _Point | None:
        """Exchange rows until none is to be; None where that does not end.

        Args:
            soft: relative to the images' own inner products, for how much of its multiplier each margin may be missed:
                where that is not zero there is an optimum, and its multipliers grow along a proof where there is none
                without.
            solver: counts.
            best: keeps the points.
        """
        with_bounds, fewest, stalled = bool(self.bounds.any()), np.inf, 0
        for _ in range(STEPS):
            solver.count(1, int(self.margins.sum() + (self.bounds != 0).sum()), self.required.size)
            point = self._point(soft)
            best.keep(point.change, point.multipliers)
            changed = self._exchange(point, with_bounds, partly=stalled >= PATIENCE)
            proof = refutation(self.problem.margins, self.problem.bound, point.multipliers.margins)
            if proof is not None:
                raise CannotMeetError(proof)
            if not changed and with_bounds:
                return point
            if not changed:
                with_bounds, fewest, stalled = True, np.inf, 0
            elif stalled < PATIENCE:
                stalled = 0 if changed < fewest else stalled + 1
                fewest = min(fewest, changed)
        return None

    def _point(self, soft: float) -> _Point:
        rows = self.margins.copy()
        binding = np.flatnonzero(rows.any(axis=1))
        rows[binding, self.labels[binding]] = True
        self._add_features(np.flatnonzero(self.bounds.any(axis=0)))
        found = [self._of_classes(numbers, rows, soft) for numbers in self._alike(rows)]
        rises = self._rises(found, binding)
        weights, multipliers = np.zeros(rows.shape), np.zeros(rows.shape)
        pulled = np.zeros(self.bounds.shape)
        for part in found:
            values = (part.by_rise @ rises[part.images])[:, None] + part.without
            own, bounds = values[: len(part.images)], np.ix_(part.numbers, part.entries)
            multipliers[np.ix_(part.images, part.numbers)] = own
            weights[np.ix_(part.images, part.numbers)] = part.signs[:, None] * own
            pulled[bounds] = self.bounds[bounds] * values[len(part.images) :].T
        change, bounded = weights.T @ self.solved, np.flatnonzero(self.bounds.any(axis=1))
        features = np.flatnonzero(self._features >= 0)
        if len(bounded):
            change[bounded] -= pulled[np.ix_(bounded, features)] @ self._inverse[self._features[features]]
        multipliers[self.images, self.labels] = 0.0
        return _Point(change, Multipliers(multipliers, pulled))

    def _alike(self, rows: Mask) -> list[Indices]:
        """Classes by what binds in them, (N, C): apart are those with other rows or bounds, or with own images."""
        groups = defaultdict[tuple[bytes, bytes, int], list[int]](list)
        has_own = rows[self.images, self.labels]
        own = set(self.labels[has_own].tolist())
        for number in np.flatnonzero(rows.any(axis=0) | self.bounds.any(axis=1)).tolist():
            here = rows[:, number].tobytes(), self.bounds[number].tobytes()
            groups[*here, number if number in own else OTHERS].append(number)
        return [np.array(numbers) for numbers in groups.values()]

    def _of_classes(self, numbers: Indices, rows: Mask, soft: float) -> _Alike:
        """What the rows that bind in alike classes give, all of which have those of the first."""
        first = int(numbers[0])
        images, entries = np.flatnonzero(rows[:, first]), np.flatnonzero(self.bounds[first])
        own, count = self.labels[images] == first, len(images)
        signs = np.where(own, 1.0, -1.0)
        sides = -self.bounds[first, entries].astype(np.float64)
        gram = np.empty((count + len(entries),) * 2)
        kernel = self.kernel[np.ix_(images, images)]
        gram[:count, :count] = kernel * np.outer(signs, signs)
        gram[:count, :count] += np.diag(soft * kernel.diagonal() * ~own)
        if len(entries):
            gram[:count, count:] = self.solved[np.ix_(images, entries)] * np.outer(signs, sides)
            gram[count:, :count] = gram[:count, count:].T
            gram[count:, count:] = self._inverse[np.ix_(self._features[entries], entries)] * np.outer(sides, sides)
        gram[np.diag_indices_from(gram)] *= 1.0 + NUDGE
        least = np.full((len(gram), len(numbers)), -self.problem.bound)
        least[:count] = np.where(own[:, None], 0.0, self.required[np.ix_(images, numbers)])
        inverse = _inverse(gram)
        return _Alike(numbers, images, signs, entries, inverse[:, :count] * signs, inverse @ least)

    def _rises(self, found: list[_Alike], binding: Indices) -> Vector:
        """How high the own output of each image rises, (N,), zero where no margin of the image binds."""
        matrix, rhs = np.zeros(self.kernel.shape), np.zeros(len(self.kernel))
        for part in found:
            count, signs = len(part.images), part.signs[:, None]
            matrix[np.ix_(part.images, part.images)] += len(part.numbers) * signs * part.by_rise[:count]
            rhs[part.images] -= (signs * part.without[:count]).sum(axis=1)
        rises = np.zeros(len(rhs))
        factor = cho_factor(matrix[np.ix_(binding, binding)], lower=True, overwrite_a=True, check_finite=False)
        rises[binding] = cho_solve(factor, rhs[binding], check_finite=False)
        return rises

    def _exchange(self, point: _Point, with_bounds: bool, partly: bool) -> int:
        """Leave out what pushes the wrong way, add what is violated; returns how much there was.

        Args:
            point: of the rows that are taken to bind.
            with_bounds: whether entries are looked at, too.
            partly: exchange a random half of it: all at once may go round in circles.
        """
        multipliers, pulled = point.multipliers.margins, point.multipliers.bounds * self.bounds
        shortfall = self.problem.margins.shortfall(self.inputs @ point.change.T)
        added = (shortfall > MISSED) & ~self.margins
        left = self.margins & (multipliers < -NEGATIVE * np.abs(multipliers).max(initial=0.0))
        changes = left | added
        count = int(changes.sum())
        self.margins ^= self._some(changes, partly)
        if with_bounds:
            beyond = (np.abs(point.change) > self.problem.bound * (1 + MISSED)) & (self.bounds == 0)
            inside = (self.bounds != 0) & (pulled < -NEGATIVE * np.abs(pulled).max(initial=0.0))
            count += int(beyond.sum() + inside.sum())
            inside, beyond = self._some(inside, partly), self._some(beyond, partly)
            self.bounds[inside], self.bounds[beyond] = 0, np.sign(point.change[beyond])
        return count

    def _some(self, changes: Mask, partly: bool) -> Mask:
        return changes & (self._random.random(changes.shape) < SHARE) if partly else changes

    def _add_features(self, features: Indices) -> None:
        """Keep the rows of ``M^-1`` of features of which an entry is at its bound."""
        fresh = features[self._features[features] < 0]
        if len(fresh):
            solved = self.problem.metric.solved(np.eye(self.inputs.shape[1])[fresh])[0]
            self._features[fresh] = len(self._inverse) + np.arange(len(fresh))
            self._inverse = np.vstack([self._inverse, solved])


def _inverse(gram: Matrix) -> Matrix:
    """Of a positive definite matrix, whose memory it may take."""
    factor, lower = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    inverse, failed = dpotri(factor, lower=lower, overwrite_c=True)
    if failed:
        raise np.linalg.LinAlgError("a matrix of inner products is singular")
    inverse = np.tril(inverse)
    return np.asarray(inverse + np.tril(inverse, -1).T)
