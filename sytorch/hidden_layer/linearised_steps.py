"""A layer moved until the margins hold, by damped steps that each linearise anew: patterns may change on the way.

Each step heads for the least change in the metric that would reach the margins if the patterns stayed as they are (a
Gauss-Newton step of sequential quadratic programming; Nocedal and Wright 2006, chapter 18). They do not, so the step is
cut until the network itself misses less. Nothing is proved: the forward pass is the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import nn

from sytorch.metrics.kronecker import KroneckerMetric
from sytorch.network.layer_view import LayerView
from sytorch.numerics.newton import DenseRows, beginning, soften
from sytorch.problem.checks import checked_bound, checked_labels, checked_sizes
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import SolverFailedError

STEP_LIMIT = 40
SHARES = (1.0, 0.6, 0.4, 0.25, 0.12, 0.05, 0.02, 0.005)
WORTH = 0.3
AHEAD = 0.02
ELASTIC = 1e-8


def logit_gram(gradients: torch.Tensor, whitened: torch.Tensor, metric: KroneckerMetric) -> torch.Tensor:
    """Between all logits of all images, (N * C, N * C).

    Args:
        gradients: (N, C, m, P), of the logits in the layer's outputs.
        whitened: (N, P, k), the layer's inputs, whitened.
        metric: of the layer.
    """
    count, classes, units, pixels = gradients.shape
    rows = metric.whitened_gradients(gradients.flatten(0, 1)).view(gradients.shape)
    flat = rows.flatten(2)
    gram = torch.zeros(count, classes, count, classes, dtype=gradients.dtype)
    for image in range(count):
        kernels = whitened @ whitened[image].T
        seen = rows[image].reshape(classes * units, pixels) @ kernels.transpose(1, 2)
        gram[:, :, image] = flat @ seen.view(count, classes, units * pixels).transpose(1, 2)
    return gram.view(count * classes, count * classes)


@dataclass(frozen=True, eq=False)
class Relinearised:
    """A change that the forward pass, in float64, gives the margins.

    Attributes:
        change: (outputs, n + 1) float64, of the layer's weight and, last, its bias.
        size: in the metric.
        steps: how many were taken.
    """

    change: torch.Tensor
    size: float
    steps: int


@dataclass(frozen=True, eq=False)
class _Job:
    """What is moved, and toward what."""

    start: LayerView
    labels: torch.Tensor
    size: float
    metric: KroneckerMetric
    deadline: Deadline

    def view(self, change: torch.Tensor) -> LayerView:
        """The layer after a change.

        Raises:
            SolverTimeLimitError: the time is up.
        """
        self.deadline.check()
        return self.start.after(change)

    def missing(self, view: LayerView) -> float:
        """What the margins miss together."""
        return float(shortfall(view.logits, self.labels, self.size).sum())


def relinearise(
    view: LayerView,
    labels: ArrayLike | torch.Tensor,
    size: float,
    *,
    metric: KroneckerMetric,
    bound: float,
    time_limit: float | Deadline | None = None,
) -> Relinearised:
    """Move the layer of a view until every image has the margin ``size``.

    Args:
        view: the layer as the images see it.
        labels: (N,).
        size: of the margins.
        metric: of the layer.
        bound: on every entry of the change.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        InvalidInputError: labels, margin, bound or metric are not what they have to be.
        SolverFailedError: the steps stop making progress before that.
        SolverTimeLimitError: the time is up.
    """
    own = torch.from_numpy(checked_labels(labels, *view.logits.shape))
    (least,), bound = checked_sizes([size], 1), checked_bound(bound)
    job = _Job(view, own, float(least), metric.restricted(view), as_deadline(time_limit))
    change = torch.zeros(len(view.units), view.inputs.shape[2], dtype=torch.float64)
    for steps in range(STEP_LIMIT):
        job.deadline.check()
        if job.missing(view) == 0.0:
            return Relinearised(view.layer_change(change).clamp(-bound, bound), job.metric.size(change), steps)
        change, view = _cut(job, view, change, _step(job, view), bound * view.scales)
    raise SolverFailedError(f"The margins are not reached in {STEP_LIMIT} steps that linearise anew.")


def shortfall(logits: torch.Tensor, labels: torch.Tensor, size: float) -> torch.Tensor:
    """By how much the own logit's margin over each other is below ``size``, (N, C); zero where it is not."""
    own = logits.gather(1, labels[:, None])
    return (size - (own - logits)).clamp(min=0.0).scatter(1, labels[:, None], 0.0)


def _step(job: _Job, view: LayerView) -> torch.Tensor:
    """The least further change that reaches the margins if patterns stay as they now are."""
    gradients = view.logit_gradients()
    gram = logit_gram(gradients, job.metric.whitened_inputs(view.inputs), job.metric)
    own = nn.functional.one_hot(job.labels, gradients.shape[1]).double()
    weights = _least_weights(
        gram,
        own,
        (1 + AHEAD) * job.size * (1 - own) - _margins(view.logits, own),
        AHEAD * job.size / 2,
        lambda _: job.deadline.check(),
    )
    return job.metric.dual_change(torch.einsum("nc,ncmp->nmp", weights, gradients), view.inputs)


def _margins(logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The margin of the own logit over each other, (N, C)."""
    return ((logits * own).sum(dim=1, keepdim=True) - logits) * (1 - own)


def _least_weights(
    gram: torch.Tensor, own: torch.Tensor, needed: torch.Tensor, enough: float, watch: Callable[[torch.Tensor], None]
) -> torch.Tensor:
    """The weights of the logits' gradients in the least change that raises all margins as needed, up to ``enough``."""

    logits, first = torch.eye(own.numel(), dtype=torch.float64), torch.nonzero(own.flatten())[:, 0]
    rows = (logits[first].repeat_interleave(own.shape[1], dim=0) - logits)[own.flatten() == 0]
    products = rows @ gram @ rows.T
    margins = DenseRows(products, needed[own == 0])
    elastic = torch.full_like(margins.required, ELASTIC * max(float(products.diagonal().max()), 1e-300))
    point, _ = soften(margins, elastic, beginning(margins), torch.full_like(elastic, enough), watch)
    weights: torch.Tensor = point.weights @ rows
    return weights.view(needed.shape)


def _cut(
    job: _Job, view: LayerView, change: torch.Tensor, step: torch.Tensor, limits: torch.Tensor
) -> tuple[torch.Tensor, LayerView]:
    """The change after the first of ever shorter steps to make the network miss clearly less, else after the best."""
    missing, best = job.missing(view), (torch.inf, change, view)
    for share in SHARES:
        candidate = torch.minimum(torch.maximum(change + share * step, -limits), limits)
        found = job.view(candidate)
        best = min(best, (job.missing(found), candidate, found), key=lambda step: step[0])
        if best[0] <= (1 - WORTH * share) * missing:
            break
    if best[0] >= missing:
        raise SolverFailedError("The steps that linearise anew no longer bring the margins nearer.")
    return best[1], best[2]
