"""The closed form of ROME and MEMIT at the last layer: the least change in a metric that gives exact target logits.

``D = R^T K^-1 H M^-1``, with ``H`` the edit images' inputs, ``K = H M^-1 H^T`` and ``R`` what the logits lack of their
targets: ROME's constrained least squares (Meng et al., "Locating and Editing Factual Associations in GPT", 2022) for
many edits at once (Gupta et al., "A Unified Framework for Model Editing", 2024). Nothing bounds the change, and every
target is met with equality, wanted or not.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from benchmarks.opponents.case import Attempt, Case, Timer, last_layer_state
from edits.options import RepairOptions
from sytorch import Metric, margin
from sytorch.problem.arrays import Matrix

JITTER = 1e-10


def closed_form(case: Case) -> Attempt:
    """Targets are the nearest logits that have the margin; the metric is the default one of this toolkit's repairs."""
    metric, outputs = case.bench.metric(RepairOptions()), case.outputs
    timer = Timer()
    wanted = least_movement(margin(outputs, case.edit_set.labels.numpy(), case.safe_margin).required)
    change = least_squares_change(outputs.inputs, wanted, metric)
    state = last_layer_state(case, torch.from_numpy(change))
    return Attempt(state, timer.seconds, message="no guarantee; the change has no bound")


def least_squares_change(inputs: Matrix, wanted: Matrix, metric: Metric) -> Matrix:
    """The least change ``D``, (C, d), in the metric that moves the outputs by ``wanted``, (N, C).

    Args:
        inputs: (N, d), what the layer sees. Repeated rows get the mean of what they want.
        wanted: (N, C).
        metric: where the size is taken.
    """
    pulled = metric.solved(inputs)[0].T
    kernel = inputs @ pulled
    kernel[np.diag_indices_from(kernel)] += JITTER * np.trace(kernel) / len(kernel)
    return np.asarray((pulled @ cho_solve(cho_factor(kernel, lower=True), wanted)).T)


def least_movement(required: Matrix) -> Matrix:
    """The smallest movement of each image's logits, (N, C), Euclidean, after which every margin is what it must be.

    The own logit rises by a, every other falls by what is then still missing of its margin. The sum of what falls is a,
    so that a is ``(r_1 + ... + r_k) / (k + 1)`` for the k largest requirements, at the k where that is largest.

    Args:
        required: (N, C), by how much each margin has to grow; minus infinity at the own class.
    """
    descending = -np.sort(-required, axis=1)[:, :-1]
    counts = np.arange(1, descending.shape[1] + 1)
    rise = np.maximum((np.cumsum(descending, axis=1) / (counts + 1)).max(axis=1), 0.0)
    movement = -np.maximum(required - rise[:, None], 0.0)
    return np.asarray(np.where(np.isfinite(required), movement, rise[:, None]))
