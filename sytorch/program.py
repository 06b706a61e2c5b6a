"""``minimise(norm, metric).subject_to(margin(...), bound)``: the program, said in the words of its mathematics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sytorch.certificate import Multipliers
from sytorch.checks import check_required, checked_bound
from sytorch.constraints import Margins
from sytorch.deadline import Deadline, as_deadline
from sytorch.diagnosis import contradicting_pair, diagnose
from sytorch.errors import ContradictionError, InvalidInputError
from sytorch.first_order import minimise_first_order
from sytorch.generation import FEASIBILITY, CannotMeetError, minimise_by_generation
from sytorch.linear_program import Solver
from sytorch.metric import Metric, PerClassMetric
from sytorch.norms import NormName, norm, norm_name
from sytorch.quadratic import minimise_quadratic
from sytorch.solution import Solution
from sytorch.solvers import AutoSolver, FirstOrderSolver, SolverName, solver_named
from sytorch.tally import TalliedSolver
from sytorch.whole import minimise_whole

MANY_IMAGES = 400  # that lack their margin; above, simplex codes take minutes and first-order methods seconds
FIRST_ORDER_NORMS = (NormName.L1, NormName.L2)


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
            whole: write the program out at once instead of generating its rows and columns.

        Raises:
            ContradictionError: no change within the bound exists, with the proof.
            LicenceError, SolverTimeLimitError, SolverFailedError: the solver gave no answer.
            TypeError: the whole program is asked for in a metric of each class.
        """
        chosen = solver_named(solver) if isinstance(solver, str) else solver
        tallied = TalliedSolver(self._for_many_images(chosen, whole), as_deadline(time_limit))
        if (self.margins.required <= FEASIBILITY).all():
            return self._nothing_to_do(whole)
        if pair := contradicting_pair(self.margins, self.bound):
            raise ContradictionError(pair)
        try:
            return self._minimise(tallied, whole)
        except CannotMeetError as error:
            raise ContradictionError(diagnose(self.margins, self.bound, tallied, error.multipliers)) from error

    def _for_many_images(self, solver: Solver, whole: bool) -> Solver:
        """The first-order methods in place of the automatic choice, where it pays."""
        missing = int((self.margins.required > FEASIBILITY).any(axis=1).sum())
        many = missing > MANY_IMAGES and self.objective.norm in FIRST_ORDER_NORMS
        if whole or not many or not isinstance(solver, AutoSolver):
            return solver
        solver.tell(
            f"{missing} images lack their margin: a first-order method solves it, and its answer is proved apart."
        )
        return FirstOrderSolver()

    def _minimise(self, solver: TalliedSolver, whole: bool) -> Solution:
        name, metric = self.objective.norm, self.objective.metric
        if name is NormName.L2 and not whole:
            return minimise_quadratic(metric, self.margins, self.bound, solver)
        if isinstance(metric, PerClassMetric):
            raise TypeError("the whole program is not written out in a metric of each class")
        if whole:
            return minimise_whole(name, metric, self.margins, self.bound, solver)
        coordinates = metric.coordinates(self.margins.outputs.inputs)
        if name is NormName.L1 and solver.is_first_order:
            return minimise_first_order(coordinates, self.margins, self.bound, solver)
        size = self.margins.required.shape[1] * coordinates.rows.shape[1]
        return minimise_by_generation(norm(name, size), coordinates, self.margins, self.bound, solver)

    def _nothing_to_do(self, whole: bool) -> Solution:
        """Every margin is there already: the smallest change is none."""
        none = np.zeros((self.margins.required.shape[1], self.margins.outputs.inputs.shape[1]))
        multipliers = Multipliers(np.zeros(self.margins.required.shape), none)
        return Solution(none, 0.0, 0.0, multipliers, "whole" if whole else "decomposed")
