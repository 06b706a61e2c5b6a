"""``l1``: rows when violated, columns when their reduced cost is negative, until neither exists: the optimum of all.

The restricted program is kept feasible by one elastic column with a penalty. Where it stays in use however high the
penalty, the elastic column alone is minimised: its multipliers prove that the constraints contradict each other, or the
solver's precision is at its end. What is required is to be of the size of 1: see `sytorch.Program`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sytorch.certificate.bounds import constraint_gradient, farkas, lower_bound, slope
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.restricted import Point, RestrictedProgram
from sytorch.last_layer.shortfall import FEASIBILITY, CannotMeetError, beyond, most_missed, refute
from sytorch.last_layer.verification import BestSoFar
from sytorch.problem.arrays import Mask, Matrix
from sytorch.problem.errors import UNKNOWN, SolverFailedError
from sytorch.problem.norms import NormName, norm
from sytorch.problem.solution import Multipliers, Solution
from sytorch.solvers.counted import CountedSolver

PENALTIES = (1e4, 1e7, 1e10)
TOLERANCE = 1e-7  # relative gap
ITERATION_LIMIT = 1000
PATH = "decomposed"
L1 = norm(NormName.L1, 1)


@dataclass(frozen=True)
class Proof:
    """Multipliers, and the lower bound that they prove."""

    lower_bound: float
    multipliers: Multipliers

    def closes(self, objective: float) -> bool:
        """Whether nothing but rounding is left between the two."""
        return objective - self.lower_bound <= TOLERANCE * objective


def minimise_by_generation(problem: Problem, solver: CountedSolver) -> Solution:
    """Minimise ``l1``.

    Raises:
        CannotMeetError: no ``x`` satisfies the constraints.
        SolverFailedError: iterations do not end, or neither an ``x`` nor a proof is found; in exact arithmetic one is.
    """
    working = RestrictedProgram(problem)
    required = problem.margins.required
    _add_rows(working, most_missed(required > FEASIBILITY, required), np.zeros(working.bound_rows.shape[1:]))
    _add_first_columns(working)
    for penalty in PENALTIES:
        point, proof = _converge(working, penalty, solver)
        if point.missing <= FEASIBILITY:
            return problem.solution(point.x, proof.multipliers, PATH, solver.effort())
    refute(problem, solver)
    raise SolverFailedError(f"The margins can be met, but {UNKNOWN}")


def _converge(working: RestrictedProgram, penalty: float, solver: CountedSolver) -> tuple[Point, Proof]:
    """Solve and extend until nothing is violated and no column is worth adding; returns the point and its proof.

    It also ends where the proof shows that the penalty is too low.

    Raises:
        CannotMeetError: the multipliers refute the bound.
    """
    best: Proof | None = None
    with BestSoFar(working.problem, solver, PATH) as so_far:
        for _ in range(ITERATION_LIMIT):
            point = working.point(solver.solve(working.linear_program(penalty)))
            is_met = point.missing <= FEASIBILITY
            if not is_met and (found := farkas(working.coordinates, working.margins, working.bound, point.multipliers)):
                raise CannotMeetError(found)
            grew = _add_violated_rows(working, point)
            _add_first_columns(working)
            proof = _proof(working, point.multipliers)
            best = proof if best is None or proof.lower_bound > best.lower_bound else best
            so_far.keep(point.x, best.multipliers)
            if not grew and is_met and best.closes(L1.value(point.x)):
                return point, best
            if not is_met and best.lower_bound > penalty / 10:
                return point, best
            if not _add_columns(working, point) and not grew:
                return point, best
    raise SolverFailedError(f"The program was not solved in {ITERATION_LIMIT} iterations: {UNKNOWN}")


def _proof(working: RestrictedProgram, multipliers: Multipliers) -> Proof:
    """What the multipliers prove, with the best ones of the bound where that has no rows: in the identity metric."""
    candidates = [multipliers]
    if working.bounds_are_columns and np.isfinite(working.bound):
        candidates.append(_with_bounds(working, multipliers.margins))
    proofs = [
        Proof(lower_bound(L1, working.coordinates, working.margins, working.bound, candidate), candidate)
        for candidate in candidates
    ]
    return max(proofs, key=lambda proof: proof.lower_bound)


def _with_bounds(working: RestrictedProgram, margins: Matrix) -> Multipliers:
    """The bound takes up what the gradient has beyond the unit ball of the dual norm."""
    gradient = constraint_gradient(working.margins, margins)
    return Multipliers(margins, gradient - np.clip(gradient, -1.0, 1.0))


def _add_violated_rows(working: RestrictedProgram, point: Point) -> bool:
    """Add margins that are missed by more than the elastic column allows, and every bound that is broken."""
    shortfall = working.margins.shortfall(working.coordinates.rows @ point.x.T)
    missed = shortfall > point.missing + FEASIBILITY
    change = np.zeros(working.bound_rows.shape[1:])
    if not working.bounds_are_columns and np.isfinite(working.bound):
        change = working.coordinates.change(point.x)
    return _add_rows(working, most_missed(missed & ~working.margin_rows, shortfall), change)


def _add_rows(working: RestrictedProgram, missed: Mask, change: Matrix) -> bool:
    before = working.margin_rows.sum() + working.bound_rows.sum()
    working.margin_rows |= missed
    sides = zip(beyond(change, working.bound), (change, -change), strict=True)
    working.bound_rows |= np.stack([most_missed(*side) for side in sides])
    return bool(working.margin_rows.sum() + working.bound_rows.sum() > before)


def _add_first_columns(working: RestrictedProgram) -> None:
    """For each margin that is missed at the start, the coordinate that acts on that image the most, in its classes."""
    images, places = np.nonzero(working.margin_rows)
    strongest = np.abs(working.coordinates.rows).argmax(axis=1)[images]
    weights = working.margins.weights_of(images, places)
    rows, classes = np.nonzero(weights)
    pull = weights[rows, classes] * working.coordinates.rows[images, strongest][rows]
    working.entries[(pull < 0).astype(int), classes, strongest[rows]] = True


def _add_columns(working: RestrictedProgram, point: Point) -> bool:
    """Add the columns whose reduced cost is most negative; returns whether there was one."""
    gradient = slope(working.coordinates, working.margins, point.multipliers)
    worth = np.stack([gradient, -gradient]) - 1.0
    worth[working.entries] = -np.inf
    candidates, most = np.flatnonzero(worth > 1e-9), max(100, int(working.margin_rows.sum()) // 2)
    if not len(candidates):
        return False
    if len(candidates) > most:
        candidates = candidates[np.argpartition(-worth.ravel()[candidates], most)[:most]]
    working.entries.ravel()[candidates] = True
    return True
