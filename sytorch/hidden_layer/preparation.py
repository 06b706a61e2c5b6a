"""The preparation: a hidden linear layer moves toward the margins by damped steps; little is left for the last one.

Each step is the least change in the layer's Kronecker metric that would give every margin that is missing if the
activation patterns of the edit images stayed as they are. They do not, so only a part of the step is taken, and the
next one starts anew. Steps go on while training images do not suffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from sytorch.metrics.kronecker import KroneckerMetric
from sytorch.network.layer_change import LayerChange
from sytorch.network.layer_view import LayerView
from sytorch.numerics.ascent import ascend
from sytorch.problem.deadline import Deadline

STEPS = 6
DAMPING = 0.4  # the part of each step that is taken
ITERATIONS = 200
ENOUGH = 0.1
TOLERATED = 1e-3  # a loss of training accuracy that is within the noise of ten thousand images
BATCH = 500


@dataclass(frozen=True)
class Effort:
    """The size of one step: the margins that were missing, and the iterations of its dual."""

    margins: int
    iterations: int


@dataclass(frozen=True, eq=False)
class Preparation:
    """What the steps did.

    Attributes:
        change: of the layer, float32.
        length: of the way there in the metric, the sum of the steps' sizes.
        steps: how many were taken.
        efforts: of the steps that were computed, the last of which may not have been taken.
    """

    change: LayerChange
    length: float
    steps: int
    efforts: list[Effort]


@dataclass(frozen=True, eq=False)
class MissingMargins:
    """The margins that are below the required one, as affine functions of the layer's change, R of them.

    Attributes:
        images: (R,), which image's.
        needed: (R,), how much each lacks.
        gradients: (R, m), in the layer's outputs.
    """

    images: torch.Tensor
    needed: torch.Tensor
    gradients: torch.Tensor

    def gram(self, inputs: torch.Tensor, metric: KroneckerMetric) -> torch.Tensor:
        """Inner products of the margins' gradients in the inverse metric, (R, R).

        Each is the product of one of gradients and one of inputs.

        Args:
            inputs: whitened, (N, k).
            metric: of the layer.
        """
        gram = torch.empty(len(self.images), len(self.images))
        gradients = metric.whitened_gradients(self.gradients[:, :, None])[:, :, 0]
        kernel = inputs @ inputs.T
        for start in range(0, len(gram), BATCH):
            rows = slice(start, start + BATCH)
            products = gradients[rows] @ gradients.T
            gram[rows] = products.mul_(kernel[self.images[rows]][:, self.images])
        return gram

    def constraint_gradients(self, multipliers: torch.Tensor, images: int) -> torch.Tensor:
        """The gradients, (N, m), of the margins' sum with these multipliers, (R,)."""
        gradients = torch.zeros(images, self.gradients.shape[1])
        return gradients.index_add_(0, self.images, self.gradients * multipliers[:, None])


@dataclass(frozen=True, eq=False)
class _Way:
    """How far the layer has moved: pushes that sum products with the same inputs, less what the bound cut off.

    Attributes:
        view: the layer, (m, k), before.
        solved: (R, k), what the view's inputs are in the inverse metric.
        bound: no entry of the change gets larger.
        moved: (m, k), the change.
        pushed: (m, R), what was pushed of each of ``solved``.
        columns: (L,), those that the bound cut something from.
        cut: (m, L), what.
    """

    view: LayerView
    solved: torch.Tensor
    bound: float
    moved: torch.Tensor
    pushed: torch.Tensor
    columns: torch.Tensor
    cut: torch.Tensor

    @classmethod
    def start(cls, view: LayerView, solved: torch.Tensor, bound: float) -> _Way:
        """Nothing is moved yet."""
        units = len(view.units)
        moved, pushed, cut = (torch.zeros(units, width) for width in (view.inputs.shape[2], len(solved), 0))
        return cls(view, solved, bound, moved, pushed, torch.zeros(0, dtype=torch.int64), cut)

    def further(self, push: torch.Tensor) -> _Way:
        """A push, (m, R), further."""
        limits = self.bound * self.view.scales.float()
        wanted = torch.addmm(self.moved, push, self.solved)
        moved = torch.clamp(wanted, -limits, limits)
        [columns] = torch.nonzero((moved != wanted).any(dim=0), as_tuple=True)
        cut = moved[:, columns] - wanted[:, columns]
        return replace(
            self,
            moved=moved,
            pushed=self.pushed + push,
            columns=torch.cat([self.columns, columns]),
            cut=torch.cat([self.cut, cut], dim=1),
        )

    @functools.cached_property
    def change(self) -> LayerChange:
        """The change of all the layer's weights."""
        most = largest_within(self.bound)
        whole = self.view.layer_change(self.moved).float().clamp(-most, most)
        cut_from = nn.functional.one_hot(self.columns, self.moved.shape[1]).float()
        right = self.view.folding.unfold(torch.cat([self.solved, cut_from])).float()
        return LayerChange(whole, (torch.cat([self.pushed, self.cut], dim=1), right))


