"""The smallest change of any layer that reaches the margins with the activation patterns held, and its proof.

The size is ``|G^(1/2) D A^(1/2)|`` over all changes ``D``. The program is solved through its dual, which has a
multiplier for each constraint; products with the constraints are passes through the network
(`sytorch.held_constraints`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from sytorch.arrays import Matrix
from sytorch.certificate import Multipliers, bound_from
from sytorch.constraints import Margins, margin
from sytorch.errors import Contradiction, ContradictionError, SolverFailedError, SolverTimeLimitError
from sytorch.held_constraints import ALLOWANCE, BoundRows, DualOperator, HeldConstraints, no_bounds
from sytorch.kronecker_metric import KroneckerMetric
from sytorch.linearise import LayerView
from sytorch.proportioning import Proportioning, largest_eigenvalue
from sytorch.solution import Effort, Solution
from sytorch.symbolic import AffineOutputs

SOFTNESS = (1e-3, 1e-5, 1e-7)
ELASTIC = 1e-9
ROUND_LIMIT = 50
PROBES = 3
GAP = 1e-8


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
        deadline = np.inf if time_limit is None else time.monotonic() + time_limit
        constraints = HeldConstraints(self.view, self.margins, self._slack(), no_bounds(), self.allowance)
        start, products = torch.zeros(len(constraints.required), dtype=torch.float64), 0
        for rounds in range(1, ROUND_LIMIT + 1):
            operator = DualOperator(constraints, self.metric.restricted(self.view))
            multipliers, used = self._multipliers(operator, start, deadline)
            products += used
            change = operator.change(multipliers)
            broken = self._broken(change, constraints.bounds)
            if not len(broken.units):
                effort = Effort(len(multipliers), change.numel(), rounds, products, 0, "proportioning")
                return self._solution(operator, multipliers, change, effort)
            constraints = constraints.with_bounds(broken)
            start = torch.cat([multipliers, torch.zeros(len(broken.units), dtype=torch.float64)])
        raise SolverFailedError(f"The bound on the change did not settle in {ROUND_LIMIT} rounds.")

    def _slack(self) -> dict[int, torch.Tensor]:
        pattern = self.view.pattern
        return {place: held.slack(pattern.values[place]) for place, held in pattern.held.items()} if self.hold else {}

    def _multipliers(self, operator: DualOperator, start: torch.Tensor, deadline: float) -> tuple[torch.Tensor, int]:
        """The dual's optimum, and how many products it took. Rows are scaled to a length near one."""
        lengths = _lengths(operator)
        scale = 1 / lengths
        norm = 1.1 * largest_eigenvalue(lambda vector: scale * operator(scale * vector), len(lengths))
        point, products = start * lengths, 0
        for elastic in (*(norm * share for share in SOFTNESS), ELASTIC):
            stage = _Stage(operator, lengths, scale, elastic, deadline)
            solver = Proportioning(stage.product, scale * operator.constraints.required, norm, point)
            done = solver.run(lambda u, slope: self._is_done(stage, u, slope))  # noqa: B023  used at once
            point, products = solver.point, products + solver.products
        if not done:
            raise SolverFailedError("The quadratic program's optimum is not reached in double precision.")
        return scale * point, products

    def _is_done(self, stage: _Stage, point: torch.Tensor, gradient: torch.Tensor) -> bool:
        """Whether a stage is over; raises where the multipliers refute the program."""
        if time.monotonic() > stage.deadline:
            raise SolverTimeLimitError("The time limit was reached.")
        constraints = stage.operator.constraints
        self._refute(constraints, stage.scale * point)
        square = float(point @ (gradient + stage.scale * constraints.required))
        if stage.elastic > ELASTIC:
            return bool(float(gradient.min()) >= -0.1 * stage.elastic * float(point.max())) and (
                abs(float(point @ gradient)) <= 0.1 * square
            )
        missed = (stage.elastic * point - gradient) * stage.lengths
        return bool((missed <= constraints.tolerances).all()) and abs(float(point @ gradient)) <= GAP * square

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


@dataclass(frozen=True, eq=False)
class _Stage:
    """The dual with rows scaled to a length near one, and softened: a row may be missed by ``elastic`` times its
    multiplier. The soft program is quick to solve and enough to refute most programs that have no solution."""

    operator: DualOperator
    lengths: torch.Tensor
    scale: torch.Tensor
    elastic: float
    deadline: float

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        return self.scale * self.operator(self.scale * vector) + self.elastic * vector


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


def _lengths(operator: DualOperator) -> torch.Tensor:
    """The typical length of each image's rows of each kind, (R,), from products with random signs (Hutchinson 1990).

    Never zero: a row that no change moves has to stay in sight, for it may be what cannot be met.
    """
    constraints = operator.constraints
    generator = torch.Generator().manual_seed(0)
    shapes = constraints.groups()
    squares = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    for place, shape in enumerate(shapes):
        if not shape.numel():
            continue
        for _ in range(PROBES):
            signs = [torch.zeros(other, dtype=torch.float64) for other in shapes]
            signs[place] = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
            answer = constraints.parts(operator(torch.cat([part.flatten() for part in signs])))[place]
            found = answer * signs[place]
            squares[place] += torch.maximum(found.mean(dim=-1, keepdim=True), 0.1 * found.mean()) / PROBES
    flat = torch.cat([square.flatten() for square in squares])
    return torch.where(flat > 0, flat, 1.0).sqrt()
