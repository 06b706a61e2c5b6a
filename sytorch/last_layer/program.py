"""``minimise(norm, metric).subject_to(margin(...), bound)``: the program, said in the words of its mathematics."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from sytorch.certificate.bounds import farkas
from sytorch.certificate.verification import verified
from sytorch.last_layer.first_order import ITERATION_LIMIT, minimise_first_order
from sytorch.last_layer.generation import minimise_by_generation
from sytorch.last_layer.infeasibility import FEW, contradicting_pair, diagnose
from sytorch.last_layer.quadratic import minimise_quadratic
from sytorch.last_layer.shortfall import CannotMeetError
from sytorch.last_layer.whole import minimise_whole
from sytorch.metrics.last_layer import Coordinates, IdentityMetric, Metric, PerClassMetric
from sytorch.problem.arrays import Mask
from sytorch.problem.checks import check_required, checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import UNKNOWN, Contradiction, ContradictionError, InvalidInputError, SolverFailedError
from sytorch.problem.margins import Margins
from sytorch.problem.norms import Norm, NormName, norm, norm_name
from sytorch.problem.solution import Multipliers, Solution
from sytorch.solvers import AutoSolver, FirstOrderSolver, SolverName, solver_named
from sytorch.solvers.counted import TalliedSolver
from sytorch.solvers.linear_program import Solver

MANY_IMAGES = 400  # that lack their margin; above, simplex codes take minutes and first-order methods seconds
SHORT_LIMIT = 5_000  # first-order iterations, where an exact solver can take over
DECOMPOSED_NORMS = (NormName.L1, NormName.L2)  # the other programs are written out whole


@dataclass(frozen=True)
class Objective:
    """What is to be small: a norm of the change, in the coordinates of a metric."""

    norm: NormName
    metric: Metric

    def subject_to(self, margins: Margins, bound: float = np.inf) -> Program:
        """Add the constraints: the margins, and ``|D| <= bound`` entry by entry.

        Raises:
            InvalidInputError: the bound is not positive, the margins are NaN or infinite, or of another layer's metric.
        """
        return Program(self, margins, checked_bound(bound))


def minimise(norm: NormName | str, metric: Metric) -> Objective:
    """Minimise ``l1``, ``linf``, ``linf+l1`` or ``l2`` of the change in a metric.

    Raises:
        InvalidInputError: there is no such norm, or it is not taken in that metric.
    """
    name = norm_name(norm)
    if isinstance(metric, PerClassMetric) and name is not NormName.L2:
        raise InvalidInputError(f"A metric of each class is for l2, not for {name}.")
    return Objective(name, metric)


@dataclass(frozen=True)
class Program:
    """A norm to minimise under margins and a bound."""

    objective: Objective
    margins: Margins
    bound: float

    def __post_init__(self) -> None:
        check_required(self.margins.required)
        self.objective.metric.check(self.margins.required.shape[1], self.margins.outputs.inputs.shape[1])

    def solve(
        self, solver: Solver | SolverName | str, time_limit: float | Deadline | None = None, whole: bool = False
    ) -> Solution:
        """Find the smallest change.

        Args:
            solver: one of ``auto``, ``gurobi``, ``highs``, ``first-order``, or a solver.
            time_limit: seconds for everything, or a deadline that others share, or None.
            whole: write the program out at once instead of generating its rows and columns, as the other norms than
                ``l1`` and ``l2`` always do.

        Raises:
            ContradictionError: no change within the bound exists, with the proof.
            LicenceError, SolverTimeLimitError, SolverFailedError: the solver gave no answer.
            TypeError: the whole program is asked for in a metric of each class.
        """
        chosen = solver_named(solver) if isinstance(solver, str) else solver
        tallied = TalliedSolver(self._for_many_images(chosen, whole), as_deadline(time_limit))
        tallied.check()
        if not self._missing.any():
            return self._nothing_to_do(whole)
        scale = float(self.margins.required.max())
        try:
            found = self._divided_by(scale).solved(tallied, whole)
        except np.linalg.LinAlgError as error:
            raise SolverFailedError(f"A matrix could not be factored ({error}): {UNKNOWN}") from error
        except ContradictionError as error:
            raise ContradictionError(_multiplied(error.contradiction, scale)) from error.__cause__
        x = None if found.coordinates is None else found.coordinates * scale
        value, low = found.objective * scale, found.lower_bound * scale
        return replace(found, change=found.change * scale, objective=value, lower_bound=low, coordinates=x)

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

    def without_bound(self) -> Program:
        """The same program for changes of any size."""
        return replace(self, bound=np.inf)

    @property
    def admits_any_change(self) -> bool:
        """Whether all changes are searched, not just those of the form that a metric gives the other norms."""
        return self.coordinates.basis is None

    @functools.cached_property
    def coordinates(self) -> Coordinates:
        """Of the changes that are searched: all of them for ``l2``."""
        metric = self.objective.metric
        if self.objective.norm is NormName.L2 or isinstance(metric, PerClassMetric):
            metric = IdentityMetric()
        return metric.coordinates(self.margins.outputs.inputs)

    @functools.cached_property
    def norm(self) -> Norm:
        """That is taken in the coordinates; ``l2`` is taken in the metric."""
        return norm(self.objective.norm, self.margins.required.shape[1] * self.coordinates.rows.shape[1])

    @property
    def _missing(self) -> Mask:
        """The constraints that do not hold yet, (N, C), but for rounding."""
        rounding = 1e-12 * max(1.0, float(np.abs(self.margins.outputs.logits).max(initial=0.0)))
        return np.asarray(self.margins.required > rounding)

    def _divided_by(self, scale: float) -> Program:
        """The same program of changes that are smaller by that factor, so that tolerances are relative to it."""
        return replace(
            self, margins=replace(self.margins, required=self.margins.required / scale), bound=self.bound / scale
        )

    def solved(self, solver: TalliedSolver, whole: bool) -> Solution:
        """The solution of a program whose largest requirement is 1; see `solve`."""
        if pair := contradicting_pair(self.margins, self.bound):
            raise ContradictionError(diagnose(self, solver, pair, quick=True))
        try:
            return verified(self, self.minimum(solver, whole))
        except CannotMeetError as error:
            raise ContradictionError(diagnose(self, solver, error.proof)) from error

    def _for_many_images(self, solver: Solver, whole: bool) -> Solver:
        """The first-order methods in place of the automatic choice, where it pays."""
        missing = int(self._missing.any(axis=1).sum())
        if self._is_whole(whole) or missing <= MANY_IMAGES or not isinstance(solver, AutoSolver):
            return solver
        solver.tell(
            f"{missing} images lack their margin: a first-order method solves it, and its answer is proved apart."
        )
        return FirstOrderSolver()

    def minimum(self, solver: TalliedSolver, whole: bool = False) -> Solution:
        """By the method that suits it.

        Raises:
            CannotMeetError: no change that is searched satisfies the constraints.
        """
        name, metric, coordinates = self.objective.norm, self.objective.metric, self.coordinates
        if name is NormName.L2 and not whole:
            return minimise_quadratic(metric, self.margins, self.bound, solver)
        if isinstance(metric, PerClassMetric):
            raise TypeError("the whole program is not written out in a metric of each class")
        if self._is_whole(whole):
            return minimise_whole(name, metric, self.margins, self.bound, solver)
        if solver.is_first_order:
            few = int(self._missing.sum()) <= FEW
            try:
                limit = SHORT_LIMIT if few else ITERATION_LIMIT
                return minimise_first_order(coordinates, self.margins, self.bound, solver, limit)
            except SolverFailedError:
                if not few:
                    raise
                solver = solver.exact
        return minimise_by_generation(coordinates, self.margins, self.bound, solver)

    def _is_whole(self, asked: bool) -> bool:
        """Whether the program is written out at once."""
        return asked or self.objective.norm not in DECOMPOSED_NORMS

    def _nothing_to_do(self, whole: bool) -> Solution:
        """Every margin is there already: the smallest change is none."""
        none = np.zeros((self.margins.required.shape[1], self.margins.outputs.inputs.shape[1]))
        multipliers = Multipliers(np.zeros(self.margins.required.shape), none)
        return Solution(none, 0.0, 0.0, multipliers, "whole" if self._is_whole(whole) else "decomposed")


def _multiplied(contradiction: Contradiction, scale: float) -> Contradiction:
    """With its bounds larger by that factor."""
    sufficient = contradiction.sufficient_bound
    return replace(
        contradiction,
        refuted_bound=contradiction.refuted_bound * scale,
        sufficient_bound=None if sufficient is None else sufficient * scale,
    )
