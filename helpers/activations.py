"""What a layer sees of a data set, computed once for each network and kept under ``data/cache``."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from helpers.datasets import ImageDataset
from helpers.evaluation import BATCH_SIZE
from helpers.files import atomic_file
from helpers.paths import CACHE
from helpers.preprocessing import to_inputs


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

    Raises:
        ToolError: the cache cannot be written.
    """
    positions = np.arange(len(images)) if chosen is None else chosen
    which = "all" if chosen is None else f"{len(chosen)}-{_fingerprint(chosen)}"
    key = f"{weights_hash[:16]}-{images.content_hash[:16]}-{images.split}-{layer}-{which}"
    path = CACHE / f"activations-{key}.npy"
    inputs = read_array(path)
    if inputs is None or len(inputs) != len(positions):
        inputs = _run(model, layer, images, positions)
        write_array(path, inputs)
    return Activations(inputs, images.labels[positions])


def read_array(path: Path) -> NDArray[np.float32] | None:
    """A cached array; what is written to it does not reach the file. None where there is none, or it is damaged."""
    try:
        array: NDArray[np.float32] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return array


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Cache an array; raises `ToolError` where that is impossible."""
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)


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
    starts = range(0, len(positions), BATCH_SIZE)
    try:
        with torch.inference_mode():
            for start in tqdm(starts, desc=f"{images.split} activations", unit="batch", disable=None):
                model(to_inputs(images.images[positions[start : start + BATCH_SIZE]]))
    finally:
        handle.remove()
    return np.asarray(torch.cat(seen).numpy())


def _fingerprint(positions: NDArray[np.int64]) -> str:
    return hashlib.sha256(positions.tobytes()).hexdigest()[:12]
