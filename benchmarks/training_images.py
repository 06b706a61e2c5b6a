"""Training images as the methods need them: activations that are computed once for each network and cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.options import LAST_LAYER
from edits.tail import run_modules
from edits.workbench import Workbench
from helpers.activations import layer_activations, linear_logits
from sytorch.arrays import Matrix

SAMPLE = 10_000


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """The last layer's view of a sample of training images, the one that the training metric is taken from.

    Attributes:
        inputs: float32, (R, n).
        labels: int64, (R,).
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def logits(self, layer: nn.Linear) -> Matrix:
        """What the network says of them, (R, C)."""
        return np.asarray(linear_logits(self.inputs, layer.weight, layer.bias).double().numpy())


def training_sample(bench: Workbench) -> TrainingSample:
    """The sample, from the cache where it is there."""
    chosen = bench.training_images.sample(SAMPLE)
    seen = layer_activations(bench.model, bench.weights_hash, LAST_LAYER, bench.training, chosen)
    return TrainingSample(seen.inputs, seen.labels)


def channels_of(bench: Workbench, images: torch.Tensor) -> torch.Tensor:
    """The channels, (N, 256), that the convolutions make of float32 images, (N, 3, 64, 64).

    The classifier gets each of them 36 times: see `model_classes.folding`.
    """
    return run_modules([bench.model.features], images).flatten(1)
