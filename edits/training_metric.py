"""The metric of the last layer: how much a change of it moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk
from torch import nn

from helpers.activations import linear_logits, read_array, write_array
from helpers.errors import UsageError
from sytorch import PerClassMetric, SecondMomentMetric, second_moment_metric
from sytorch.arrays import Matrix
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
) -> list[Matrix]:
    """The Cholesky factors of G metrics, (n + 1, n + 1); ``weigh`` says how images count in each, (R, G), by logits.

    Weights are relative to what all metrics have in the mean, so one of a class in little doubt stays small.
    """
    stored = None if cache is None else read_array(cache)
    if stored is not None:
        return [np.asarray(upper, dtype=np.float64).T for upper in stored]
    moments, total = list[NDArray[np.float32]](), 0.0
    for sample in source():
        weights = _weights(layer, sample, weigh)
        moments = moments or [no_products(sample.inputs.shape[1]) for _ in weights.T]
        moments = [
            with_weighted_products(moment, sample.inputs, part) for moment, part in zip(moments, weights.T, strict=True)
        ]
        total += float(weights.sum(axis=0).mean())
    check_some_right(total)
    factors = []
    while moments:  # there may be gigabytes of them
        factors.append(second_moment_metric(moments.pop(0) / total, ridge).factor)
    if cache is not None:
        write_array(cache, np.stack([lower.T for lower in factors]))  # so that columns stay in one piece, for LAPACK
    return factors


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


def no_products(inputs: int) -> NDArray[np.float32]:
    """What `with_weighted_products` begins with."""
    return np.zeros((inputs + 1, inputs + 1), dtype=np.float32, order="F")


def with_weighted_products(
    total: NDArray[np.float32], inputs: NDArray[np.float32], weights: NDArray[np.float64], block: int = 4000
) -> NDArray[np.float32]:
    """A total with the weighted sum of ``h h^T`` of the inputs (N, n), a 1 appended, added to its lower triangle.

    The many images that hardly count are left out. float32 is enough: the error is far below any ridge.

    Args:
        total: (n + 1, n + 1), columns in one piece; its memory is the result's.
        inputs: (N, n).
        weights: (N,).
        block: so many images at a time.
    """
    counting = np.flatnonzero(weights > NEGLIGIBLE * weights.max(initial=0.0))
    roots = np.sqrt(weights).astype(np.float32)[:, None]
    for start in range(0, len(counting), block):
        chosen = counting[start : start + block]
        part = np.empty((len(chosen), inputs.shape[1] + 1), dtype=np.float32)
        np.multiply(inputs[chosen], roots[chosen], out=part[:, :-1])
        part[:, -1:] = roots[chosen]
        total = ssyrk(1.0, part.T, beta=1.0, c=total, lower=True, overwrite_c=True)
    return total
