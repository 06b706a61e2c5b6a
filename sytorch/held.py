"""The smallest change of any layer that reaches the margins with the activation patterns held, and its proof.

The size is ``|G^(1/2) D A^(1/2)|`` over all changes ``D``. The program is solved through its dual, which has a
multiplier for each constraint (`sytorch.held_dual`); products with the constraints are passes through the network
(`sytorch.held_constraints`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sytorch.arrays import Matrix
from sytorch.certificate import Multipliers, bound_from
from sytorch.constraints import Margins, margin
from sytorch.deadline import Deadline
from sytorch.dual_operator import DualOperator
from sytorch.errors import Contradiction, ContradictionError, SolverFailedError
from sytorch.held_constraints import ALLOWANCE, BoundRows, HeldConstraints, no_bounds
from sytorch.held_dual import by_newton, by_proportioning, typical_lengths
from sytorch.held_rows import HeldRows
from sytorch.held_slack import slack_of
from sytorch.kronecker_metric import KroneckerMetric
from sytorch.linearise import LayerView
from sytorch.solution import Effort, Solution
from sytorch.symbolic import AffineOutputs

DENSE = 10_000
ROUND_LIMIT = 50


@dataclass(frozen=True, eq=False)
class HeldProgram:
    """Minimise the metric's norm of a layer's change under margins and a bound.

    Attributes:
        view: the layer as the images see it.
        margins: that their logits are to have.
        metric: of the layer.
        bound: on every entry of the change.
        hold: whether the patterns are constraints; else only the margins, linearised, are.
        allowance: see `HeldConstraints`.
    """

    view: LayerView
    margins: Margins
    metric: KroneckerMetric
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
        deadline, metric = Deadline(time_limit), self.metric.restricted(self.view)
        slack = slack_of(self.view) if self.hold else {}
        constraints = HeldConstraints(self.view, self.margins, slack, no_bounds(), self.allowance)
        rows, steps = HeldRows(constraints, metric, deadline), 0
        multipliers = torch.zeros(len(constraints.required), dtype=torch.float64)
        for rounds in range(1, ROUND_LIMIT + 1):
            operator = DualOperator(constraints, metric, rows)
            multipliers, used = self._optimum(operator, multipliers, deadline)
            steps += used
            change = operator.change(multipliers)
            broken = self._broken(change, constraints.bounds)
            if not len(broken.units):
                effort = Effort(len(multipliers), change.numel(), rounds, steps, 0, _method(constraints))
                return self._solution(operator, multipliers, change, effort)
            constraints = constraints.with_bounds(broken)
            multipliers = torch.cat([multipliers, torch.zeros(len(broken.units), dtype=torch.float64)])
        raise SolverFailedError(f"The bound on the change did not settle in {ROUND_LIMIT} rounds.")

    def _optimum(self, operator: DualOperator, start: torch.Tensor, deadline: Deadline) -> tuple[torch.Tensor, int]:
        """The optimum's multipliers, and how many steps or products they took."""

        def watch(multipliers: torch.Tensor) -> None:
            deadline.check()
            self._refute(operator.constraints, multipliers)

        solve = by_newton if operator.constraints.count <= DENSE else by_proportioning
        return solve(operator, typical_lengths(operator, deadline), start, watch, deadline)

    def _broken(self, change: torch.Tensor, known: BoundRows) -> BoundRows:
        """The entries beyond their bounds that are not constrained yet."""
        limits = self.bound * self.view.scales
        beyond = change.abs() > limits * (1 + 1e-6)
        beyond[known.units, known.columns] = False
        units, columns = torch.nonzero(beyond, as_tuple=True)
        return BoundRows(units, columns, change[units, columns].sign(), limits.expand_as(change)[units, columns])

    def _refute(self, constraints: HeldConstraints, multipliers: torch.Tensor) -> None:
        """Raise where the multipliers prove that no change within the bound exists (Farkas' lemma)."""
        free = multipliers.clone()
        free[len(free) - len(constraints.bounds.limits) :] = 0.0
        total = float(free @ constraints.required)
        if not (np.isfinite(self.bound) and total > 0):
            return
        limits = float((constraints.gradient(free).abs() * self.view.scales).sum())
        if bound_from(total, limits) > self.bound * (1 + 1e-6):
            images = constraints.in_want(free)
            raise ContradictionError(Contradiction(images, bound_from(total, limits), True))

    def _solution(
        self, operator: DualOperator, multipliers: torch.Tensor, change: torch.Tensor, effort: Effort
    ) -> Solution:
        """Objective and lower bound are computed anew from the change, and from the multipliers by weak duality."""
        constraints, metric = operator.constraints, operator.metric
        total = float(multipliers @ constraints.required)
        low = bound_from(total, metric.dual_size(constraints.gradient(multipliers)))
        margins, *_, bounds = constraints.parts(multipliers)
        return Solution(
            np.clip(self.view.layer_change(change).numpy(), -self.bound, self.bound),
            metric.size(change),
            low,
            Multipliers(margins.numpy(), self._bound_multipliers(change, constraints.bounds, bounds)),
            "held" if self.hold else "linearised",
            effort,
        )

    def _bound_multipliers(self, change: torch.Tensor, rows: BoundRows, values: torch.Tensor) -> Matrix:
        bounds = torch.zeros_like(change)
        bounds[rows.units, rows.columns] = rows.sides * values
        return np.asarray(bounds.numpy())


def hold(
    view: LayerView,
    labels: torch.Tensor,
    size: float,
    metric: KroneckerMetric,
    *,
    bound: float = np.inf,
    allowance: float = ALLOWANCE,
) -> HeldProgram:
    """The program of the least change with margins of a size, (N,) labels, and the patterns held."""
    return HeldProgram(view, margins_of(view, labels, size), metric, bound, True, allowance)


def margins_of(view: LayerView, labels: torch.Tensor, size: float) -> Margins:
    """Margin constraints of the images of a view."""
    outputs = AffineOutputs(view.logits.numpy(), view.inputs.flatten(1).numpy())
    return margin(outputs, labels.numpy(), size)


def _method(constraints: HeldConstraints) -> str:
    return "finite Newton steps" if constraints.count <= DENSE else "proportioning"
