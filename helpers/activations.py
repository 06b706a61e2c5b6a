"""What a layer sees of a data set, computed once for each network and kept under ``data/cache``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from helpers import progress
from helpers.evaluation import BATCH_SIZE
from helpers.files.array_cache import cache_path, fingerprint, keep_array, read_array
from helpers.images.datasets import ImageDataset


@dataclass(frozen=True, eq=False)
class Activations:
    """One layer's view of N images.

    Attributes:
        inputs: float32, (N, ...), what the layer gets; perhaps a memory map.
        labels: int64, (N,).
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


def layer_activations(
    model: nn.Module, weights_hash: str, layer: str, images: ImageDataset, chosen: NDArray[np.int64] | None = None
) -> Activations:
    """The inputs of a layer for the images of a split, from the cache where they are there.

    Args:
        model: in evaluation mode, on the CPU.
        weights_hash: of the model; names the cached file.
        layer: the name of a module.
        images: the split.
        chosen: positions of the images; None for all.
    """
    positions = np.arange(len(images)) if chosen is None else chosen
    path = activations_file(weights_hash, layer, images, chosen)
    one = _run(model, layer, images, positions[:1])
    inputs = read_array(path, (len(positions), *one.shape[1:]))
    if inputs is None:
        inputs = _run(model, layer, images, positions)
        keep_array(path, inputs)
    return Activations(inputs, images.labels[positions])


def activations_file(
    weights_hash: str, layer: str, images: ImageDataset, chosen: NDArray[np.int64] | None = None
) -> Path:
    """Where `layer_activations` keeps them."""
    return cache_path(
        f"activations-{layer}",
        weights=weights_hash,
        images=images.content_hash,
        split=images.split,
        chosen=None if chosen is None else fingerprint(chosen),
    )


def linear_logits(inputs: NDArray[np.float32], weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What a last layer makes of its inputs, (N, n) -> (N, C), in the batches in which the whole network runs."""
    with torch.inference_mode():
        parts = [
            nn.functional.linear(torch.from_numpy(inputs[start : start + BATCH_SIZE]), weight, bias)
            for start in range(0, len(inputs), BATCH_SIZE)
        ]
    return torch.cat(parts).clone()


def _run(model: nn.Module, layer: str, images: ImageDataset, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.inference_mode():
            for part in progress.parts(len(positions), BATCH_SIZE, f"{images.split} images, once for this network"):
                model(images.inputs(positions[part]))
    finally:
        handle.remove()
    return np.asarray(torch.cat(seen).numpy())
