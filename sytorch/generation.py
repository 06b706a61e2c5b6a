"""Rows when violated, columns when their reduced cost is negative, until neither exists: the optimum of the whole program.

The restricted program is kept feasible by one elastic column with a penalty. Where it stays in use however high the
penalty, the constraints contradict each other.
"""

from __future__ import annotations

import numpy as np

from sytorch.arrays import Mask, Matrix
from sytorch.certificate import lower_bound, pressure, relative_gap
from sytorch.constraints import Margins
from sytorch.errors import InfeasibleProgramError, SolverFailedError
from sytorch.metric import Coordinates
from sytorch.norms import Norm
from sytorch.restricted import Point, RestrictedProgram
from sytorch.solution import Solution
from sytorch.tally import TalliedSolver

FEASIBILITY = 1e-7
PENALTIES = (1e4, 1e7, 1e10)
ROUND_LIMIT = 500


class CannotMeetError(InfeasibleProgramError):
    """Not even the highest penalty meets the margins; carries the multipliers that show it."""

    def __init__(self, multipliers: Matrix):
        super().__init__("the margins cannot be met")
        self.multipliers = multipliers


def minimise_by_generation(
    norm: Norm, coordinates: Coordinates, margins: Margins, bound: float, solver: TalliedSolver, tolerance: float = 1e-7
) -> Solution:
    """Minimise a norm that is no Euclidean one.

    Args:
        norm: of the coordinates.
        coordinates: as the metric gives them.
        margins: the constraints.
        bound: on every ``|D|``; may be infinite.
        solver: for the restricted programs.
        tolerance: the relative gap at which to stop.

    Raises:
        CannotMeetError: no ``x`` satisfies the constraints.
        SolverFailedError: the rounds do not end; in exact arithmetic they would.
    """
    working = RestrictedProgram(norm, coordinates, margins, bound)
    _add_rows(working, margins.required > FEASIBILITY, np.zeros(working.bound_rows.shape[1:]))
    _add_first_columns(working)
    for penalty in PENALTIES:
        point, low = _converge(working, penalty, solver, tolerance)
        if point.missing <= FEASIBILITY:
            value, change = norm.value(point.x), coordinates.change(point.x)
            effort = solver.effort()
            return Solution(change, value, low, point.multipliers, point.bound_multipliers, "decomposed", effort)
    raise CannotMeetError(point.multipliers)


def _converge(
    working: RestrictedProgram, penalty: float, solver: TalliedSolver, tolerance: float
) -> tuple[Point, float]:
    """Solve and extend until nothing is violated and no column is worth adding; returns the point and its lower bound."""
    best = (-1.0, Point(np.zeros(0),np.zeros(0),np.zeros(working.margin_rows.shape),np.zeros(working.bound_rows.shape[1:]),0.0))
    for _ in range(ROUND_LIMIT):
        point = working.point(solver.solve(working.linear_program(penalty)))
        grew = _add_violated_rows(working, point)
        low = _proved_bound(working, point)
        best = max(best, (low, point), key=lambda pair: pair[0])
        low = best[0]
        centre = _between(best[1], point)
        if working.norm.largest:
            centred_low = _proved_bound(working, centre)
            best = max(best, (centred_low, centre), key=lambda pair: pair[0])
            low = best[0]
        if not grew and point.missing <= FEASIBILITY and relative_gap(working.norm.value(point.x), low) <= tolerance:
            return point, low
        if not _add_columns(working, point, centre) and not grew:
            return point, low
    raise SolverFailedError(f"The program was not solved in {ROUND_LIMIT} rounds.")


def _gradient(working: RestrictedProgram, point: Point) -> Matrix:
    return working.coordinates.pull_back(pressure(working.margins, point.multipliers) - point.bound_multipliers)


def _proved_bound(working: RestrictedProgram, point: Point) -> float:
    """The better of two dual points: in the identity metric the bound's multipliers can be chosen freely."""
    arguments = working.norm, working.coordinates, working.margins, working.bound, point.multipliers
    low = lower_bound(*arguments, point.bound_multipliers)
    if not working.bounds_are_columns or working.norm.largest:
        return low
    gradient = _gradient(working, point)
    clipped = gradient - np.clip(gradient, -working.norm.each, working.norm.each)
    return max(low, lower_bound(*arguments, clipped))


