"""The Euclidean norm: a quadratic program in the multipliers alone, with a row for each violated constraint.

A change that minimises ``||D M^(1/2)||`` is ``D = W @ X @ M^-1``: one input ``X`` for each working constraint, an edit
image's for a margin and a unit vector for a bound on ``|D|``, with the multipliers in ``W``. Nothing is lost by that
form (it is the stationarity condition), so unlike the other norms' coordinates it is exact over all changes. With an
``M`` for each class, each row of ``D`` has that form by its own; below, G is 1, or C where each class has its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from sytorch.arrays import Indices, Mask, Matrix, Stack, Vector
from sytorch.ascent import ascend
from sytorch.certificate import Multipliers, bound_from, refutation
from sytorch.constraints import Margins
from sytorch.errors import SolverFailedError
from sytorch.generation import FEASIBILITY, UNKNOWN, CannotMeetError, refute
from sytorch.gram import gram_of
from sytorch.linear_program import LinearProgram, unbounded
from sytorch.metric import IdentityMetric, Metric
from sytorch.solution import Solution
from sytorch.tally import TalliedSolver

CAPS = (1e4, 1e8)  # of the multipliers' sum, which has no limit where there is no solution
ROUND_LIMIT = 100
PIVOT_LIMIT = 20
ASCENT_LIMIT = 600
NEAR = 1e-3
MISSED = 5e-7  # of a margin of 1, or of the bound
NEARLY = 1e-6
REFINEMENTS = 3
EXACT_LIMIT = 1000  # rows, for methods that do not lose digits
ROOT_LIMIT = 20_000_000  # numbers
LONG_ASCENTS = (1_000, 4_000, 16_000)
FIRST_ROWS = 3  # of each image; the others enter when violated


@dataclass(frozen=True)
class WorkingConstraints:
    """The constraints ``<weights[r] x inputs[places[r]], D> >= rhs[r]`` that are worked with.

    Attributes:
        weights: (R, C), how much each output counts.
        places: (R,), whose input.
        solved: (G, S, d), ``M^-1`` of the inputs.
        kernel: (G, S, S), inner products of the inputs in the inverse metric.
        rhs: (R,).
    """

    weights: Matrix
    places: Indices
    solved: Stack
    kernel: Stack
    rhs: Vector

    def gram(self, tick: Callable[[], object]) -> Matrix:
        """Inner products of the constraints' gradients in the inverse metric, (R, R); ``tick`` is called meanwhile."""
        weights, places, kernel = map(torch.from_numpy, (self.weights, self.places, self.kernel))
        return np.asarray(gram_of(weights, places, kernel, tick).numpy())

    def change(self, multipliers: Vector) -> Matrix:
        """The change ``D``, (C, d)."""
        summed = np.zeros((self.solved.shape[1], self.weights.shape[1]))
        np.add.at(summed, self.places, self.weights * multipliers[:, None])
        pairs = zip(np.array_split(summed, len(self.solved), axis=1), self.solved, strict=True)
        return np.concatenate([part.T @ solved for part, solved in pairs])


