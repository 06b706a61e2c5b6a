"""The metric of a layer: how much a change of it moves what the network says of training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edits.options import RepairOptions
from editset_helpers.choice import choose
from helpers.activations import layer_activations, read_array, write_array
from helpers.datasets import ImageDataset
from helpers.paths import CACHE
from sytorch import SecondMomentMetric, append_one, second_moment_metric

SUBSET_SEED = 0


def training_metric(
    model: nn.Module, weights_hash: str, training: ImageDataset, options: RepairOptions
) -> SecondMomentMetric:
    """The second moment of the layer's inputs over a fixed sample of training images; its factor is cached.

    Args:
        model: in evaluation mode.
        weights_hash: of the model.
        training: the training split.
        options: ``layer``, ``metric_images`` and ``ridge``.
    """
    count = min(options.metric_images, len(training))
    key = f"{weights_hash[:16]}-{training.content_hash[:16]}-{options.layer}-{count}-{options.ridge:g}"
    path = CACHE / f"metric-{key}.npy"
    factor = read_array(path)
    if factor is None:
        chosen = choose(len(training), count, SUBSET_SEED)
        inputs = layer_activations(model, weights_hash, options.layer, training, chosen).inputs
        metric = second_moment_metric(second_moment(inputs), options.ridge)
        write_array(path, metric.factor)
        return metric
    return SecondMomentMetric(np.asarray(factor, dtype=np.float64))


def second_moment(inputs: NDArray[np.float32], block: int = 2000) -> NDArray[np.float64]:
    """``E[h h^T]``, (n + 1, n + 1), of the inputs (N, n) with a 1 appended, summed up in float64."""
    total = np.zeros((inputs.shape[1] + 1,) * 2)
    for start in range(0, len(inputs), block):
        part = append_one(np.asarray(inputs[start : start + block], dtype=np.float64))
        total += part.T @ part
    return total / len(inputs)
