"""The metric of the last layer: how much a change of it moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from helpers.activations import linear_logits, read_array, write_array
from helpers.errors import UsageError
from sytorch import PerClassMetric, SecondMomentMetric, second_moment_metric
from sytorch.kronecker_metric import softmax_curvature

NEGLIGIBLE = 1e-5


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
    [factor] = _factors(layer, source, lambda logits: softmax_curvature(logits)[:, None], ridge, cache)
    return SecondMomentMetric(factor)


def per_class_metric(
    layer: nn.Module,
    source: Callable[[], Iterable[MetricSample]],
    ridge: float,
    cache: Path | None,
) -> PerClassMetric:
    """The same for each class by itself: an image counts by the softmax's curvature in that class's logit."""
    return PerClassMetric(tuple(map(SecondMomentMetric, _factors(layer, source, _curvatures, ridge, cache))))


def _curvatures(logits: torch.Tensor) -> torch.Tensor:
    chances = logits.double().softmax(dim=1)
    return chances * (1 - chances)


def _factors(
    layer: nn.Module,
    source: Callable[[], Iterable[MetricSample]],
    weigh: Callable[[torch.Tensor], torch.Tensor],
    ridge: float,
    cache: Path | None,
) -> NDArray[np.float64]:
    """The Cholesky factors of G metrics, (G, n + 1, n + 1); ``weigh`` says how images count in each, (R, G), by logits.

    Weights are relative to what all metrics have in the mean, so one of a class in little doubt stays small.
    """
    factors = None if cache is None else read_array(cache)
    if factors is not None:
        return np.asarray(factors, dtype=np.float64).reshape(-1, *factors.shape[-2:])
    found, total = np.zeros(()), 0.0
    for sample in source():
        weights = _weights(layer, sample, weigh)
        if not total:
            found = np.zeros((weights.shape[1], *2 * (sample.inputs.shape[1] + 1,)))
        for moment, part in zip(found, weights.T, strict=True):  # in place: there may be gigabytes of them
            add_weighted_products(moment, sample.inputs, part)
        total += float(weights.sum(axis=0).mean())
    check_some_right(total)
    found /= total
    for place, moment in enumerate(found):
        found[place] = second_moment_metric(moment, ridge).factor
    if cache is not None:
        write_array(cache, found)
    return found


def _weights(
    layer: nn.Module, sample: MetricSample, weigh: Callable[[torch.Tensor], torch.Tensor]
) -> NDArray[np.float64]:
    logits = linear_logits(sample.inputs, layer.get_parameter("weight"), layer.get_parameter("bias"))
    is_right = logits.argmax(dim=1).numpy() == sample.labels
    return np.asarray(weigh(logits).numpy() * (is_right * sample.shares)[:, None])


def check_some_right(weight: float) -> None:
    """Raise `UsageError` where no training image counts."""
    if not weight > 0:
        raise UsageError(
            "The network gets no training image right, so there is no training metric; use --metric identity."
        )


def add_weighted_products(
    total: NDArray[np.float64], inputs: NDArray[np.float32], weights: NDArray[np.float64], block: int = 4000
) -> None:
    """Add to a matrix, (n + 1, n + 1), the weighted sum of ``h h^T`` of the inputs (N, n) with a 1 appended.

    The many images that hardly count are left out. Products are of float32, sums of blocks of float64: the error is far
    below any ridge.
    """
    counting = np.flatnonzero(weights > NEGLIGIBLE * weights.max(initial=0.0))
    roots = np.sqrt(weights).astype(np.float32)[:, None]
    for start in range(0, len(counting), block):
        chosen = counting[start : start + block]
        part = np.hstack([inputs[chosen], np.ones((len(chosen), 1), dtype=np.float32)])
        part *= roots[chosen]
        total += part.T @ part
