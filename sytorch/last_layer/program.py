"""``minimise(norm, metric).subject_to(margin(...), bound)``: the program, said in the words of its mathematics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sytorch.certificate.bounds import farkas
from sytorch.last_layer.generation import minimise_by_generation
from sytorch.last_layer.infeasibility import NO_ANSWER, SPARE, contradicting_pair, diagnose
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.quadratic import minimise_quadratic
from sytorch.last_layer.shortfall import CannotMeetError
from sytorch.last_layer.verification import verified
from sytorch.last_layer.whole import minimise_whole
from sytorch.metrics.last_layer import Metric, PerClassMetric
from sytorch.numerics.threads import threads_for
from sytorch.problem.answer import Answer
from sytorch.problem.checks import checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import (
    UNKNOWN,
    Contradiction,
    ContradictionError,
    InvalidInputError,
    SolverFailedError,
    SolverTimeLimitError,
)
from sytorch.problem.margins import Requirements
from sytorch.problem.norms import NormName, norm_name
from sytorch.problem.solution import Effort, Multipliers, Solution
from sytorch.solvers import AutoSolver, SolverName, solver_named
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.linear_program import Solver

MANY_IMAGES = 400  # that lack their margin; above, simplex codes take minutes and the ascent of l2 seconds
DECOMPOSED_NORMS = (NormName.L1, NormName.L2)  # the other programs are written out whole
LARGEST_GAP = 0.01
MANY_TOLD = {
    NormName.L1: "l1 takes minutes for so many; --norm l2 takes seconds.",
    NormName.L2: "l2 is solved without a solver, and its answer is proved apart.",
}
Method = Callable[[Problem, CountedSolver], Solution]


@dataclass(frozen=True)
class Objective:
    """What is to be small: a norm of the change, in the coordinates of a metric."""

    norm: NormName
    metric: Metric

    def subject_to(self, margins: Requirements, bound: float = np.inf) -> Program:
        """Add the constraints: the margins, and ``|D| <= bound`` entry by entry.

        Raises:
            InvalidInputError: the bound is not positive, the margins are NaN or infinite, or of another layer's metric.
        """
        return Program(self.norm, self.metric, margins, checked_bound(bound))


def minimise(norm: NormName | str, metric: Metric) -> Objective:
    """Minimise ``l1``, ``linf``, ``linf+l1`` or ``l2`` of the change in a metric.

    Raises:
        InvalidInputError: there is no such norm, or it is not taken in that metric.
    """
    name = norm_name(norm)
    if not hasattr(metric, "check"):  # anybody's may be one of `SharedMetric`
        raise InvalidInputError(
            f"A {type(metric).__name__} is not for this program: take second_moment_metric, PerClassMetric or "
            "IdentityMetric; one of kronecker_metric is for fixed_pattern_program and relinearise, of any layer."
        )
    if isinstance(metric, PerClassMetric) and name is not NormName.L2:
        raise InvalidInputError(f"A metric of each class is for l2, not for {name}.")
    return Objective(name, metric)


@dataclass(frozen=True)
class Program(Problem):
    """A problem with its answer: found by the method that `method_for` names, and verified apart from it."""

    def answer(
        self, solver: Solver | SolverName | str, time_limit: float | Deadline | None = None, whole: bool = False
    ) -> Answer:
        """Find the smallest change, or how it is that there is none.

        Args:
            solver: one of ``auto``, ``gurobi``, ``highs``, or a solver.
            time_limit: seconds for everything, or a deadline that others share, or None.
            whole: write the program out at once instead of generating its rows and columns, as the other norms than
                ``l1`` and ``l2`` always do.

        Raises:
            TypeError: the whole program is asked for in a metric of each class.
            ValueError: there is no solver of that name, or the time limit is NaN.
        """
        chosen = solver_named(solver) if isinstance(solver, str) else solver
        with threads_for(max(self.margins.outputs.inputs.shape)):
            return Answer.of(lambda: self._solution(chosen, as_deadline(time_limit), whole))

    def solve(
        self, solver: Solver | SolverName | str, time_limit: float | Deadline | None = None, whole: bool = False
    ) -> Solution:
        """Find the smallest change; see `answer`.

        Raises:
            ContradictionError: no change within the bound exists, with the proof.
            LicenceError, SolverTimeLimitError, SolverFailedError: the solver gave no answer.
            TypeError: the whole program is asked for in a metric of each class.
        """
        return self.answer(solver, time_limit, whole).unwrap()

    def refutes(self, multipliers: Multipliers) -> bool:
        """Whether multipliers prove that no change within the bound has the margins (Farkas' lemma), in float64.

        With ``w >= 0`` those of the margins, (N, C), and ``s`` those of the bound, (C, d), let ``G`` be the gradient in
        ``D`` of ``sum of w[i, j] (D h_i)[y_i] - (D h_i)[j]``. They do where

        * ``<G - s, D> = 0`` for all changes ``D`` that are searched: ``s = G`` in the identity metric and for ``l2``,
          ``(G - s) basis^T = 0`` in the other norms' coordinates, of changes ``D = x basis``; and
        * ``sum of w[i, j] required[i, j] > bound * sum of |s|``, for the left side is at most ``<G, D> = <s, D>``.

        ``s`` is completed so that the first is exact, and rounding counts against the second. Multipliers with
        ``s = G`` refute changes of any form.
        """
        return farkas(self.coordinates, self.margins, self.bound, multipliers) is not None

    def _solution(self, solver: Solver, deadline: Deadline, whole: bool) -> Solution:
        counted = counted_solver(self, solver, deadline, whole)
        counted.check()
        if not self.missing.any():
            path = "whole" if whole or self.norm_name not in DECOMPOSED_NORMS else "decomposed"
            return replace(self._none, path=path)
        scale = float(self.margins.required.max())
        try:
            return _multiplied(self.divided_by(scale)._verified(counted, whole), scale)
        except np.linalg.LinAlgError as error:
            raise SolverFailedError(f"A matrix could not be factored ({error}): {UNKNOWN}") from error
        except ContradictionError as error:
            raise ContradictionError(_multiplied_bounds(error.contradiction, scale)) from error.__cause__
        except SolverTimeLimitError as error:
            error.best = error.best and _multiplied(error.best, scale)
            raise

    @property
    def _none(self) -> Solution:
        """No change at all: the smallest where every margin is there already."""
        nothing = self.no_multipliers
        return Solution(nothing.bounds, 0.0, 0.0, nothing, "", Effort())

    def _verified(self, solver: CountedSolver, whole: bool) -> Solution:
        """The solution of a program whose largest requirement is 1; see `solve`."""
        if pair := contradicting_pair(self.margins, self.bound):
            raise ContradictionError(self._contradiction(solver, pair, quick=True))
        try:
            found = verified(self, method_for(self, whole)(self, solver))
            if found.gap > LARGEST_GAP:
                raise SolverFailedError(f"The change that was found may be {found.gap:.0%} too large: {UNKNOWN}")
            return found
        except CannotMeetError as error:
            raise ContradictionError(self._contradiction(solver, error.proof)) from error

    def _contradiction(self, solver: CountedSolver, proof: Multipliers, quick: bool = False) -> Contradiction:
        """With a bound that is enough, where one is found: at worst that of the change that no bound limits."""
        found = diagnose(self, solver, proof, quick)
        if found.sufficient_bound is None and np.isfinite(found.refuted_bound):
            with contextlib.suppress(*NO_ANSWER):
                free = self.without_bound()
                largest = verified(free, method_for(free)(free, solver)).max_abs_change
                return replace(found, sufficient_bound=largest * (1 + SPARE))
        return found


def method_for(problem: Problem, whole: bool = False) -> Method:
    """What decides which method runs."""
    if whole or problem.norm_name not in DECOMPOSED_NORMS:
        return minimise_whole
    return minimise_quadratic if problem.norm_name is NormName.L2 else minimise_by_generation


def counted_solver(problem: Problem, solver: Solver, deadline: Deadline, whole: bool = False) -> CountedSolver:
    """The solver within its time; where many images lack their margin, ``auto`` solves ``l2`` without it.

    It tells so, and it tells that ``l1`` takes long.
    """
    missing = int(problem.missing.any(axis=1).sum())
    told = None if whole or missing <= MANY_IMAGES else MANY_TOLD.get(problem.norm_name)
    if told is None or not isinstance(solver, AutoSolver):
        return CountedSolver(solver, deadline)
    solver.tell(f"{missing} images lack their margin: {told}")
    return CountedSolver(solver, deadline, by_ascent=problem.norm_name is NormName.L2)


def _multiplied(solution: Solution, scale: float) -> Solution:
    """Of changes that are larger by that factor."""
    x = None if solution.coordinates is None else solution.coordinates * scale
    value, low = solution.objective * scale, solution.lower_bound * scale
    return replace(solution, change=solution.change * scale, objective=value, lower_bound=low, coordinates=x)


def _multiplied_bounds(contradiction: Contradiction, scale: float) -> Contradiction:
    """With its bounds larger by that factor."""
    sufficient = contradiction.sufficient_bound
    return replace(
        contradiction,
        refuted_bound=contradiction.refuted_bound * scale,
        sufficient_bound=None if sufficient is None else sufficient * scale,
    )
