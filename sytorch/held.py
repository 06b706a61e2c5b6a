"""The smallest change of any layer that reaches the margins with the activation patterns held, and its proof.

The size is ``|G^(1/2) D A^(1/2)|`` over all changes ``D``. The program is solved through its dual, which has a
multiplier for each constraint (`sytorch.held_dual`); products with the constraints are passes through the network
(`sytorch.held_constraints`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from sytorch.arrays import Matrix
from sytorch.certificate import Multipliers, bound_from
from sytorch.constraints import Margins, margin
from sytorch.deadline import Deadline
from sytorch.dual_operator import DualOperator
from sytorch.errors import Contradiction, ContradictionError, SolverFailedError
from sytorch.held_constraints import ALLOWANCE, BoundRows, HeldConstraints, no_bounds
from sytorch.held_dual import Optimum, by_newton, by_proportioning, typical_lengths
from sytorch.held_moves import HeldMoves
from sytorch.held_rows import HeldRows
from sytorch.held_slack import slack_of
from sytorch.held_splitting import by_splitting, fits
from sytorch.joint import JointConstraints, JointOperator
from sytorch.kronecker_metric import KroneckerMetric
from sytorch.linearise import LayerView
from sytorch.solution import Effort, Solution
from sytorch.symbolic import AffineOutputs

DENSE = 10_000
ROUND_LIMIT = 50
FEW = 10


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

    def solve(self, time_limit: float | None = None) -> Solution:
        """Find the smallest change.

        Args:
            time_limit: seconds, or None.

        Raises:
            ContradictionError: no change within the bound reaches the margins with the patterns held.
            SolverTimeLimitError: neither is proved in time.
            SolverFailedError: the iterations do not end.
        """
        deadline = Deadline(time_limit)
        self._ask_few(deadline)
        metrics = [metric.restricted(view) for metric, view in zip(self.metrics, self.views, strict=True)]
        constraints = self._constraints()
        rows = [HeldRows(block, metric, deadline) for block, metric in zip(constraints.blocks, metrics, strict=True)]
        multipliers, steps = torch.zeros_like(constraints.required), 0
        for rounds in range(1, ROUND_LIMIT + 1):
            operator = JointOperator(tuple(map(DualOperator, constraints.blocks, metrics, rows)))
            optimum = self._optimum(operator, multipliers, deadline)
            steps += optimum.steps
            pairs = zip(optimum.changes, constraints.blocks, strict=True)
            broken = [_broken(change, block, self.bound) for change, block in pairs]
            if not any(len(found.units) for found in broken):
                columns = sum(change.numel() for change in optimum.changes)
                effort = Effort(len(optimum.multipliers), columns, rounds, steps, 0, optimum.method)
                return self._solution(operator, optimum, effort)
            multipliers = constraints.extended(optimum.multipliers, broken)
            constraints = constraints.with_bounds(broken)
        raise SolverFailedError(f"The bound on the change did not settle in {ROUND_LIMIT} rounds.")

    def of(self, images: torch.Tensor) -> HeldProgram:
        """The program of chosen images, one part only."""
        (view,) = self.views
        seen, chosen = view.of(images), images.numpy()
        inputs = self.margins.outputs.inputs[chosen]
        outputs = AffineOutputs(self.margins.outputs.logits[chosen], inputs)
        margins = Margins(outputs, self.margins.labels[chosen], self.margins.required[chosen])
        return replace(self, views=(seen,), margins=margins)

    def _ask_few(self, deadline: Deadline) -> None:
        """Raise where a few images contradict each other already, those that lack most.

        Only of convolutions, whose patterns can seldom be held: for others it would be time lost.
        """
        lacking = np.where(np.isfinite(self.margins.required), self.margins.required, 0.0).max(axis=1)
        if len(self.views) > 1 or not self.hold or len(lacking) <= 2 * FEW or self.views[0].inputs.shape[1] == 1:
            return
        chosen = np.sort(np.argsort(-lacking, kind="stable")[:FEW])
        try:
            self.of(torch.from_numpy(chosen)).solve(deadline.left)
        except ContradictionError as error:
            images = tuple(int(chosen[image]) for image in error.contradiction.images)
            raise ContradictionError(replace(error.contradiction, images=images)) from error

    def _constraints(self) -> JointConstraints:
        slack = slack_of(self.views[0]) if self.hold else {}
        return JointConstraints(
            tuple(HeldConstraints(view, self.margins, slack, no_bounds(), self.allowance) for view in self.views)
        )

    def _optimum(self, operator: JointOperator, start: torch.Tensor, deadline: Deadline) -> Optimum:
        """By the method that suits the constraints."""

        def watch(multipliers: torch.Tensor) -> None:
            deadline.check()
            self._refute(operator, multipliers)

        lengths = typical_lengths(operator, deadline)
        first, *others = operator.constraints.blocks
        if not others and first.count <= DENSE:
            return by_newton(operator, lengths, start, watch, deadline)
        moves = HeldMoves(first, operator.operators[0].metric, lengths)
        if not others and not len(first.bounds.limits) and not moves.is_shallow and fits(moves):
            return by_splitting(moves, watch, deadline)
        return by_proportioning(operator, lengths, start, watch, deadline)

    def _refute(self, operator: JointOperator, multipliers: torch.Tensor) -> None:
        """Raise where the multipliers prove that no change within the bound exists (Farkas' lemma)."""
        constraints, free = operator.constraints, multipliers.clone()
        free[constraints.shared :] = 0.0
        total = float(free @ constraints.required)
        if not (np.isfinite(self.bound) and total > 0):
            return
        pairs = zip(operator.gradients(free), self.views, strict=True)
        limits = sum(float((gradient.abs() * view.scales).sum()) for gradient, view in pairs)
        if bound_from(total, limits) > self.bound * (1 + 1e-6):
            images = constraints.blocks[0].in_want(constraints.split(free)[0])
            raise ContradictionError(Contradiction(images, bound_from(total, limits), True))

    def _solution(self, operator: JointOperator, optimum: Optimum, effort: Effort) -> Solution:
        """Objective and lower bound are computed anew from the change, and from the multipliers by weak duality.

        The bound is that of all changes that miss the constraints by no more than was granted, as this one may.
        """
        constraints, multipliers, changes = operator.constraints, optimum.multipliers, optimum.changes
        metrics = [each.metric for each in operator.operators]
        pairs = zip(metrics, operator.gradients(multipliers), strict=True)
        low = bound_from(
            float(multipliers @ (constraints.required - optimum.granted)),
            math.hypot(*(metric.dual_size(found) for metric, found in pairs)),
        )
        first, *further = (
            np.clip(view.layer_change(change).numpy(), -self.bound, self.bound)
            for view, change in zip(self.views, changes, strict=True)
        )
        margins, *_, bounds = constraints.blocks[0].parts(constraints.split(multipliers)[0])
        return Solution(
            first,
            math.hypot(*(metric.size(change) for metric, change in zip(metrics, changes, strict=True))),
            low,
            Multipliers(margins.numpy(), _bound_multipliers(changes[0], constraints.blocks[0].bounds, bounds)),
            "held" if self.hold else "linearised",
            effort,
            tuple(further),
        )


def hold(
    view: LayerView | tuple[LayerView, ...],
    labels: torch.Tensor,
    size: float,
    metric: KroneckerMetric | tuple[KroneckerMetric, ...],
    *,
    bound: float = np.inf,
    allowance: float = ALLOWANCE,
) -> HeldProgram:
    """The program of the least change with margins of a size, (N,) labels, and the patterns held.

    Several parts, see `sytorch.linearise_together`, have a metric each.
    """
    views = view if isinstance(view, tuple) else (view,)
    metrics = metric if isinstance(metric, tuple) else (metric,)
    return HeldProgram(views, margins_of(views[0], labels, size), metrics, bound, True, allowance)


def margins_of(view: LayerView, labels: torch.Tensor, size: float) -> Margins:
    """Margin constraints of the images of a view."""
    outputs = AffineOutputs(view.logits.numpy(), view.inputs.flatten(1).numpy())
    return margin(outputs, labels.numpy(), size)


def _broken(change: torch.Tensor, constraints: HeldConstraints, bound: float) -> BoundRows:
    """The entries of a part's change beyond their bounds that are not constrained yet."""
    limits, known = bound * constraints.view.scales, constraints.bounds
    beyond = change.abs() > limits * (1 + 1e-6)
    beyond[known.units, known.columns] = False
    units, columns = torch.nonzero(beyond, as_tuple=True)
    return BoundRows(units, columns, change[units, columns].sign(), limits.expand_as(change)[units, columns])


def _bound_multipliers(change: torch.Tensor, rows: BoundRows, values: torch.Tensor) -> Matrix:
    bounds = torch.zeros_like(change)
    bounds[rows.units, rows.columns] = rows.sides * values
    return np.asarray(bounds.numpy())
