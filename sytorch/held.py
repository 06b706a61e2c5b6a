"""The smallest change of any layer that reaches the margins with the activation patterns held, and its proof.

The size is ``|G^(1/2) D A^(1/2)|`` over all changes ``D``. The program is solved through its dual, which has a
multiplier for each constraint (`sytorch.held_dual`); products with the constraints are passes through the network
(`sytorch.held_constraints`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from sytorch.checks import check_required, checked_bound
from sytorch.constraints import Margins, margin
from sytorch.deadline import Deadline, as_deadline
from sytorch.dual_operator import DualOperator
from sytorch.errors import ContradictionError, InvalidInputError, SolverFailedError, gave_up
from sytorch.held_answer import answer
from sytorch.held_bounds import broken_bounds, no_bounds
from sytorch.held_constraints import ALLOWANCE, HeldConstraints
from sytorch.held_dual import Optimum, Watch, by_newton, by_proportioning, typical_lengths
from sytorch.held_moves import HeldMoves
from sytorch.held_refutation import of_all_images, refute
from sytorch.held_rows import HeldRows
from sytorch.held_slack import slack_of
from sytorch.held_splitting import by_splitting, fits, seek_refutation
from sytorch.joint import JointConstraints, JointOperator
from sytorch.kronecker_metric import KroneckerMetric
from sytorch.linearise import LayerView
from sytorch.solution import Effort, Solution
from sytorch.symbolic import AffineOutputs

DENSE = 10_000
ROUND_LIMIT = 50
FEW = (1, 10)


@dataclass(frozen=True, eq=False)
class HeldProgram:
    """Minimise the metric's norm of a change under margins and a bound.

    Attributes:
        views: the parts that change as the images see them, in the order they run; mostly one.
        margins: that their logits are to have.
        metrics: of the parts; the squares of their norms add up.
        bound: on every entry of the changes.
        hold: whether the patterns are constraints; else only the margins, linearised, are.
        allowance: see `HeldConstraints`.
    """

    views: tuple[LayerView, ...]
    margins: Margins
    metrics: tuple[KroneckerMetric, ...]
    bound: float = np.inf
    hold: bool = True
    allowance: float = ALLOWANCE

    def __post_init__(self) -> None:
        checked_bound(self.bound)
        check_required(self.margins.required)
        if not 0 <= self.allowance < np.inf:
            raise InvalidInputError(f"The allowance must be zero or more, not {self.allowance}.")
        if not 0 < len(self.views) == len(self.metrics):
            raise InvalidInputError(f"{len(self.views)} parts need a metric each, not {len(self.metrics)}.")
        for metric, view in zip(self.metrics, self.views, strict=True):
            metric.check_fits(view)

    def solve(self, time_limit: float | Deadline | None = None, tick: Callable[[], object] | None = None) -> Solution:
        """Find the smallest change.

        Args:
            time_limit: seconds, or a deadline that others share, or None.
            tick: called at every step, for those who wait; None for what the deadline calls.

        Raises:
            ContradictionError: no change within the bound reaches the margins with the patterns held; its multipliers
                prove that, of margins and patterns, see `JointConstraints.pattern`.
            SolverTimeLimitError: neither is proved in time.
            SolverFailedError: neither is proved; the message says what may help.
        """
        deadline = as_deadline(time_limit) if tick is None else as_deadline(time_limit).ticking(tick)
        deadline.check()
        self._ask_few(deadline)
        constraints = self._constraints()
        rows = self._rows(constraints, deadline)
        multipliers, steps = torch.zeros_like(constraints.required), 0
        for rounds in range(1, ROUND_LIMIT + 1):
            operator = self._operator(constraints, rows)
            optimum = self._optimum(operator, multipliers, deadline)
            steps += optimum.steps
            pairs = zip(optimum.changes, constraints.blocks, strict=True)
            broken = [broken_bounds(change, self.bound * block.view.scales, block.bounds) for change, block in pairs]
            if not any(len(found.units) for found in broken):
                columns = sum(change.numel() for change in optimum.changes)
                effort = Effort(len(optimum.multipliers), columns, rounds, steps, 0, optimum.method)
                return answer(operator, optimum, self.bound, "held" if self.hold else "linearised", effort)
            multipliers = constraints.extended(optimum.multipliers, broken)
            constraints = constraints.with_bounds(broken)
        raise gave_up(f"the bound on the change did not settle in {ROUND_LIMIT} rounds")

    def of(self, images: torch.Tensor) -> HeldProgram:
        """The program of chosen images, one part only."""
        (view,) = self.views
        seen, chosen = view.of(images), images.numpy()
        inputs = self.margins.outputs.inputs[chosen]
        outputs = AffineOutputs(self.margins.outputs.logits[chosen], inputs)
        margins = Margins(outputs, self.margins.labels[chosen], self.margins.required[chosen])
        return replace(self, views=(seen,), margins=margins)

    def _ask_few(self, deadline: Deadline) -> None:
        """Raise where a few images contradict each other already, or one itself: those that lack most.

        Not of layers whose own signs are all that is held: these can nearly always be held, and it would be time lost.
        """
        lacking = np.where(np.isfinite(self.margins.required), self.margins.required, 0.0).max(axis=1)
        if len(self.views) > 1 or not (self.hold and np.isfinite(self.bound)) or self._holds_own_signs_only:
            return
        for count in (count for count in FEW if 2 * count <= len(lacking)):
            chosen = np.sort(np.argsort(-lacking, kind="stable")[:count])
            try:
                self.of(torch.from_numpy(chosen))._seek_refutation(deadline)
            except ContradictionError as error:
                raise ContradictionError(of_all_images(error.contradiction, chosen, len(lacking))) from error

    @property
    def _holds_own_signs_only(self) -> bool:
        view = self.views[0]
        return view.inputs.shape[1] == 1 and set(view.pattern.held) <= {0}

    def _seek_refutation(self, deadline: Deadline) -> None:
        """Raise where it is found before long that no change exists."""
        constraints = self._constraints()
        operator = self._operator(constraints, self._rows(constraints, deadline))
        (block,), (single,) = constraints.blocks, operator.operators
        if block.count <= DENSE:
            with contextlib.suppress(SolverFailedError):  # that proves nothing of all images
                self.solve(deadline)
            return
        moves = HeldMoves(block, single.metric, typical_lengths(operator, deadline))
        if fits(moves):
            seek_refutation(moves, self._watch(operator, deadline), deadline)

    def _watch(self, operator: JointOperator, deadline: Deadline) -> Watch:
        def watch(multipliers: torch.Tensor) -> None:
            deadline.check()
            refute(operator, self.bound, multipliers)

        return watch

    def _constraints(self) -> JointConstraints:
        slack = slack_of(self.views) if self.hold else {}
        return JointConstraints(
            tuple(HeldConstraints(view, self.margins, slack, no_bounds(), self.allowance) for view in self.views)
        )

    @functools.cached_property
    def _restricted(self) -> list[KroneckerMetric]:
        return [metric.restricted(view) for metric, view in zip(self.metrics, self.views, strict=True)]

    def _rows(self, constraints: JointConstraints, deadline: Deadline) -> list[HeldRows]:
        pairs = zip(constraints.blocks, self._restricted, strict=True)
        return [HeldRows(block, metric, deadline) for block, metric in pairs]

    def _operator(self, constraints: JointConstraints, rows: list[HeldRows]) -> JointOperator:
        return JointOperator(tuple(map(DualOperator, constraints.blocks, self._restricted, rows)))

    def _optimum(self, operator: JointOperator, start: torch.Tensor, deadline: Deadline) -> Optimum:
        """By the method that suits the constraints."""
        lengths, watch = typical_lengths(operator, deadline), self._watch(operator, deadline)
        first, *others = operator.constraints.blocks
        if operator.constraints.count <= DENSE:
            return by_newton(operator, lengths, start, watch, deadline)
        moves = HeldMoves(first, operator.operators[0].metric, lengths)
        if not others and not len(first.bounds.limits) and not moves.is_shallow and fits(moves):
            return by_splitting(moves, watch, deadline)
        return by_proportioning(operator, lengths, start, watch, deadline)


def hold(
    view: LayerView | tuple[LayerView, ...],
    labels: ArrayLike | torch.Tensor,
    size: ArrayLike,
    metric: KroneckerMetric | tuple[KroneckerMetric, ...],
    *,
    bound: float = np.inf,
    allowance: float = ALLOWANCE,
) -> HeldProgram:
    """The program of the least change with margins of a size, (N,) labels, and the patterns held.

    Several parts, see `sytorch.linearise_together`, have a metric each. Margins are one for all or one for each image,
    (N,), minus infinity where nothing is required; see `HeldProgram` for the rest.

    Raises:
        InvalidInputError: labels, margins, bound, metrics or allowance are not what they have to be.
    """
    views = view if isinstance(view, tuple) else (view,)
    metrics = metric if isinstance(metric, tuple) else (metric,)
    return HeldProgram(views, margins_of(views[0], labels, size), metrics, bound, True, allowance)


def margins_of(view: LayerView, labels: ArrayLike | torch.Tensor, size: ArrayLike) -> Margins:
    """Margin constraints of the images of a view."""
    outputs = AffineOutputs(view.logits.numpy(), view.inputs.flatten(1).numpy())
    return margin(outputs, labels, size)
