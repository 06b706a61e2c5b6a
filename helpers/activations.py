"""What a layer sees of a data set, computed once for each network and kept under ``data/cache``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from helpers import progress
from helpers.array_cache import cache_path, keep_array, read_array
from helpers.evaluation import BATCH_SIZE
from helpers.images.datasets import ImageDataset


def layer_activations(
    model: nn.Module,
    weights_hash: str,
    layer: str,
    images: ImageDataset,
    *,
    also: Sequence[str] = (),
) -> NDArray[np.float32]:
    """The inputs of a layer for the images of a split, (N, ...), from the cache where they are there: a memory map.

    Args:
        model: in evaluation mode, on the CPU.
        weights_hash: of the model; names the cached file.
        layer: the name of a module.
        images: the split.
        also: layers whose inputs are kept, too, where the images have to run through the network anyway.
    """
    one = _run(model, [layer], images, 1)[layer]
    inputs = read_array(activations_file(weights_hash, layer, images), (len(images), *one.shape[1:]))
    if inputs is not None:
        return inputs
    found = _run(model, [layer, *also], images, len(images))
    for name, seen in found.items():
        keep_array(activations_file(weights_hash, name, images), seen)
    return found[layer]


def activations_file(weights_hash: str, layer: str, images: ImageDataset) -> Path:
    """Where `layer_activations` keeps them."""
    return cache_path(
        f"activations-{layer}",
        weights=weights_hash,
        images=images.content_hash,
        split=images.split,
        chosen=None,  # as files are named that were kept earlier
    )


def linear_logits(inputs: NDArray[np.float32], weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What a last layer makes of its inputs, (N, n) -> (N, C), in the batches in which the whole network runs."""
    with torch.inference_mode():
        parts = [nn.functional.linear(torch.from_numpy(batch), weight, bias) for batch in batches(inputs)]
    return torch.cat(parts).clone()


def batches(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The rows of a matrix, (N, n), in the batches in which a network runs."""
    return (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))


def _run(model: nn.Module, layers: Sequence[str], images: ImageDataset, count: int) -> dict[str, NDArray[np.float32]]:
    """What some layers get, by name, from one pass of the first ``count`` images through the network."""
    seen: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    with contextlib.ExitStack() as hooks, torch.inference_mode():
        for layer, values in seen.items():
            keep = functools.partial(_keep_input, values)
            hooks.callback(model.get_submodule(layer).register_forward_pre_hook(keep).remove)
        for part in progress.parts(count, BATCH_SIZE, f"{images.split} images, once for this network"):
            model(images.inputs(np.arange(count)[part]))
    return {layer: np.asarray(torch.cat(values).numpy()) for layer, values in seen.items()}


def _keep_input(values: list[torch.Tensor], _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    values.append(inputs[0])