def _add_violated_rows(working: RestrictedProgram, point: Point) -> bool:
    """Add every margin that is missed by more than the elastic column allows, and every bound that is broken."""
    shortfall = working.margins.shortfall(working.coordinates.rows @ point.x.T)
    missed = shortfall > point.missing + FEASIBILITY
    change = np.zeros(working.bound_rows.shape[1:])
    if not working.bounds_are_columns and np.isfinite(working.bound):
        change = working.coordinates.change(point.x)
    return _add_rows(working, missed, change)


def _add_rows(working: RestrictedProgram, missed: Mask, change: Matrix) -> bool:
    before = working.margin_rows.sum() + working.bound_rows.sum()
    working.margin_rows |= missed
    limit = working.bound * (1 + 1e-9) + 1e-12
    working.bound_rows |= np.stack([change > limit, change < -limit])
    return bool(working.margin_rows.sum() + working.bound_rows.sum() > before)


def _add_first_columns(working: RestrictedProgram) -> None:
    """For each margin that is missed at the start, the coordinate that acts on that image the most, in both classes."""
    if working.norm.largest:
        return
    images, others = np.nonzero(working.margin_rows)
    strongest = np.abs(working.coordinates.rows).argmax(axis=1)[images]
    up = (working.coordinates.rows[images, strongest] < 0).astype(int)
    working.entries[up, working.margins.labels[images], strongest] = True
    working.entries[1 - up, others, strongest] = True


def _between(best: Point, point: Point) -> Point:
    from dataclasses import replace
    return replace(point, multipliers=ALPHA*best.multipliers+(1-ALPHA)*point.multipliers, bound_multipliers=ALPHA*best.bound_multipliers+(1-ALPHA)*point.bound_multipliers)

ALPHA=0.9
def _add_columns(working: RestrictedProgram, point: Point, centre) -> bool:
    gradient = _gradient(working, point)
    if working.norm.largest:
        if not _add_pattern(working, point, gradient): return False
        e = _gradient(working, centre)
        ex=np.abs(e)-working.norm.each
        working.patterns.append(np.where(ex > 0, np.sign(e), 0.0))
        return True
    worth = np.stack([gradient, -gradient]) - working.norm.each
    worth[working.entries] = -np.inf
    return _take_best(working.entries, worth, _column_allowance(working), at_least=1e-9 * working.norm.each)


def _add_pattern(working: RestrictedProgram, point: Point, gradient: Matrix) -> bool:
    """Add the signs that the gradient asks for, and free the entries on which the patterns in use disagree."""
    excess = np.abs(gradient) - working.norm.each
    if np.maximum(excess, 0.0).sum() <= working.norm.largest * (1 + 1e-9):
        return False
    _settle_entries(working, point)
    wanted = np.where(excess > 0, np.sign(gradient), 0.0)
    used = [pattern for pattern, weight in zip(working.patterns, point.weights, strict=True) if weight > 0]
    working.patterns = [*used, wanted]
    if point.missing <= FEASIBILITY:
        disputed = np.any([pattern != wanted for pattern in used], axis=0) & ~working.entries[0]
        nearness = np.where(disputed, -np.abs(excess), -np.inf)
        freed = np.zeros(wanted.shape, dtype=bool)
        _take_best(freed, nearness, _column_allowance(working), at_least=-np.inf)
        working.entries |= freed
    return True


def _settle_entries(working: RestrictedProgram, point: Point) -> None:
    """Give an entry that stands at zero or at the largest value back to the patterns, which keep the point as it is."""
    largest = np.abs(point.x).max()
    magnitude = np.abs(point.x)
    at_top = working.entries[0] & (magnitude >= largest * (1 - 1e-9))
    at_zero = working.entries[0] & (magnitude <= largest * 1e-9) & (working.norm.each > 0)
    for pattern in working.patterns:
        pattern[at_top] = np.sign(point.x[at_top])
        pattern[at_zero] = 0.0
    working.entries &= ~(at_top | at_zero)


def _column_allowance(working: RestrictedProgram) -> int:
    return max(100, int(working.margin_rows.sum()) // 2)


def _take_best(chosen: Mask, worth: Matrix, most: int, at_least: float) -> bool:
    """Mark the ``most`` worthiest places of those above ``at_least``; returns whether there was one."""
    candidates = np.flatnonzero(worth > at_least)
    if not len(candidates):
        return False
    if len(candidates) > most:
        candidates = candidates[np.argpartition(-worth.ravel()[candidates], most)[:most]]
    chosen.ravel()[candidates] = True
    return True
