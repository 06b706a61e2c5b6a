"""Rows when violated, columns when their reduced cost is negative, until neither exists: that is the optimum of all.

The restricted program is kept feasible by one elastic column with a penalty. Where it stays in use however high the
penalty, the elastic column alone is minimised: its multipliers prove that the constraints contradict each other, or the
solver's precision is at its end. What is required is to be of the size of 1: see `sytorch.Program`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sytorch.arrays import Mask, Matrix
from sytorch.certificate import Multipliers, farkas, lower_bound, pressure, slope
from sytorch.constraints import Margins
from sytorch.errors import InfeasibleProgramError, SolverFailedError
from sytorch.metric import Coordinates
from sytorch.norms import Norm, NormName
from sytorch.restricted import Point, RestrictedProgram
from sytorch.solution import Solution
from sytorch.tally import TalliedSolver

FEASIBILITY = 1e-8
PENALTIES = (1e4, 1e7, 1e10)
TOLERANCE, ROUGH = 1e-7, 1e-3  # relative gaps
ROUND_LIMIT = 1000
UNKNOWN = "the solver's precision ended; try another --solver or --norm, a larger --param-bound or a smaller --margin."
STEP = 0.1
NOTHING = Norm(NormName.L1, 0.0, 0.0)  # that a change costs, while feasibility alone is sought


@dataclass(frozen=True)
class Proof:
    """Multipliers, and the lower bound that they prove."""

    lower_bound: float
    multipliers: Multipliers

    def gap(self, objective: float) -> float:
        """The gap that is left below ``objective``, relative to it."""
        return (objective - self.lower_bound) / objective if objective > 0.0 else 0.0


class CannotMeetError(InfeasibleProgramError):
    """No change that is searched meets the margins; carries the multipliers, of `farkas`, that prove it."""

    def __init__(self, proof: Multipliers):
        super().__init__("the margins cannot be met")
        self.proof = proof


def minimise_by_generation(
    norm: Norm,
    coordinates: Coordinates,
    margins: Margins,
    bound: float,
    solver: TalliedSolver,
    *,
    enough: float = 0.0,
) -> Solution:
    """Minimise a norm that is no Euclidean one.

    Args:
        norm: of the coordinates.
        coordinates: as the metric gives them.
        margins: the constraints.
        bound: on every ``|D|``; may be infinite.
        solver: for the restricted programs.
        enough: where positive, it is only asked whether the norm can be so small, and about how small if not.

    Raises:
        CannotMeetError: no ``x`` satisfies the constraints.
        SolverFailedError: the rounds do not end, or neither an ``x`` nor a proof is found; in exact arithmetic one is.
    """
    working = RestrictedProgram(norm, coordinates, margins, bound)
    _add_rows(working, margins.required > FEASIBILITY, np.zeros(working.bound_rows.shape[1:]))
    _add_first_columns(working)
    for penalty in PENALTIES:
        point, proof = _converge(working, penalty, solver, lambda value, proof: _is_enough(value, proof, enough))
        if point.missing <= FEASIBILITY:
            value, change = norm.value(point.x), coordinates.change(point.x)
            x = None if coordinates.basis is None else point.x
            return Solution(
                change, value, proof.lower_bound, proof.multipliers, "decomposed", solver.effort(), coordinates=x
            )
    refute(coordinates, margins, bound, solver)
    raise SolverFailedError(f"The margins can be met, but {UNKNOWN}")


def _is_enough(value: float, proof: Proof, enough: float) -> bool:
    gap = proof.gap(value)
    return gap <= TOLERANCE or (value <= enough) or (gap <= ROUGH and 0.0 < enough < proof.lower_bound)


def refute(coordinates: Coordinates, margins: Margins, bound: float, solver: TalliedSolver) -> None:
    """Minimise what the margins lack, whatever the change costs; return where nothing is lacking.

    Raises:
        CannotMeetError: no ``x`` satisfies the constraints.
        SolverFailedError: neither that nor the opposite is shown.
    """
    working = RestrictedProgram(NOTHING, coordinates, margins, bound)
    _add_rows(working, margins.required > FEASIBILITY, np.zeros(working.bound_rows.shape[1:]))
    _add_first_columns(working)
    for _ in range(ROUND_LIMIT):
        point = working.point(solver.solve(working.linear_program(1.0)), 1.0)
        _raise_if_refuted(working, point)
        grew = _add_violated_rows(working, point)
        if not grew and point.missing <= FEASIBILITY:
            return
        gradient = slope(coordinates, margins, point.multipliers)
        worth = np.stack([gradient, -gradient])
        worth[working.entries] = -np.inf
        if not _take_best(working.entries, worth, _column_allowance(working), at_least=1e-12) and not grew:
            break
    raise SolverFailedError(f"Whether any change meets the margins is not shown: {UNKNOWN}")


def _raise_if_refuted(working: RestrictedProgram, point: Point) -> None:
    if point.missing > FEASIBILITY:
        proof = farkas(working.coordinates, working.margins, working.bound, point.multipliers)
        if proof is not None:
            raise CannotMeetError(proof)


def _converge(
    working: RestrictedProgram, penalty: float, solver: TalliedSolver, is_enough: Callable[[float, Proof], bool]
) -> tuple[Point, Proof]:
    """Solve and extend until nothing is violated and no column is worth adding; returns the point and its proof.

    It also ends where the proof shows that the penalty is too low.

    Raises:
        CannotMeetError: the multipliers refute the bound.
    """
    best: Proof | None = None
    least = np.inf
    for _ in range(ROUND_LIMIT):
        point = working.point(solver.solve(working.linear_program(penalty)), penalty)
        _raise_if_refuted(working, point)
        grew = _add_violated_rows(working, point)
        improved = grew or point.penalised < least * (1 - 1e-9)
        least = np.inf if grew else min(least, point.penalised)
        best = _best_proof(working, point.multipliers, best)
        value = working.norm.value(point.x)
        if not grew and point.missing <= FEASIBILITY and is_enough(value, best):
            return point, best
        if point.missing > FEASIBILITY and best.lower_bound > penalty / 10:
            return point, best
        if not _add_columns(working, point, best.multipliers, improved) and not grew:
            return point, best
    raise SolverFailedError(f"The program was not solved in {ROUND_LIMIT} rounds: {UNKNOWN}")


def _best_proof(working: RestrictedProgram, found: Multipliers, best: Proof | None) -> Proof:
    """The best of what was proved before, of the solver's multipliers, and of a point between the two.

    The solver's multipliers jump from round to round, and most where patterns are used; a short step from the best ones
    towards them proves more (the smoothing of Wentges 1997), and its gradient makes the better column.
    """
    candidates = [_proof(working, found)]
    if best is not None:
        candidates.append(best)
        if working.norm.largest:
            candidates.append(_proof(working, best.multipliers.towards(found, STEP)))
    return max(candidates, key=lambda proof: proof.lower_bound)


def _proof(working: RestrictedProgram, multipliers: Multipliers) -> Proof:
    """What the multipliers prove, with the best ones of the bound where that has no rows: in the identity metric."""
    candidates = [multipliers]
    if working.bounds_are_columns and np.isfinite(working.bound):
        candidates.append(_with_bounds(working, multipliers.margins))
    proofs = [
        Proof(lower_bound(working.norm, working.coordinates, working.margins, working.bound, candidate), candidate)
        for candidate in candidates
    ]
    return max(proofs, key=lambda proof: proof.lower_bound)


def _with_bounds(working: RestrictedProgram, margins: Matrix) -> Multipliers:
    """The bound takes up what the gradient has beyond the unit ball of the dual norm."""
    gradient = pressure(working.margins, margins)
    beyond = gradient - np.clip(gradient, -working.norm.each, working.norm.each)
    total = float(np.abs(beyond).sum())
    share = max(1 - working.norm.largest / total, 0.0) if total else 0.0
    return Multipliers(margins, share * beyond)


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


def _add_columns(working: RestrictedProgram, point: Point, best: Multipliers, improved: bool) -> bool:
    gradient = slope(working.coordinates, working.margins, point.multipliers)
    if working.norm.largest:
        centre = best.towards(point.multipliers, STEP)
        if improved:
            _forget(working, point)
        return _add_patterns(working, point, gradient, slope(working.coordinates, working.margins, centre))
    worth = np.stack([gradient, -gradient]) - working.norm.each
    worth[working.entries] = -np.inf
    return _take_best(working.entries, worth, _column_allowance(working), at_least=1e-9 * working.norm.each)


def _add_patterns(working: RestrictedProgram, point: Point, gradient: Matrix, central: Matrix) -> bool:
    """Add the signs that both gradients ask for, and free the entries on which the patterns in use disagree."""
    excess = np.abs(gradient) - working.norm.each
    if np.maximum(excess, 0.0).sum() <= max(working.norm.largest, point.price) * (1 + 1e-9):
        return False
    wanted = _signs_worth(gradient, working.norm)
    others = working.patterns
    working.patterns = [*others, wanted, _signs_worth(central, working.norm)]
    if point.missing <= FEASIBILITY:
        disputed = np.any([pattern != wanted for pattern in others], axis=0) & ~working.entries[0]
        nearness = np.where(disputed, -np.abs(excess), -np.inf)
        freed = np.zeros(wanted.shape, dtype=bool)
        _take_best(freed, nearness, _column_allowance(working), at_least=-np.inf)
        working.entries |= freed
    return True


def _signs_worth(gradient: Matrix, norm: Norm) -> Matrix:
    """The signs of the entries that gain more than they cost one by one."""
    return np.where(np.abs(gradient) > norm.each, np.sign(gradient), 0.0)


def _forget(working: RestrictedProgram, point: Point) -> None:
    """Drop the patterns that are not used, and give entries at zero or at the largest value back to the patterns.

    The point stays what it is. Only after progress: where the objective stands still, what is dropped may be what the
    next round adds again, for ever.
    """
    _settle_entries(working, point)
    working.patterns = [pattern for pattern, weight in zip(working.patterns, point.weights, strict=True) if weight > 0]


def _settle_entries(working: RestrictedProgram, point: Point) -> None:
    """An entry that stands at zero or at the largest value is one that patterns can move."""
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
