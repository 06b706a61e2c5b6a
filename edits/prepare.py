"""Stage one: move a hidden layer toward the margins by damped steps, so that little is left for the last layer.

Each step is the least change in the layer's Kronecker metric that would reach the margins if the activation patterns of
the edit images stayed as they are. They do not, so only a part of the step is taken, and the next one starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edits.kronecker import KroneckerMetric
from edits.tail import linearised

STEPS = 4
DAMPING = 0.4
ITERATIONS = 60
ENOUGH = 0.1


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The edit images' margins as an affine function of the layer's change, and the metric's kernel between them.

    Attributes:
        labels: (N,).
        needed: (N, C), what each lead of the own logit lacks; the own class's column is zero.
        gradients: (N, C, m), of the logits in the layer's outputs.
        kernel: (N, N), ``H A^-1 H^T``.
        outputs_inverse: (m, m), ``G^-1``.
    """

    labels: torch.Tensor
    needed: torch.Tensor
    gradients: torch.Tensor
    kernel: torch.Tensor
    outputs_inverse: torch.Tensor

    def spread(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The gradient in the layer's outputs, (N, m), of the weighted leads."""
        weights = -multipliers
        weights[torch.arange(len(weights)), self.labels] += multipliers.sum(dim=1)
        return torch.bmm(weights[:, None], self.gradients)[:, 0]

    def leads(self, multipliers: torch.Tensor) -> torch.Tensor:
        """How far the change that belongs to the multipliers raises each lead, (N, C)."""
        moved = self.kernel @ self.spread(multipliers) @ self.outputs_inverse
        logits = torch.bmm(self.gradients, moved[:, :, None])[:, :, 0]
        return logits.gather(1, self.labels[:, None]) - logits


def prepare(
    layer: nn.Linear,
    modules: list[nn.Module],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    metric: KroneckerMetric,
    *,
    margin: float,
    bound: float,
) -> torch.Tensor:
    """The change of the layer's weight and bias, (m, n + 1) float32, after all steps; nothing is changed.

    Args:
        layer: the hidden layer.
        modules: what follows it, up to the logits.
        inputs: of the edit images, (N, n).
        labels: int64, (N,).
        metric: of the layer.
        margin: the lead that the steps go for.
        bound: no entry of the change gets larger.
    """
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solved = metric.solve_inputs(extended)
    kernel = extended @ solved.T
    base = torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach()
    change = torch.zeros_like(base)
    for _ in range(STEPS):
        logits, gradients = linearised(modules, extended @ (base + change).T)
        needed = margin - (logits.gather(1, labels[:, None]) - logits)
        needed.scatter_(1, labels[:, None], 0.0)
        problem = Linearisation(labels, needed, gradients, kernel, metric.outputs_inverse)
        multipliers = least_multipliers(problem, ENOUGH * margin)
        step = (problem.spread(multipliers) @ metric.outputs_inverse).T @ solved
        change = (change + DAMPING * step).clamp(-bound, bound)
    return change


def least_multipliers(problem: Linearisation, enough: float) -> torch.Tensor:
    """Multipliers, (N, C), of the least change that reaches the margins up to ``enough``.

    The dual is a quadratic over nonnegative multipliers: accelerated projected gradient with restarts (Beck and
    Teboulle 2009; O'Donoghue and Candès 2015).
    """
    rate = 1.0 / _largest_eigenvalue(problem)
    others = torch.ones_like(problem.needed).scatter_(1, problem.labels[:, None], 0.0)
    current = ahead = torch.zeros_like(problem.needed)
    momentum = 1.0
    for _ in range(ITERATIONS):
        missing = problem.needed - problem.leads(ahead)
        if float((missing * others).max()) <= enough:
            return ahead
        following = (ahead + rate * missing).clamp(min=0.0) * others
        if float(((ahead - following) * (following - current)).sum()) > 0:
            momentum = 1.0
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = (following + (momentum - 1) / next_momentum * (following - current)).clamp(min=0.0)
        current, momentum = following, next_momentum
    return current


def _largest_eigenvalue(problem: Linearisation, iterations: int = 8) -> float:
    """Of the map from multipliers to leads, by the power method, a tenth too large to be safe."""
    vector = torch.ones_like(problem.needed).scatter_(1, problem.labels[:, None], 0.0)
    largest = 1.0
    for _ in range(iterations):
        vector = problem.leads(vector)
        largest = float(vector.norm())
        vector = vector / largest
    return 1.1 * largest