class _Working:
    """Masks of the working rows, and what the inputs are in the inverse metric, computed once each.

    The inputs are those of the images, then a unit vector for each feature of which a bound was broken.
    """

    def __init__(self, metric: Metric, margins: Margins, bound: float):
        self.metric, self.margins, self.bound = metric, margins, bound
        least = np.sort(margins.required, axis=1)[:, -min(FIRST_ROWS, margins.required.shape[1]), None]
        self.margin_rows: Mask = (margins.required > FEASIBILITY) & (margins.required >= least)
        self.bound_rows: Mask = np.zeros((2, margins.required.shape[1], margins.outputs.inputs.shape[1]), dtype=bool)
        inputs = margins.outputs.inputs
        self._features: list[int] = []
        self._solved = metric.solved(inputs)
        self._kernel = inputs @ self._solved.transpose(0, 2, 1)

    def constraints(self) -> WorkingConstraints:
        images, others = np.nonzero(self.margin_rows)
        sides, rows, features = np.nonzero(self.bound_rows)
        self._add_units(sorted(set(features.tolist()) - set(self._features)))
        units = [len(self.margins.labels) + self._features.index(feature) for feature in features.tolist()]
        one_hot = np.eye(self.margins.required.shape[1])
        outward = np.where(sides == 0, -1.0, 1.0)[:, None]
        return WorkingConstraints(
            weights=np.vstack([one_hot[self.margins.labels[images]] - one_hot[others], outward * one_hot[rows]]),
            places=np.concatenate([images, np.array(units, dtype=np.int64)]),
            solved=self._solved,
            kernel=self._kernel,
            rhs=np.concatenate([self.margins.required[self.margin_rows], np.full(len(sides), -self.bound)]),
        )

    def _add_units(self, features: list[int]) -> None:
        """Extend the kernel; with a unit vector its inner products are entries of what is solved already."""
        if not features:
            return
        solved = self.metric.solved(np.eye(self._solved.shape[2])[features])
        across = self._solved[:, :, features]
        self._kernel = np.block([[self._kernel, across], [across.transpose(0, 2, 1), solved[:, :, features]]])
        self._solved = np.concatenate([self._solved, solved], axis=1)
        self._features += features

    def gradients(self, constraints: WorkingConstraints) -> Matrix:
        """The constraints' gradients in whitened inputs, (R, C * d); their inner products are those of `gram`."""
        units = np.eye(self._solved.shape[2])[self._features]
        whitened = self.metric.whitened(np.vstack([self.margins.outputs.inputs, units]))
        classes = range(constraints.weights.shape[1])
        blocks = np.broadcast_to(whitened, (len(classes), *whitened.shape[1:]))
        return np.hstack([constraints.weights[:, [c]] * blocks[c][constraints.places] for c in classes])

    def raised(self, change: Matrix) -> Vector:
        """By how much a change raises the working constraints, (R,)."""
        lead = self.margins.lead(self.margins.outputs.inputs @ change.T)
        return np.concatenate([lead[self.margin_rows], np.stack([-change, change])[self.bound_rows]])

    def add_violated(self, change: Matrix) -> bool:
        before = self.margin_rows.sum() + self.bound_rows.sum()
        movement = self.margins.outputs.inputs @ change.T
        self.margin_rows |= self.margins.shortfall(movement) > FEASIBILITY
        limit = self.bound * (1 + 1e-9) + 1e-12
        self.bound_rows |= np.stack([change > limit, change < -limit])
        return bool(self.margin_rows.sum() + self.bound_rows.sum() > before)

    def values(self, multipliers: Multipliers) -> Vector:
        """The multipliers of the working rows, (R,)."""
        sides = np.stack([np.maximum(multipliers.bounds, 0.0), np.maximum(-multipliers.bounds, 0.0)])
        return np.concatenate([multipliers.margins[self.margin_rows], sides[self.bound_rows]])

    def multipliers(self, values: Vector) -> Multipliers:
        count = int(self.margin_rows.sum())
        margins, sides = np.zeros(self.margin_rows.shape), np.zeros(self.bound_rows.shape)
        margins[self.margin_rows], sides[self.bound_rows] = values[:count], values[count:]
        return Multipliers(margins, sides[0] - sides[1])


def minimise_quadratic(metric: Metric, margins: Margins, bound: float, solver: TalliedSolver) -> Solution:
    """Minimise ``||D M^(1/2)||`` under margins and ``|D| <= bound``, over all changes ``D``.

    Raises:
        CannotMeetError: no change satisfies the constraints.
        SolverFailedError: neither a change nor a proof is found.
    """
    working = _Working(metric, margins, bound)
    multipliers = Multipliers(np.zeros(working.margin_rows.shape), np.zeros(working.bound_rows.shape[1:]))
    for _ in range(ROUND_LIMIT):
        step = _Step(working, working.constraints(), solver)
        values = step.optimum(working.values(multipliers))
        change, multipliers = step.constraints.change(values), working.multipliers(values)
        if not working.add_violated(change):
            size = max(float(values @ working.raised(change)), 0.0) ** 0.5
            low = bound_from(float(step.constraints.rhs @ values), size)
            return Solution(change, size, low, multipliers, "decomposed", solver.effort())
    raise SolverFailedError(f"The program was not solved in {ROUND_LIMIT} rounds: {UNKNOWN}")


