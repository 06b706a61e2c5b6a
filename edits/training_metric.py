"""The metric of the last layer: how much a change of it moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    source: Callable[[], Iterable[MetricSample]],
    ridge: float,
    cache: Path | None,
) -> SecondMomentMetric:
    """The second moment of the last layer's inputs over training images.

    Images that the network gets right count, each as much as its answer can still change: by the trace of the softmax's
    curvature. Moving the logits of an image that the network is sure of, or gets wrong, costs no accuracy.

    Args:
        layer: the last layer.
        source: gives what it gets from training images, some at a time.
        ridge: relative to the mean of the diagonal.
        cache: the file that keeps the metric's factor, or None.
    """
    factor = None if cache is None else read_array(cache)
    if factor is not None:
        return SecondMomentMetric(np.asarray(factor, dtype=np.float64))
    moment, weight = np.zeros(()), 0.0
    for sample in source():
        weights = _weights(layer, sample)
        moment, weight = moment + weighted_products(sample.inputs, weights), weight + float(weights.sum())
    check_some_right(weight)
    metric = second_moment_metric(moment / weight, ridge)
    if cache is not None:
        write_array(cache, metric.factor)
    return metric


def _weights(layer: nn.Module, sample: MetricSample) -> NDArray[np.float64]:
    logits = linear_logits(sample.inputs, layer.get_parameter("weight"), layer.get_parameter("bias"))
    is_right = logits.argmax(dim=1).numpy() == sample.labels
    return np.asarray(softmax_curvature(logits).numpy() * is_right * sample.shares)


def check_some_right(weight: float) -> None:
    """Raise `UsageError` where no training image counts."""
    if not weight > 0:
        raise UsageError(
            "The network gets no training image right, so there is no training metric; use --metric identity."
        )


def weighted_products(
    inputs: NDArray[np.float32], weights: NDArray[np.float64], block: int = 4000
) -> NDArray[np.float64]:
    """The weighted sum of ``h h^T``, (n + 1, n + 1), of the inputs (N, n) with a 1 appended.

    Products are of float32, sums of blocks of float64: the error is far below any ridge.
    """
    total = np.zeros((inputs.shape[1] + 1,) * 2)
    roots = np.sqrt(weights).astype(np.float32)
    for start in range(0, len(inputs), block):
        part = np.asarray(inputs[start : start + block])
        part = np.hstack([part, np.ones((len(part), 1), dtype=np.float32)]) * roots[start : start + block, None]
        total += part.T @ part
    return total
