"""Metrics from training images, and their files: how much a change moves what the network says of ordinary images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk
from torch import nn

from helpers.activations import linear_logits
from helpers.array_cache import keep_array, read_array
from helpers.cli import say_once
from helpers.errors import UsageError
from sytorch import KroneckerMetric, PerClassMetric, SecondMomentMetric, second_moment_metric
from sytorch.metrics.kronecker import NO_DOUBT, softmax_curvature
from sytorch.problem.arrays import Matrix

LARGEST = 2**34  # bytes of factors in float64
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
    [factor] = _factors(layer, source, lambda logits: softmax_curvature(logits)[:, None], 1, ridge=ridge, cache=cache)
    return SecondMomentMetric(factor)


def per_class_metric(
    layer: nn.Module,
    source: Callable[[], Iterable[MetricSample]],
    ridge: float,
    cache: Path | None,
) -> PerClassMetric:
    """The same for each class by itself: an image counts by the softmax's curvature in that class's logit."""
    classes, inputs = layer.get_parameter("weight").shape
    if 8 * classes * (inputs + 1) ** 2 > LARGEST:
        raise UsageError(
            f"--metric per-class needs a factor for each class, {8 * classes * (inputs + 1) ** 2 / 1e9:.0f} "
            f"GB for {classes} classes: take --metric training."
        )
    factors = _factors(layer, source, _curvatures, classes, ridge=ridge, cache=cache)
    return PerClassMetric(tuple(map(SecondMomentMetric, factors)))


def _curvatures(logits: torch.Tensor) -> torch.Tensor:
    chances = logits.double().softmax(dim=1)
    return chances * (1 - chances)


def _factors(
    layer: nn.Module,
    source: Callable[[], Iterable[MetricSample]],
    weigh: Callable[[torch.Tensor], torch.Tensor],
    metrics: int,
    *,
    ridge: float,
    cache: Path | None,
) -> list[Matrix]:
    """The Cholesky factors of G metrics, (n + 1, n + 1); ``weigh`` says how images count in each, (R, G), by logits.

    Weights are relative to what all metrics have in the mean, so one of a class in little doubt stays small. Where a
    network is so sure of everything that no weight is left, all images that it gets right count alike.
    """
    size = layer.get_parameter("weight").shape[1] + 1
    stored = None if cache is None else read_array(cache, (metrics, size, size), np.float64)
    if stored is not None:
        return [np.asarray(upper).T for upper in stored]
    sums = _summed(layer, source(), weigh, metrics)
    check_some_right(sums.right)
    if sums.weights.mean() <= NO_DOUBT * sums.right:
        say_sure()
        sums = _summed(layer, source(), lambda logits: torch.ones(len(logits), metrics).double(), metrics)
    factors = []
    for moment in sums.moments_of_doubt():
        factors.append(second_moment_metric(moment, ridge).factor)
    if cache is not None:
        keep_array(cache, np.stack([lower.T for lower in factors]))  # so that columns stay in one piece, for LAPACK
    return factors


@dataclass(eq=False)
class _Sums:
    """Weighted sums of ``h h^T`` for G metrics, (n + 1, n + 1) each, of the weights, (G,), and of the images right."""

    moments: list[NDArray[np.float32]]
    weights: NDArray[np.float64]
    right: float

    def moments_of_doubt(self) -> Iterator[NDArray[np.float32]]:
        """The moments relative to the mean weight, each given away; a class never in doubt gets some of the others'."""
        total = float(self.weights.mean())
        unsure = [index for index, weight in enumerate(self.weights) if weight > NO_DOUBT * total]
        little = None
        if len(unsure) < len(self.weights):
            little = NEGLIGIBLE * sum((self.moments[index] for index in unsure), no_products(len(self.moments[0]) - 1))
        for index in range(len(self.moments)):
            moment = self.moments.pop(0)  # there may be gigabytes of them
            yield (moment if index in unsure or little is None else little) / total


def _summed(
    layer: nn.Module, samples: Iterable[MetricSample], weigh: Callable[[torch.Tensor], torch.Tensor], metrics: int
) -> _Sums:
    sums = _Sums([], np.zeros(metrics), 0.0)
    for sample in samples:
        logits = linear_logits(sample.inputs, layer.get_parameter("weight"), layer.get_parameter("bias"))
        shares = (logits.argmax(dim=1).numpy() == sample.labels) * sample.shares
        weights = weigh(logits).numpy() * shares[:, None]
        sums.moments = sums.moments or [no_products(sample.inputs.shape[1]) for _ in weights.T]
        sums.moments = [
            with_weighted_products(moment, sample.inputs, part)
            for moment, part in zip(sums.moments, weights.T, strict=True)
        ]
        sums.weights, sums.right = sums.weights + weights.sum(axis=0), sums.right + float(shares.sum())
    return sums


def check_some_right(count: float) -> None:
    """Raise `UsageError` where the network gets no training image right."""
    if not count > 0:
        raise UsageError(
            "The network gets no training image right, so there is no training metric; use --metric identity."
        )


def say_sure() -> None:
    """Tell why images count alike."""
    say_once(
        "note: the network is so sure of every training image that none can be told to be in doubt; "
        "in its metric all that it gets right count alike."
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


def cached_metric(compute: Callable[[], KroneckerMetric], paths: tuple[Path, Path], width: int) -> KroneckerMetric:
    """The metric from the cache where it is there, both factors rounded to float32 in any case.

    Args:
        compute: gives it.
        paths: the files of the inputs' and of the outputs' factor; that of the identity has no entries.
        width: the number of the layer's outputs.
    """
    found = _read_factors(paths, width)
    if found is None:
        metric = compute()
        found = metric.inputs.float(), torch.zeros(0) if metric.outputs is None else metric.outputs.float()
        for path, factor in zip(paths, found, strict=True):
            keep_array(path, factor.numpy())
    inputs, outputs = (factor.double() for factor in found)
    return KroneckerMetric(inputs, outputs if len(outputs) else None)


def _read_factors(paths: tuple[Path, Path], width: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Both factors. How many inputs there are after folding, only the file says."""
    inputs = read_array(paths[0], (None, None))
    outputs = next(
        (found for shape in ((width, width), (0,)) if (found := read_array(paths[1], shape)) is not None), None
    )
    if inputs is None or outputs is None or inputs.shape[0] != inputs.shape[1]:
        return None
    return torch.from_numpy(inputs), torch.from_numpy(outputs)
