"""What the convolutions make of training images: few numbers for each, from which every linear layer follows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.tail import run_modules
from helpers import progress
from helpers.evaluation import BATCH_SIZE
from helpers.files.array_cache import Fact, cache_path, keep_array, read_array
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from helpers.remembering import remembers
from model_classes.alexnet import CHANNELS, AlexNet
from sytorch.network.chain import Chain, chain_of
from sytorch.network.repeats import without_repeats

LAST_CONVOLVED = "features.12"


@dataclass(frozen=True, eq=False)
class Channels:
    """The 256 channels of each image of a split, (256, 1, 1), and the layers that get them.

    A linear layer behind AlexNet's pool of 36 copies is run folded (`sytorch.network.repeats`): no answer changes.

    Attributes:
        model: in evaluation mode.
        facts: what names the network and the images, see `helpers.files.array_cache`.
        split: the images.
    """

    model: AlexNet
    facts: Mapping[str, Fact]
    split: ImageDataset

    @functools.cached_property
    def chain(self) -> Chain:
        """The layers behind the convolutions."""
        return chain_of(self.model).behind(LAST_CONVOLVED)

    @remembers(2)
    def all(self, *, mirrored: bool) -> NDArray[np.float32]:
        """Of all images, or of all their mirror images, (R, 256); from the cache where they are there."""
        path = self.file(mirrored=mirrored)
        found = read_array(path, (len(self.split), CHANNELS))
        if found is None:
            found = self._convolved(mirrored)
            keep_array(path, found)
        return found

    def file(self, *, mirrored: bool) -> Path:
        """Where all are kept."""
        return cache_path("channels", **self.facts, mirrored=mirrored)

    def of(self, chosen: NDArray[np.int64], *, mirrored: bool = False) -> torch.Tensor:
        """Of the images at these positions, (N,), or of their mirror images, (N, 256, 1, 1)."""
        return torch.from_numpy(self.all(mirrored=mirrored)[chosen])[:, :, None, None]

    def inputs(self, layer: str, chosen: NDArray[np.int64], *, mirrored: bool = False) -> torch.Tensor:
        """What a linear layer gets from these images, (N, n)."""
        return run_modules(self._up_to(layer), self.of(chosen, mirrored=mirrored))

    def of_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the convolutions make of any images, float32 (N, 3, 64, 64): (N, 256)."""
        return run_modules([self.model.features], inputs).flatten(1)

    def behind(self, layer: str, channels: torch.Tensor) -> torch.Tensor:
        """What a linear layer gets from channels, (N, 256): (N, n)."""
        return run_modules(self._up_to(layer), channels[:, :, None, None])

    def logits(self) -> torch.Tensor:
        """What the network says of all images, float32 (R, C)."""
        return run_modules(self._up_to(None), self.of(np.arange(len(self.split))))

    @remembers(2)
    def _up_to(self, layer: str | None) -> tuple[nn.Module, ...]:
        """The layers between the channels and a layer, or all of them, folded."""
        chain = self.chain if layer is None else self.chain.split(layer)[0]
        return without_repeats(chain, self.of(np.arange(1))).layers

    def _convolved(self, mirrored: bool) -> NDArray[np.float32]:
        parts, images = [], self.split.images
        name = "mirrored training images" if mirrored else "training images"
        for part in progress.parts(len(images), BATCH_SIZE, f"{name}, once for this network"):
            inputs = to_inputs(images[part])
            parts.append(self.of_inputs(inputs.flip(3) if mirrored else inputs).numpy())
        return np.concatenate(parts)
