"""A layer moved until the margins hold, by damped steps that each linearise anew: patterns may change on the way.

Each step heads for the least change in the metric that would reach the margins if the patterns stayed as they are (a
Gauss-Newton step of sequential quadratic programming; Nocedal and Wright 2006, chapter 18). They do not, so the step is
cut until the network itself misses less. Nothing is proved: the forward pass is the judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from sytorch.metrics.kronecker import KroneckerMetric, check_kind
from sytorch.network.layer_view import LayerView
from sytorch.numerics.newton import DenseRows, Point, beginning, soften
from sytorch.problem.answer import Answer
from sytorch.problem.arrays import Indices, Matrix
from sytorch.problem.checks import checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import SolverFailedError
from sytorch.problem.margins import Requirements
from sytorch.problem.outputs import AffineOutputs
from sytorch.problem.solution import Effort, Multipliers, Solution

STEP_LIMIT = 40
SHARES = (1.0, 0.6, 0.4, 0.25, 0.12, 0.05, 0.02, 0.005)
WORTH = 0.3
AHEAD = 0.02
ELASTIC = (1e-2, 1e-4, 1e-6, 1e-8)  # of the largest product


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
    if pixels == 1:
        kernel = (whitened[:, 0] @ whitened[:, 0].T).repeat_interleave(classes, 0).repeat_interleave(classes, 1)
        return (flat.flatten(0, 1) @ flat.flatten(0, 1).T) * kernel
    gram = torch.zeros(count, classes, count, classes, dtype=gradients.dtype)
    for image in range(count):
        kernels = whitened @ whitened[image].T
        seen = rows[image].reshape(classes * units, pixels) @ kernels.transpose(1, 2)
        gram[:, :, image] = flat @ seen.view(count, classes, units * pixels).transpose(1, 2)
    return gram.view(count * classes, count * classes)


@dataclass(frozen=True, eq=False)
class _Job:
    """What is moved, and toward what."""

    start: LayerView
    margins: Requirements
    ahead: float
    metric: KroneckerMetric
    deadline: Deadline

    def view(self, change: torch.Tensor) -> LayerView:
        """The layer after a change.

        Raises:
            SolverTimeLimitError: the time is up.
        """
        self.deadline.check()
        return self.start.after(change)

    def required(self, view: LayerView) -> Matrix:
        """By how much each constraint is to rise from a view on, (N, R)."""
        return self.margins.posed(AffineOutputs(view.logits.numpy(), self.margins.outputs.inputs)).required

    def missing(self, view: LayerView) -> float:
        """What the constraints miss together."""
        return float(self.required(view).clip(min=0.0).sum())


def relinearise(
    view: LayerView,
    margins: Requirements,
    scale: float,
    *,
    metric: KroneckerMetric,
    bound: float,
    time_limit: float | Deadline | None = None,
) -> Answer:
    """Move the layer of a view until its images have what is required, by the forward pass in float64.

    The solution has no multipliers, and zero for a lower bound.

    Args:
        view: the layer as the images see it.
        margins: what is required of its `affine_outputs`.
        scale: what is much of them; each step asks for a small part of it beyond what is required.
        metric: of the layer.
        bound: on every entry of the change.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        InvalidInputError: bound or metric are not what they have to be.
    """
    bound = checked_bound(bound)
    check_kind(metric)
    job = _Job(view, margins, AHEAD * scale, metric.restricted(view), as_deadline(time_limit))
    return Answer.of(lambda: _solution(job, bound))


def _solution(job: _Job, bound: float) -> Solution:
    view = job.start
    change = torch.zeros(len(view.units), view.inputs.shape[2], dtype=torch.float64)
    for steps in range(STEP_LIMIT):
        job.deadline.check()
        if job.missing(view) == 0.0:
            found = view.layer_change(change).clamp(-bound, bound).numpy()
            effort = Effort(columns=found.size, programs=steps, solver="steps that linearise anew")
            return Solution(found, job.metric.size(change), 0.0, Multipliers.none(), "relinearised", effort)
        change, view = _moved(job, view, change, bound * view.scales)
    raise SolverFailedError(f"The margins are not reached in {STEP_LIMIT} steps that linearise anew.")


def _moved(job: _Job, view: LayerView, change: torch.Tensor, limits: torch.Tensor) -> tuple[torch.Tensor, LayerView]:
    """The change after a step by which the network misses less: the full one, or a softer one that asks for less."""
    for step in _steps(job, view):
        if found := _cut(job, view, change, step, limits):
            return found
    raise SolverFailedError("The steps that linearise anew no longer bring the margins nearer.")


def _steps(job: _Job, view: LayerView) -> Iterator[torch.Tensor]:
    """The least further change that reaches the margins if patterns stay as they now are; then ever softer ones.

    A softer step pays for what it misses instead of reaching everything (Levenberg 1944; Marquardt 1963).
    """
    gradients, required = view.logit_gradients(), job.required(view)
    gram = logit_gram(gradients, job.metric.whitened_inputs(view.inputs), job.metric)
    images, places = np.nonzero(np.isfinite(required))
    rows = _rows(job.margins, images, places)
    products = torch.from_numpy(rows @ (rows @ gram.numpy()).T)
    constraints = DenseRows(products, torch.from_numpy(required[images, places]) + job.ahead)
    for multipliers in reversed(_multipliers(job, constraints)):
        weights = torch.from_numpy(rows.T @ multipliers.numpy()).view(view.logits.shape)
        yield job.metric.dual_change(torch.einsum("nc,ncmp->nmp", weights, gradients), view.inputs)


def _multipliers(job: _Job, constraints: DenseRows) -> list[torch.Tensor]:
    """Those of softened programs, (R,) each, the softest first: where one ends the next begins, which saves time."""
    scale, found = max(float(constraints.products.diagonal().max()), 1e-300), []
    point, enough = beginning(constraints), torch.full_like(constraints.required, job.ahead / 2)
    for elastic in ELASTIC:
        softness = torch.full_like(constraints.required, elastic * scale)
        point, _ = soften(constraints, softness, point, enough, lambda _: job.deadline.check())
        point = Point(point.weights, constraints.required - constraints.scores(point.weights))
        found.append(point.weights)
    return found


def _rows(margins: Requirements, images: Indices, places: Indices) -> sparse.csr_array:
    """The weights that chosen constraints, (R,), have of all images' logits, (R, N * C)."""
    weights = margins.weights_of(images, places)
    rows, classes = np.nonzero(weights)
    columns = images[rows] * margins.classes + classes
    shape = len(images), len(margins.required) * margins.classes
    return sparse.csr_array((weights[rows, classes], (rows, columns)), shape=shape)


def _cut(
    job: _Job, view: LayerView, change: torch.Tensor, step: torch.Tensor, limits: torch.Tensor
) -> tuple[torch.Tensor, LayerView] | None:
    """The change after the first of ever shorter steps to make the network miss clearly less, else after the best.

    None where none makes it miss less.
    """
    missing, best = job.missing(view), (torch.inf, change, view)
    for share in SHARES:
        candidate = torch.minimum(torch.maximum(change + share * step, -limits), limits)
        found = job.view(candidate)
        best = min(best, (job.missing(found), candidate, found), key=lambda step: step[0])
        if best[0] <= (1 - WORTH * share) * missing:
            break
    return None if best[0] >= missing else (best[1], best[2])
