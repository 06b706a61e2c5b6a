"""The metric of a layer, computed once for each network and kept in two files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from helpers.activations import read_array, write_array
from model_classes.alexnet import AlexNet
from sytorch import KroneckerMetric, kronecker_metric
from sytorch.kronecker_metric import OUTPUT_RIDGE

GRADIENT_IMAGES = 3000


def layer_metric(
    model: AlexNet, layer: str, batches: Callable[[], Iterable[torch.Tensor]], ridge: float, cache: Path
) -> KroneckerMetric:
    """The metric, see `sytorch.kronecker_metric`, from the cache where it is there; a damaged file is computed again.

    Args:
        model: in evaluation mode.
        layer: its name.
        batches: gives images in random order, (n, 3, 64, 64) at a time.
        ridge: of the inputs' moment, relative to its mean diagonal.
        cache: folder and beginning of the name of the files.
    """
    paths = [cache.with_name(f"{cache.name}-{part}.npy") for part in ("inputs", "outputs")]
    found = [read_array(path) for path in paths]
    if found[0] is None or found[1] is None:
        metric = kronecker_metric(model, layer, batches, GRADIENT_IMAGES, ridges=(ridge, OUTPUT_RIDGE))
        outputs = torch.zeros(0) if metric.outputs is None else metric.outputs
        for path, factor in zip(paths, (metric.inputs, outputs), strict=True):
            write_array(path, factor.float().numpy())
        found = [read_array(path) for path in paths]
    inputs, outputs = (torch.from_numpy(np.array(array)).double() for array in found)
    return KroneckerMetric(inputs, outputs if len(outputs) else None)
