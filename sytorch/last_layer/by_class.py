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
Júdice and Vicente 1994), until there are none: that is the optimum itself. Where thousands bind this may go round in
circles. Then rows leave first, until no multiplier is negative: the objective is a lower bound there. It has to rise
each time, else fewer rows enter, those that are violated most; so no set of rows comes twice.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotri

from sytorch.certificate.bounds import refutation
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
STEPS = 200  # of each softness
PATIENCE = 3  # steps with as much to exchange as before, until lower bounds have to rise
FEWER = 0.25  # of the rows, where the lower bound did not rise
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
    change = np.clip(point.change, -problem.bound, problem.bound)  # rounding moves entries at their bound beyond it
    return problem.solution(change, point.multipliers, PATH, solver.effort())


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


@dataclass(frozen=True)
class _Wrong:
    """What is to leave: margins, (N, C), and entries at their bound, (C, d); and what is violated.

    Attributes:
        margins, bounds: whose multiplier is negative.
        missed: by how much margins are missed that are not taken to bind, else zero.
        beyond: by which share of the bound entries are beyond it, else zero.
        sides: the sign of each entry.
    """

    margins: Mask
    bounds: Mask
    missed: Matrix
    beyond: Matrix
    sides: NDArray[np.int8]

    @property
    def leaves(self) -> int:
        """How many rows leave."""
        return int(self.margins.sum() + self.bounds.sum())

    @property
    def count(self) -> int:
        """How many rows leave or enter."""
        return self.leaves + int((self.missed > 0).sum() + (self.beyond > 0).sum())


@dataclass(frozen=True)
class _Climb:
    """The highest lower bound so far: its value, what bound, what was violated, and which share of that enters."""

    value: float
    margins: Mask
    bounds: NDArray[np.int8]
    wrong: _Wrong
    share: float = 1.0


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
        climb: _Climb | None = None
        for _ in range(STEPS):
            solver.count(1, int(self.margins.sum() + (self.bounds != 0).sum()), self.required.size)
            point = self._point(soft)
            best.keep(point.change, point.multipliers)
            wrong = self._wrong(point, with_bounds)
            proof = refutation(self.problem.margins, self.problem.bound, point.multipliers.margins)
            if proof is not None:
                raise CannotMeetError(proof)
            if not wrong.count and with_bounds:
                return point
            if not wrong.count:
                with_bounds, fewest, stalled, climb = True, np.inf, 0, None
            elif stalled < PATIENCE:
                stalled = 0 if wrong.count < fewest else stalled + 1
                fewest = min(fewest, wrong.count)
                self._leave(wrong)
                self._enter(wrong, 1.0)
            elif wrong.leaves:
                self._leave(wrong)
            else:
                climb = self._climbed(point, wrong, climb)
                if climb.share * climb.wrong.count < FEWER:  # one row alone does not raise it: rounding decides
                    return None
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

    def _wrong(self, point: _Point, with_bounds: bool) -> _Wrong:
        """What pushes the wrong way, and what is violated; ``with_bounds`` whether entries are looked at, too."""
        multipliers, pulled = point.multipliers.margins, point.multipliers.bounds * self.bounds
        shortfall = self.problem.margins.shortfall(self.inputs @ point.change.T)
        beyond = np.where(self.bounds == 0, np.abs(point.change) / self.problem.bound - 1.0, 0.0) * with_bounds
        return _Wrong(
            _negative(multipliers) & self.margins,
            _negative(pulled) & (self.bounds != 0) & with_bounds,
            np.where((shortfall > MISSED) & ~self.margins, shortfall, 0.0),
            np.where(beyond > MISSED, beyond, 0.0),
            np.sign(point.change).astype(np.int8),
        )

    def _leave(self, wrong: _Wrong) -> None:
        self.margins[wrong.margins], self.bounds[wrong.bounds] = False, 0

    def _enter(self, wrong: _Wrong, share: float) -> None:
        """The share of what is violated that is so most, relative to the largest of its kind; one row at least."""
        missed, beyond = (kind / kind.max(initial=MISSED) for kind in (wrong.missed, wrong.beyond))
        most = np.sort(np.concatenate([missed[missed > 0], beyond[beyond > 0]]))[::-1]
        least = most[max(0, int(share * len(most)) - 1)] if len(most) else 1.0
        self.margins |= (missed >= least) & (missed > 0)
        entering = (beyond >= least) & (beyond > 0)
        self.bounds[entering] = wrong.sides[entering]

    def _climbed(self, point: _Point, wrong: _Wrong, climb: _Climb | None) -> _Climb:
        """Let rows enter at a point without negative multipliers, or fewer at the last one if this is no higher."""
        multipliers, spent = point.multipliers.margins, float(np.abs(point.multipliers.bounds).sum())
        value = float(self.required[self.margins] @ multipliers[self.margins])
        value -= self.problem.bound * spent if spent else 0.0
        if climb is None or value > climb.value:
            climb = _Climb(value, self.margins.copy(), self.bounds.copy(), wrong)
        else:
            self.margins, self.bounds = climb.margins.copy(), climb.bounds.copy()
            climb = replace(climb, share=climb.share * FEWER)
        self._enter(climb.wrong, climb.share)
        return climb

    def _add_features(self, features: Indices) -> None:
        """Keep the rows of ``M^-1`` of features of which an entry is at its bound."""
        fresh = features[self._features[features] < 0]
        if len(fresh):
            solved = self.problem.metric.solved(np.eye(self.inputs.shape[1])[fresh])[0]
            self._features[fresh] = len(self._inverse) + np.arange(len(fresh))
            self._inverse = np.vstack([self._inverse, solved])


def _negative(multipliers: Matrix) -> Mask:
    """Which are, by more than rounding makes them."""
    return np.asarray(multipliers < -NEGATIVE * np.abs(multipliers).max(initial=0.0))


def _inverse(gram: Matrix) -> Matrix:
    """Of a positive definite matrix, whose memory it may take."""
    factor, lower = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    inverse, failed = dpotri(factor, lower=lower, overwrite_c=True)
    if failed:
        raise np.linalg.LinAlgError("a matrix of inner products is singular")
    inverse = np.tril(inverse)
    return np.asarray(inverse + np.tril(inverse, -1).T)
