"""The metric of the last layer: how much a change of it moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from helpers.activations import linear_logits, read_array, write_array
from sytorch import SecondMomentMetric, second_moment_metric
from sytorch.kronecker_metric import softmax_curvature


def training_metric(
    layer: nn.Module, inputs: Callable[[], NDArray[np.float32]], ridge: float, cache: Path | None
) -> SecondMomentMetric:
    """The second moment of the last layer's inputs over training images.

    Each image counts as much as its answer can still change: by the trace of the softmax's curvature. Moving the logits
    of an image that the network is sure of costs no accuracy.

    Args:
        layer: the last layer.
        inputs: gives what it gets from training images, (R, n).
        ridge: relative to the mean of the diagonal.
        cache: the file that keeps the metric's factor, or None.
    """
    factor = None if cache is None else read_array(cache)
    if factor is not None:
        return SecondMomentMetric(np.asarray(factor, dtype=np.float64))
    seen, parameters = inputs(), layer.state_dict()
    doubts = softmax_curvature(linear_logits(seen, parameters["weight"], parameters["bias"])).numpy()
    metric = second_moment_metric(second_moment(seen, doubts), ridge)
    if cache is not None:
        write_array(cache, metric.factor)
    return metric


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
