"""The smallest change of any layer that reaches the margins with the activation patterns fixed, and its proof.

The size is ``|G^(1/2) D A^(1/2)|`` over all changes ``D``. The program is solved through its dual, which has a
multiplier for each constraint (`sytorch.hidden_layer.dual`); products with the constraints are passes through the
network (`sytorch.hidden_layer.constraints`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from sytorch.hidden_layer.constraints import ALLOWANCE, Constraints, broken_bounds, no_bounds, slack_of
from sytorch.hidden_layer.dual import (
    DualProblem,
    Method,
    Optimum,
    by_newton,
    by_newton_of_few,
    by_proportioning,
    in_turn,
    typical_lengths,
)
from sytorch.hidden_layer.infeasibility import ANY_CHANGE, of_all_images
from sytorch.hidden_layer.inner_products import ConstraintRows, DualOperator
from sytorch.hidden_layer.splitting import by_splitting, find_infeasibility_certificate, fits
from sytorch.hidden_layer.verification import verified
from sytorch.metrics.kronecker import KroneckerMetric, check_kind
from sytorch.network.layer_view import LayerView
from sytorch.problem.answer import Answer
from sytorch.problem.checks import check_required, checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import (
    Contradiction,
    ContradictionError,
    InvalidInputError,
    SolverFailedError,
    SytorchError,
    gave_up,
)
from sytorch.problem.margins import Requirements, margin
from sytorch.problem.solution import Effort, Solution

PATH = "fixed"
DENSE = 10_000
ITERATION_LIMIT = 50
SPARE = 1e-3  # of a bound that is said to be enough
PATIENCE = 5.0  # seconds for such a bound, which the answer does not need
FEW = (1, 10)


@dataclass(frozen=True, eq=False)
class FixedPatternProgram:
    """Minimise the metric's norm of a change under margins and a bound.

    Attributes:
        view: the part of a layer that changes, as the images see it.
        margins: that their logits are to have.
        metric: of the layer.
        bound: on every entry of the change.
        allowance: see `Constraints`.
    """

    view: LayerView
    margins: Requirements
    metric: KroneckerMetric
    bound: float = np.inf
    allowance: float = ALLOWANCE

    def __post_init__(self) -> None:
        checked_bound(self.bound)
        check_required(self.margins.required)
        if not 0 <= self.allowance < np.inf:
            raise InvalidInputError(f"The allowance must be zero or more, not {self.allowance}.")
        check_kind(self.metric)
        self.metric.check_fits(self.view)

    def answer(self, time_limit: float | Deadline | None = None, tick: Callable[[], object] | None = None) -> Answer:
        """Find the smallest change, or how it is that there is none; no solver is asked, so no licence is needed.

        Args:
            time_limit: seconds, or a deadline that others share, or None.
            tick: called at every step, for those who wait; None for what the deadline calls.
        """
        deadline = as_deadline(time_limit) if tick is None else as_deadline(time_limit).ticking(tick)
        return Answer.of(lambda: self._solution(deadline))

    def solve(self, time_limit: float | Deadline | None = None, tick: Callable[[], object] | None = None) -> Solution:
        """Find the smallest change; see `answer`.

        Raises:
            ContradictionError: no change within the bound reaches the margins with the patterns fixed; its multipliers
                prove that, of margins and patterns, see `Constraints.pattern`.
            SolverTimeLimitError: neither is proved in time.
            SolverFailedError: neither is proved; the message says what may help.
        """
        return self.answer(time_limit, tick).unwrap()

    def _solution(self, deadline: Deadline) -> Solution:
        try:
            return self._smallest(deadline)
        except ContradictionError as error:
            raise ContradictionError(self._with_enough(error.contradiction, deadline)) from error

    def _with_enough(self, found: Contradiction, deadline: Deadline) -> Contradiction:
        """With a bound that is enough, that of the change that no bound limits: where that is found in seconds."""
        if found.refuted_bound < ANY_CHANGE and self._constraints().count <= DENSE:
            with contextlib.suppress(SytorchError):
                largest = replace(self, bound=np.inf)._smallest(deadline.within(PATIENCE)).max_abs_change
                return replace(found, sufficient_bound=max(largest, found.refuted_bound) * (1 + SPARE))
        return found

    def _smallest(self, deadline: Deadline) -> Solution:
        deadline.check()
        self._ask_few(deadline)
        constraints = self._constraints()
        rows = ConstraintRows(constraints, self._restricted, deadline)
        multipliers, steps = torch.zeros_like(constraints.required), 0
        for programs in range(1, ITERATION_LIMIT + 1):
            dual = self._dual(constraints, rows, multipliers, deadline)
            optimum = method_for(dual)(dual, deadline)
            steps += optimum.steps
            broken = broken_bounds(optimum.change, self.bound * self.view.scales, constraints.bounds)
            if not len(broken.units):
                effort = Effort(len(optimum.multipliers), optimum.change.numel(), programs, steps, 0, optimum.method)
                return self._verified(dual.operator, optimum, effort)
            multipliers = torch.cat([optimum.multipliers, torch.zeros_like(broken.limits)])
            constraints = constraints.with_bounds(broken)
        raise gave_up(f"the bound on the change did not settle in {ITERATION_LIMIT} iterations")

    def _verified(self, operator: DualOperator, optimum: Optimum, effort: Effort) -> Solution:
        """The solution; where the time was up, that goes with the error."""
        if optimum.late is None:
            return verified(operator, optimum, self.bound, PATH, effort)
        with contextlib.suppress(SolverFailedError):
            optimum.late.best = verified(operator, optimum, self.bound, PATH, effort)
        raise optimum.late

    def of(self, images: torch.Tensor) -> FixedPatternProgram:
        """The program of chosen images."""
        chosen = images.numpy()
        return replace(self, view=self.view.of(images), margins=self.margins.of(chosen))

    def _ask_few(self, deadline: Deadline) -> None:
        """Raise where a few images contradict each other already, or one itself: those that lack most.

        Not where the pattern is of the layer's own signs alone: these can nearly always be kept, and it is time lost.
        """
        lacking = np.where(np.isfinite(self.margins.required), self.margins.required, 0.0).max(axis=1)
        if not np.isfinite(self.bound) or self._fixes_own_signs_only:
            return
        for count in (count for count in FEW if 2 * count <= len(lacking)):
            chosen = np.sort(np.argsort(-lacking, kind="stable")[:count])
            try:
                self.of(torch.from_numpy(chosen))._find_infeasibility_certificate(deadline)
            except ContradictionError as error:
                raise ContradictionError(of_all_images(error.contradiction, chosen, len(lacking))) from error

    @property
    def _fixes_own_signs_only(self) -> bool:
        return self.view.inputs.shape[1] == 1 and set(self.view.pattern.fixed) <= {0}

    def _find_infeasibility_certificate(self, deadline: Deadline) -> None:
        """Raise where it is found before long that no change exists."""
        constraints = self._constraints()
        if constraints.count <= DENSE:
            with contextlib.suppress(SolverFailedError):  # that proves nothing of all images
                self._smallest(deadline)
            return
        rows = ConstraintRows(constraints, self._restricted, deadline)
        dual = self._dual(constraints, rows, torch.zeros_like(constraints.required), deadline)
        if fits(dual.moves):
            find_infeasibility_certificate(dual, deadline)

    def _dual(
        self, constraints: Constraints, rows: ConstraintRows, start: torch.Tensor, deadline: Deadline
    ) -> DualProblem:
        operator = DualOperator(constraints, self._restricted, rows)
        return DualProblem(operator, self.bound, typical_lengths(operator, deadline), start)

    def _constraints(self) -> Constraints:
        return Constraints(self.view, self.margins, slack_of(self.view), no_bounds(), self.allowance)

    @functools.cached_property
    def _restricted(self) -> KroneckerMetric:
        return self.metric.restricted(self.view)


def method_for(dual: DualProblem) -> Method:
    """What decides which method runs."""
    constraints = dual.operator.constraints
    if constraints.count <= DENSE:
        return by_newton
    is_split = not len(constraints.bounds.limits) and not dual.moves.is_shallow and fits(dual.moves)
    if constraints.view.inputs.shape[1] > 1:  # inner products of rows are costly
        return by_splitting if is_split else by_proportioning
    return in_turn(by_splitting, by_newton_of_few) if is_split else in_turn(by_newton_of_few, by_proportioning)


def fixed_pattern_program(
    view: LayerView,
    labels: ArrayLike | torch.Tensor,
    size: ArrayLike,
    metric: KroneckerMetric,
    *,
    bound: float = np.inf,
    allowance: float = ALLOWANCE,
) -> FixedPatternProgram:
    """The program of the least change with margins of a size, (N,) labels, and the patterns fixed.

    Margins are one for all or one for each image, (N,), minus infinity where nothing is required; see
    `FixedPatternProgram` for the rest.

    Raises:
        InvalidInputError: labels, margins, bound, metric or allowance are not what they have to be.
    """
    return FixedPatternProgram(view, margin(view.affine_outputs, labels, size), metric, bound, allowance)
