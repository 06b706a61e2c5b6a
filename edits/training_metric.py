"""The metric of a layer: how much a change of it moves what the network says of training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.options import RepairOptions
from editset_helpers.choice import choose
from helpers.activations import layer_activations, linear_logits, read_array, write_array
from helpers.datasets import ImageDataset
from helpers.paths import CACHE
from sytorch import SecondMomentMetric, append_one, second_moment_metric

SUBSET_SEED = 0


def training_metric(
    model: nn.Module, weights_hash: str, training: ImageDataset, options: RepairOptions
) -> SecondMomentMetric:
    """The second moment of the last layer's inputs over a fixed sample of training images; its factor is cached.

    Each image counts as much as its answer can still change: by the trace of the softmax's curvature. Moving the logits
    of an image that the network is sure of costs no accuracy.

    Args:
        model: in evaluation mode.
        weights_hash: of the model.
        training: the training split.
        options: ``layer``, ``metric_images`` and ``ridge``.
    """
    count = min(options.metric_images, len(training))
    key = f"curvature-{weights_hash[:16]}-{training.content_hash[:16]}-{options.layer}-{count}-{options.ridge:g}"
    path = CACHE / f"metric-{key}.npy"
    factor = read_array(path)
    if factor is None:
        chosen = choose(len(training), count, SUBSET_SEED)
        inputs = layer_activations(model, weights_hash, options.layer, training, chosen).inputs
        last = model.get_submodule(options.layer).state_dict()
        doubts = softmax_curvature(linear_logits(inputs, last["weight"], last["bias"]))
        metric = second_moment_metric(second_moment(inputs, doubts), options.ridge)
        write_array(path, metric.factor)
        return metric
    return SecondMomentMetric(np.asarray(factor, dtype=np.float64))


def softmax_curvature(logits: torch.Tensor) -> NDArray[np.float64]:
    """The trace of ``diag(p) - p p^T``, ``1 - |p|^2``, (N,), at the probabilities p of logits (N, C)."""
    probabilities = logits.double().softmax(dim=1)
    return np.asarray(1 - probabilities.square().sum(dim=1).numpy())


def second_moment(inputs: NDArray[np.float32], weights: NDArray[np.float64], block: int = 2000) -> NDArray[np.float64]:
    """The weighted mean of ``h h^T``, (n + 1, n + 1), of the inputs (N, n) with a 1 appended, summed up in float64."""
    total = np.zeros((inputs.shape[1] + 1,) * 2)
    for start in range(0, len(inputs), block):
        part = append_one(np.asarray(inputs[start : start + block], dtype=np.float64))
        total += (part * weights[start : start + block, None]).T @ part
    return np.asarray(total / weights.sum())
