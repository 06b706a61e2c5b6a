"""Training images as the methods need them: activations that are computed once for each network and cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from edits.options import LAST_LAYER
from edits.workbench import Workbench
from helpers.activations import linear_logits, read_array, write_array
from helpers.evaluation import BATCH_SIZE
from helpers.paths import CACHE
from helpers.preprocessing import to_inputs
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
    seen = bench.training_images
    return TrainingSample(seen.inputs(LAST_LAYER, SAMPLE), seen.labels(SAMPLE))


def channels_of(bench: Workbench, images: torch.Tensor) -> torch.Tensor:
    """The channels, (N, 256), that the convolutions make of float32 images, (N, 3, 64, 64).

    The classifier gets each of them 36 times: see `model_classes.folding`.
    """
    with torch.inference_mode():
        parts = [bench.model.features(part).flatten(1) for part in torch.split(images, BATCH_SIZE)]
    return torch.cat(parts).clone()


def training_channels(bench: Workbench) -> NDArray[np.float32]:
    """The channels, (R, 256), of all training images, from the cache where they are there."""
    path = CACHE / f"channels-{bench.weights_hash[:16]}-{bench.training.content_hash[:16]}.npy"
    cached = read_array(path)
    if cached is not None and len(cached) == len(bench.training):
        return cached
    starts = tqdm(range(0, len(bench.training), BATCH_SIZE), desc="channels", unit="batch", disable=None)
    images = bench.training.images
    parts = [channels_of(bench, to_inputs(images[start : start + BATCH_SIZE])).numpy() for start in starts]
    channels: NDArray[np.float32] = np.concatenate(parts)
    write_array(path, channels)
    return channels
