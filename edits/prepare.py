"""Stage one: move a hidden layer toward the margins by damped steps, so that little is left for the last layer.

Each step is the least change in the layer's Kronecker metric that would give every lead that is missing if the
activation patterns of the edit images stayed as they are. They do not, so only a part of the step is taken, and the
next one starts anew. Steps go on while training images do not suffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from edits.kronecker import KroneckerMetric
from edits.tail import append_ones, linearised
from sytorch.ascent import ascend

STEPS = 6
DAMPING = 0.4
ITERATIONS = 200
ENOUGH = 0.1
TOLERATED = 1e-3  # a loss of training accuracy that is within the noise of ten thousand images


@dataclass(frozen=True)
class Effort:
    """The size of one step: the leads that were missing, and the iterations of its dual."""

    leads: int
    iterations: int


@dataclass(frozen=True, eq=False)
class Preparation:
    """What stage one did.

    Attributes:
        change: of the layer's weight and bias, (m, n + 1) float32.
        length: of the way there in the metric, the sum of the steps' sizes.
        steps: how many were taken.
        efforts: of the steps that were computed, the last of which may not have been taken.
    """

    change: torch.Tensor
    length: float
    steps: int
    efforts: list[Effort]


@dataclass(frozen=True, eq=False)
class MissingLeads:
    """The leads of own logits that are below the margin, as affine functions of the layer's change, R of them.

    Attributes:
        images: (R,), which image's.
        needed: (R,), how much each lacks.
        gradients: (R, m), in the layer's outputs.
        solved: (R, m), ``G^-1`` of the gradients.
    """

    images: torch.Tensor
    needed: torch.Tensor
    gradients: torch.Tensor
    solved: torch.Tensor

    def gram(self, kernel: torch.Tensor) -> torch.Tensor:
        """Inner products of the leads' gradients in the inverse metric, (R, R); ``kernel`` is ``H A^-1 H^T``."""
        gram = self.solved @ self.gradients.T
        for rows, images in zip(torch.split(gram, 500), torch.split(self.images, 500), strict=True):
            rows.mul_(kernel[images][:, self.images])
        return gram

    def change(self, multipliers: torch.Tensor, solved_inputs: torch.Tensor) -> torch.Tensor:
        """The change, (m, n + 1), that belongs to multipliers, (R,); ``solved_inputs`` is ``A^-1 H``."""
        pushed = torch.zeros(len(solved_inputs), self.solved.shape[1])
        pushed.index_add_(0, self.images, self.solved * multipliers[:, None])
        return pushed.T @ solved_inputs


def prepare(
    layer: nn.Linear,
    modules: list[nn.Module],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    metric: KroneckerMetric,
    *,
    margin: float,
    bound: float,
    training_accuracy: Callable[[torch.Tensor], float],
    steps: int = STEPS,
    damping: float = DAMPING,
) -> Preparation:
    """The change of the layer's weight and bias after all steps; nothing is changed.

    Args:
        layer: the hidden layer.
        modules: what follows it, up to the logits.
        inputs: of the edit images, (N, n).
        labels: int64, (N,).
        metric: of the layer.
        margin: the lead that the steps go for.
        bound: no entry of the change gets larger.
        training_accuracy: of the network with a change of the layer; a step that makes it worse is not taken.
        steps: at most so many.
        damping: the part of each step that is taken.
    """
    extended = append_ones(inputs)
    solved_inputs = metric.solve_inputs(extended)
    kernel = extended @ solved_inputs.T
    base = torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach()
    change, length = torch.zeros_like(base), 0.0
    least = training_accuracy(change)
    efforts: list[Effort] = []
    for taken in range(steps):
        leads = missing_leads(modules, extended @ (base + change).T, labels, margin, metric)
        if not len(leads.needed):
            return Preparation(change, length, taken, efforts)
        gram = leads.gram(kernel)
        multipliers, iterations = ascend(gram, leads.needed, ENOUGH * margin, ITERATIONS)
        efforts.append(Effort(len(leads.needed), iterations))
        following = (change + damping * leads.change(multipliers, solved_inputs)).clamp(-bound, bound)
        if training_accuracy(following) < least - TOLERATED:
            return Preparation(change, length, taken, efforts)
        length += damping * float((multipliers @ gram @ multipliers).clamp(min=0.0).sqrt())
        change = following
    return Preparation(change, length, steps, efforts)


def missing_leads(
    modules: list[nn.Module], values: torch.Tensor, labels: torch.Tensor, margin: float, metric: KroneckerMetric
) -> MissingLeads:
    """The leads below the margin where the layer's outputs are ``values``, (N, m), linearised there."""
    logits, gradients = linearised(modules, values)
    needed = margin - (logits.gather(1, labels[:, None]) - logits)
    needed.scatter_(1, labels[:, None], 0.0)
    images, others = torch.nonzero(needed > 0, as_tuple=True)
    toward = gradients[images, labels[images]] - gradients[images, others]
    return MissingLeads(images, needed[images, others], toward, toward @ metric.outputs_inverse)
