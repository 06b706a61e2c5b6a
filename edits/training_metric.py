"""The metric of the last layer: how much a change of it moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from helpers.activations import linear_logits, read_array, write_array
from helpers.errors import UsageError
from sytorch import SecondMomentMetric, second_moment_metric
from sytorch.kronecker_metric import softmax_curvature


@dataclass(frozen=True, eq=False)
class MetricSample:
    """Training images as a layer sees them.

    Attributes:
        inputs: (R, n), what the layer gets.
        labels: (R,).
        shares: (R,), how many images of the training split each stands for.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    shares: NDArray[np.float64]


def training_metric(
    layer: nn.Module,
    source: Callable[[], MetricSample],
    ridge: float,
    cache: Path | None,
) -> SecondMomentMetric:
    """The second moment of the last layer's inputs over training images.

    Images that the network gets right count, each as much as its answer can still change: by the trace of the softmax's
    curvature. Moving the logits of an image that the network is sure of, or gets wrong, costs no accuracy.

    Args:
        layer: the last layer.
        source: gives what it gets from training images.
        ridge: relative to the mean of the diagonal.
        cache: the file that keeps the metric's factor, or None.
    """
    factor = None if cache is None else read_array(cache)
    if factor is not None:
        return SecondMomentMetric(np.asarray(factor, dtype=np.float64))
    sample, parameters = source(), layer.state_dict()
    logits = linear_logits(sample.inputs, parameters["weight"], parameters["bias"])
    weights = softmax_curvature(logits).numpy() * (logits.argmax(dim=1).numpy() == sample.labels) * sample.shares
    check_some_right(float(weights.sum()))
    metric = second_moment_metric(second_moment(sample.inputs, weights), ridge)
    if cache is not None:
        write_array(cache, metric.factor)
    return metric


def check_some_right(weight: float) -> None:
    """Raise `UsageError` where no training image counts."""
    if not weight > 0:
        raise UsageError(
            "The network gets no training image right, so there is no training metric; use --metric identity."
        )


def second_moment(inputs: NDArray[np.float32], weights: NDArray[np.float64], block: int = 1000) -> NDArray[np.float64]:
    """The weighted mean of ``h h^T``, (n + 1, n + 1), of the inputs (N, n) with a 1 appended.

    Products are of float32, sums of blocks of float64: the error is far below any ridge.
    """
    total = np.zeros((inputs.shape[1] + 1,) * 2)
    roots = np.sqrt(weights).astype(np.float32)
    for start in range(0, len(inputs), block):
        part = np.asarray(inputs[start : start + block])
        part = np.hstack([part, np.ones((len(part), 1), dtype=np.float32)]) * roots[start : start + block, None]
        total += part.T @ part
    return np.asarray(total / weights.sum())