def prepare(
    view: LayerView,
    labels: torch.Tensor,
    metric: KroneckerMetric,
    *,
    margin: float,
    bound: float,
    training_accuracy: Callable[[LayerChange], float],
    deadline: Deadline | None = None,
) -> Preparation:
    """The change of the layer's weight and bias after all steps; nothing is changed.

    Args:
        view: the whole hidden layer, a linear one, as the edit images see it, float32.
        labels: int64, (N,).
        metric: of the layer.
        margin: the required one.
        bound: no entry of the change gets larger.
        training_accuracy: of the network with a change of the layer; a step that makes it worse is not taken.
        deadline: looked at before each step.

    Raises:
        SolverTimeLimitError: the time is up.
    """
    deadline = deadline or Deadline()
    solved = metric.solved_inputs(view.inputs.double()).float()  # A is too ill conditioned for float32
    metric = metric.to(view.inputs.dtype)
    whitened = metric.whitened_inputs(view.inputs[:, 0])
    way, length, now, efforts = _Way.start(view, solved, bound), 0.0, view, list[Effort]()
    least = training_accuracy(way.change)
    for taken in range(STEPS):
        deadline.check()
        margins = missing_margins(now, labels, margin)
        if not len(margins.needed):
            return Preparation(way.change, length, taken, efforts)
        gram = margins.gram(whitened, metric)
        multipliers, iterations = ascend(gram, margins.needed, ENOUGH * margin, ITERATIONS)
        efforts.append(Effort(len(margins.needed), iterations))
        push = metric.raised_gradients(margins.constraint_gradients(multipliers, len(labels))[:, :, None])
        following = way.further(DAMPING * push)
        if training_accuracy(following.change) < least - TOLERATED:
            return Preparation(way.change, length, taken, efforts)
        length += DAMPING * float((multipliers @ gram @ multipliers).clamp(min=0.0).sqrt())
        way, now = following, view.after(following.moved)
    return Preparation(way.change, length, STEPS, efforts)


def largest_within(bound: float) -> float:
    """The largest float32 that is no larger than a bound."""
    nearest = torch.tensor(bound, dtype=torch.float32)
    return float(nearest if float(nearest) <= bound else torch.nextafter(nearest, torch.zeros(())))


def missing_margins(view: LayerView, labels: torch.Tensor, margin: float) -> MissingMargins:
    """The margins below the required one, linearised where the view is."""
    logits = view.logits
    needed = margin - (logits.gather(1, labels[:, None]) - logits)
    needed.scatter_(1, labels[:, None], 0.0)
    images, others = torch.nonzero(needed > 0, as_tuple=True)
    one_hot = nn.functional.one_hot(torch.arange(logits.shape[1])).to(logits.dtype)
    toward = one_hot[labels[images]] - one_hot[others]
    gradients = [
        view.gradients({view.pattern.end: part}, owners)
        for part, owners in zip(torch.split(toward, BATCH), torch.split(images, BATCH), strict=True)
    ]
    return MissingMargins(images, needed[images, others], torch.cat(gradients)[:, :, 0])
