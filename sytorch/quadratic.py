"""The Euclidean norm: a quadratic program in the multipliers alone, with a row for each violated constraint.

A change that minimises ``||D M^(1/2)||`` is ``D = W @ X @ M^-1``: one input ``X`` for each working constraint, an edit
image's for a margin and a unit vector for a bound on ``|D|``, with the multipliers in ``W``. Nothing is lost by that
form (it is the stationarity condition), so unlike the other norms' coordinates it is exact over all changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from sytorch.arrays import Mask, Matrix, Vector
from sytorch.certificate import Multipliers, bound_from
from sytorch.constraints import Margins
from sytorch.errors import SolverFailedError
from sytorch.generation import FEASIBILITY, CannotMeetError
from sytorch.linear_program import LinearProgram, unbounded
from sytorch.metric import Metric
from sytorch.solution import Solution
from sytorch.tally import TalliedSolver

CAPS = (1e4, 1e8)
ROUND_LIMIT = 100
PIVOT_LIMIT = 20


@dataclass(frozen=True)
class WorkingConstraints:
    """The constraints ``<weights[r] x inputs[r], D> >= rhs[r]`` that are worked with.

    Attributes:
        weights: (R, C), how much each output counts.
        inputs: (R, d).
        solved: (R, d), ``M^-1`` of the inputs.
        rhs: (R,).
    """

    weights: Matrix
    inputs: Matrix
    solved: Matrix
    rhs: Vector

    def gram(self) -> Matrix:
        """Inner products of the constraints' gradients in the inverse metric, (R, R)."""
        return np.asarray((self.inputs @ self.solved.T) * (self.weights @ self.weights.T))

    def change(self, multipliers: Vector) -> Matrix:
        """The change ``D``, (C, d)."""
        return np.asarray((self.weights * multipliers[:, None]).T @ self.solved)


class _Working:
    """Masks of the working rows, and the inputs' products with the inverse metric, computed once each."""

    def __init__(self, metric: Metric, margins: Margins, bound: float):
        self.metric, self.margins, self.bound = metric, margins, bound
        self.margin_rows: Mask = margins.required > FEASIBILITY
        self.bound_rows: Mask = np.zeros((2, margins.required.shape[1], margins.outputs.inputs.shape[1]), dtype=bool)
        self._solved_inputs = metric.solve(margins.outputs.inputs.T).T
        self._solved_units: dict[int, Vector] = {}

    def constraints(self) -> WorkingConstraints:
        images, others = np.nonzero(self.margin_rows)
        sides, rows, features = np.nonzero(self.bound_rows)
        one_hot = np.eye(self.margins.required.shape[1])
        outward = np.where(sides == 0, -1.0, 1.0)[:, None]
        units = np.eye(self.bound_rows.shape[2])[features]
        return WorkingConstraints(
            weights=np.vstack([one_hot[self.margins.labels[images]] - one_hot[others], outward * one_hot[rows]]),
            inputs=np.vstack([self.margins.outputs.inputs[images], units]),
            solved=np.vstack([self._solved_inputs[images], self._solve_units(features)]),
            rhs=np.concatenate([self.margins.required[self.margin_rows], np.full(len(sides), -self.bound)]),
        )

    def _solve_units(self, features: np.ndarray) -> Matrix:
        missing = sorted(set(features.tolist()) - set(self._solved_units))
        if missing:
            solved = self.metric.solve(np.eye(self.bound_rows.shape[2])[:, missing])
            self._solved_units.update(zip(missing, solved.T, strict=True))
        return np.array([self._solved_units[feature] for feature in features.tolist()]).reshape(
            len(features), self.bound_rows.shape[2]
        )

    def add_violated(self, change: Matrix) -> bool:
        before = self.margin_rows.sum() + self.bound_rows.sum()
        movement = self.margins.outputs.inputs @ change.T
        self.margin_rows |= self.margins.shortfall(movement) > FEASIBILITY
        limit = self.bound * (1 + 1e-9) + 1e-12
        self.bound_rows |= np.stack([change > limit, change < -limit])
        return bool(self.margin_rows.sum() + self.bound_rows.sum() > before)

    def multipliers(self, values: Vector) -> Multipliers:
        count = int(self.margin_rows.sum())
        margins, sides = np.zeros(self.margin_rows.shape), np.zeros(self.bound_rows.shape)
        margins[self.margin_rows], sides[self.bound_rows] = values[:count], values[count:]
        return Multipliers(margins, sides[0] - sides[1])


def minimise_quadratic(metric: Metric, margins: Margins, bound: float, solver: TalliedSolver) -> Solution:
    """Minimise ``||D M^(1/2)||`` under margins and ``|D| <= bound``, over all changes ``D``.

    Raises:
        CannotMeetError: no change satisfies the constraints.
    """
    working = _Working(metric, margins, bound)
    for cap in CAPS:
        solution = _converge(working, cap, solver)
        if solution.multipliers.margins.sum() < cap * (1 - 1e-6):
            return solution
    raise CannotMeetError(solution.multipliers.margins)


def _converge(working: _Working, cap: float, solver: TalliedSolver) -> Solution:
    for _ in range(ROUND_LIMIT):
        constraints = working.constraints()
        gram = constraints.gram()
        approximate = np.maximum(solver.solve(_dual_program(gram, constraints.rhs, working, cap)).x, 0.0)
        values = _polished(gram, constraints.rhs, approximate)
        change, size = constraints.change(values), max(float(values @ gram @ values), 0.0) ** 0.5
        multipliers = working.multipliers(values)
        if not working.add_violated(change) or multipliers.margins.sum() >= cap * (1 - 1e-6):
            low = bound_from(float(constraints.rhs @ values), size)
            return Solution(change, size, low, multipliers, "decomposed", solver.effort())
    raise SolverFailedError(f"The program was not solved in {ROUND_LIMIT} rounds.")


def _polished(gram: Matrix, rhs: Vector, values: Vector) -> Vector:
    """The exact optimum near a solver's answer, by pivoting on the rows it holds; else the answer itself.

    Barrier and active-set codes stop at tolerances that leave the gap above what is promised here.
    """
    held = values > 1e-7 * values.max(initial=0.0)
    for _ in range(PIVOT_LIMIT):
        exact = np.zeros_like(values)
        exact[held] = np.linalg.lstsq(gram[np.ix_(held, held)], rhs[held], rcond=None)[0]
        negative = exact < -1e-12 * np.abs(exact).max(initial=1.0)
        missed = rhs - gram @ exact > 1e-10 * np.abs(rhs).max(initial=1.0)
        if not (negative | missed).any():
            return np.asarray(np.maximum(exact, 0.0))
        held = (held & ~negative) | missed
    return values


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