class _Step:
    """The optimal multipliers of the working constraints."""

    def __init__(self, working: _Working, constraints: WorkingConstraints, solver: TalliedSolver):
        self.working, self.constraints, self.solver = working, constraints, solver
        self.gram, self.rhs = constraints.gram(solver.check), constraints.rhs
        margins = int(working.margin_rows.sum())
        self.sizes = np.where(np.arange(len(self.rhs)) < margins, 1.0, working.bound)

    def optimum(self, known: Vector) -> Vector:
        """By the first of several ways whose change meets all working constraints.

        Raises:
            CannotMeetError: multipliers on the way refute the bound; without a solution they grow along a proof.
            SolverFailedError: they do neither.
        """
        for candidate in self._candidates(known):
            for found in (_polished(self.gram, self.rhs, candidate), candidate):
                values = self._refined(found)
                lacking = self._lacking(values)
                if (lacking / self.sizes).max() <= MISSED and abs(float(values @ lacking)) <= NEARLY * abs(
                    float(values @ self.rhs)
                ):
                    return values
                weights = self.working.multipliers(found).margins
                if proof := refutation(self.working.margins, self.working.bound, weights):
                    raise CannotMeetError(proof)
        if len(self.rhs) <= EXACT_LIMIT:
            any_change = IdentityMetric().coordinates(self.working.margins.outputs.inputs)
            refute(any_change, self.working.margins, self.working.bound, self.solver.exact)
        raise SolverFailedError(f"Neither a change nor a proof that there is none was found: {UNKNOWN}")

    def _candidates(self, known: Vector) -> Iterator[Vector]:
        """Approximate multipliers, by ever more effort."""
        gram, rhs, size = self.gram, self.rhs, len(self.rhs)
        for cap in () if self.solver.is_first_order else CAPS:
            yield from _by_solver(_dual_program(gram, rhs, self.working, cap), self.solver)
        self.solver.count(0, size, size)
        if known.any():
            yield known
        else:
            yield self._ascended(torch.float32, NEAR, ASCENT_LIMIT)
        if self._root is not None:
            yield from _least_distance(self._root, rhs)
        for limit in LONG_ASCENTS:
            yield self._ascended(torch.float64, NEAR * MISSED, limit)

    def _ascended(self, dtype: torch.dtype, enough: float, limit: int) -> Vector:
        gram, rhs = torch.from_numpy(self.gram).to(dtype), torch.from_numpy(self.rhs).to(dtype)
        found, iterations = ascend(gram, rhs, enough, limit, tick=self.solver.check)
        self.solver.count(iterations, len(rhs), len(rhs))
        return np.asarray(found.double().numpy())

    def _lacking(self, values: Vector) -> Vector:
        """By how much each working constraint is missed, from the change, which is more exact than products."""
        return np.asarray(self.rhs - self.working.raised(self.constraints.change(values)))

    @functools.cached_property
    def _root(self) -> Matrix | None:
        """A root of the inner products, which has the digits that these lose of images nearly alike; None if large."""
        width: int = self.working.margins.outputs.inputs.shape[1]
        classes = self.constraints.weights.shape[1]
        if len(self.rhs) > EXACT_LIMIT or len(self.rhs) * width * classes > ROOT_LIMIT:
            return None
        return np.asarray(np.linalg.qr(self.working.gradients(self.constraints).T, mode="r"))

    def _refined(self, values: Vector) -> Vector:
        """One step of iterative refinement, where inner products of images that are nearly alike have lost digits."""
        held, root = values > 0.0, self._root
        if root is None:
            return values
        for _ in range(REFINEMENTS):
            lacking = self._lacking(values)[held]
            if np.abs(lacking / self.sizes[held]).max(initial=0.0) <= MISSED / 10:
                break
            better = values.copy()
            better[held] += _solved_by_root(root[:, held], lacking)
            if (better < 0.0).any():
                break
            values = better
        return values


def _by_solver(program: LinearProgram, solver: TalliedSolver) -> Iterator[Vector]:
    """The solver's answer; none where it fails, for active-set codes of quadratic programs sometimes do."""
    with contextlib.suppress(SolverFailedError):
        yield np.maximum(solver.solve(program).x, 0.0)


def _least_distance(root: Matrix, rhs: Vector) -> Iterator[Vector]:
    """The active-set method for least distances, or its proof that none is (Lawson and Hanson 1974, chapter 23).

    It is exact for distances near 1, so it is done twice.
    """
    lengths = np.maximum(np.linalg.norm(root, axis=0), np.finfo(np.float64).tiny)
    columns, needed, distance = root / lengths, rhs / lengths, 1.0
    aim = np.append(np.zeros(len(root)), 1.0)
    with contextlib.suppress(RuntimeError):  # too many iterations
        for _ in range(2):
            found, _ = nnls(np.vstack([columns, needed / distance]), aim)
            left = max(1.0 - float(needed @ found) / distance, np.finfo(np.float64).eps)
            found = found * distance / left
            yield found / lengths
            distance = max(float(np.linalg.norm(columns @ found)), np.finfo(np.float64).tiny)


def _solved_by_root(root: Matrix, rhs: Vector) -> Vector:
    """``(root^T root)^-1 rhs``, the least of many solutions."""
    halfway = np.linalg.lstsq(root.T, rhs, rcond=None)[0]
    return np.asarray(np.linalg.lstsq(root, halfway, rcond=None)[0])


def _polished(gram: Matrix, rhs: Vector, values: Vector) -> Vector:
    """The exact optimum near a solver's answer, by pivoting on the rows it holds; else the answer itself.

    Barrier and active-set codes stop at tolerances that leave the gap above what is promised here.
    """
    held = values > 1e-7 * values.max(initial=0.0)
    for _ in range(PIVOT_LIMIT):
        exact = np.zeros_like(values)
        exact[held] = _solved(gram[np.ix_(held, held)], rhs[held])
        negative = exact < -1e-12 * np.abs(exact).max(initial=1.0)
        missed = rhs - gram @ exact > 1e-10 * np.abs(rhs).max(initial=1.0)
        if not (negative | missed).any():
            return np.asarray(np.maximum(exact, 0.0))
        held = (held & ~negative) | missed
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


def _dual_program(gram: Matrix, rhs: Vector, working: _Working, cap: float) -> LinearProgram:
    """Maximise ``rhs @ u - u @ gram @ u / 2`` over ``u >= 0``; the margins' multipliers together stay below a cap."""
    counted = np.zeros((1, len(rhs)))
    counted[0, : int(working.margin_rows.sum())] = -1.0
    return LinearProgram(
        cost=-rhs,
        lower=np.zeros(len(rhs)),
        upper=unbounded(len(rhs)),
        matrix=sparse.csr_array(counted),
        rhs=np.array([-cap]),
        quadratic=sparse.csc_array(gram),
    )
