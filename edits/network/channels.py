"""What the convolutions make of training images: 256 numbers for each, or 9,216 of larger inputs.

Every linear layer follows from them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from helpers import progress
from helpers.array_cache import Fact, cache_path, keep_array, read_array
from helpers.evaluation import BATCH_SIZE
from helpers.images.datasets import ImageDataset
from helpers.remembering import Rows, remembers
from model_classes.alexnet import AlexNet
from sytorch.network.chain import Chain, chain_of
from sytorch.network.repeats import without_repeats

LAST_CONVOLVED = "features.12"
NEAREST = 6
AT_A_TIME = 500  # images that run through modules
AT_ONCE = 256  # images, of which distances to a whole split are computed
CACHE_BYTES = 64 * 2**20  # bytes, for the channels of images that were asked for; 65,000 of 64x64


@dataclass(frozen=True, eq=False)
class Channels:
    """The 256 channels of each image of a split, and the layers that get them.

    With 64x64 inputs a channel is one number; a linear layer behind AlexNet's pool of 36 copies is then run folded
    (`sytorch.network.repeats`): no answer changes. With 224x224 it is a map of 6x6. ``k`` is how many numbers all are.

    Attributes:
        model: in evaluation mode.
        facts: what names the network and the images, see `helpers.array_cache`.
        split: the images.
    """

    model: AlexNet
    facts: Mapping[str, Fact]
    split: ImageDataset

    @functools.cached_property
    def chain(self) -> Chain:
        """The layers behind the convolutions."""
        return chain_of(self.model).behind(LAST_CONVOLVED)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the channels of one image, (256, m, m)."""
        return tuple(convolved(self.model, self.split.inputs(slice(1))).shape[1:])

    @remembers(2)
    def all(self, *, mirrored: bool) -> NDArray[np.float32]:
        """Of all images, or of all their mirror images, (R, k); from the cache where they are there."""
        path, shape = self.file(mirrored=mirrored), (len(self.split), math.prod(self.shape))
        found = read_array(path, shape)
        if found is None:
            computed = self._convolved(mirrored)
            keep_array(path, computed)
            found = read_array(path, shape)  # a memory map: of large inputs there may be gigabytes
            found = computed if found is None else found
        return found

    def file(self, *, mirrored: bool) -> Path:
        """Where all are kept."""
        return cache_path("channels", **self.facts, mirrored=mirrored)

    def of(self, chosen: NDArray[np.int64], *, mirrored: bool = False) -> torch.Tensor:
        """Of the images at these positions, (N,), or of their mirror images, (N, 256, m, m)."""
        return torch.from_numpy(self.all(mirrored=mirrored)[chosen]).view(-1, *self.shape)

    def inputs(self, layer: str, chosen: NDArray[np.int64], *, mirrored: bool = False) -> torch.Tensor:
        """What a linear layer gets from these images, (N, n)."""
        return run_modules(self._up_to(layer), self.of(chosen, mirrored=mirrored))

    def of_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the convolutions make of any images, float32 (N, 3, S, S): (N, k); of the last ones it is known."""
        return self._rows.of(inputs)

    def convolved(self, inputs: torch.Tensor) -> torch.Tensor:
        """The same of images that are not asked for again."""
        return convolved(self.model, inputs).flatten(1)

    def nearest(self, images: torch.Tensor) -> torch.Tensor:
        """Positions of the `NEAREST` images of the split that are like any images, (N, 6), the nearest first."""
        return self._rows_near.of(images)

    def behind(self, layer: str | None, channels: torch.Tensor) -> torch.Tensor:
        """What a linear layer gets from channels, (N, k): (N, n); for None the logits, (N, C)."""
        return run_modules(self._up_to(layer), channels.view(-1, *self.shape))

    def logits(self) -> torch.Tensor:
        """What the network says of all images, float32 (R, C)."""
        return run_modules(self._up_to(None), self.of(np.arange(len(self.split))))

    # What functions of rows capture is never this object, which has them: arrays would stay until cycles are collected.

    @functools.cached_property
    def _rows(self) -> Rows:
        model = self.model
        return Rows(lambda images: convolved(model, images).flatten(1), CACHE_BYTES)

    @functools.cached_property
    def _rows_near(self) -> Rows:
        there, rows = torch.from_numpy(self.all(mirrored=False)), self._rows
        sizes = there.square().sum(dim=1)

        def near(images: torch.Tensor) -> torch.Tensor:
            parts = torch.split(rows.of(images), AT_ONCE)
            distances = (sizes - 2 * part @ there.T for part in parts)
            most = min(NEAREST, len(there))
            return torch.cat([part.topk(most, dim=1, largest=False).indices for part in distances])

        return Rows(near, CACHE_BYTES)

    @remembers(2)
    def _up_to(self, layer: str | None) -> tuple[nn.Module, ...]:
        """The layers between the channels and a layer, or all of them, folded."""
        chain = self.chain if layer is None else self.chain.split(layer)[0]
        return without_repeats(chain, torch.zeros(1, *self.shape)).layers

    def _convolved(self, mirrored: bool) -> NDArray[np.float32]:
        found = np.empty((len(self.split), math.prod(self.shape)), dtype=np.float32)
        name = "mirrored training images" if mirrored else "training images"
        for part in progress.parts(len(found), BATCH_SIZE, f"{name}, once for this network"):
            inputs = self.split.inputs(part)
            found[part] = self.convolved(inputs.flip(3) if mirrored else inputs).numpy()
        return found


def convolved(model: AlexNet, images: torch.Tensor) -> torch.Tensor:
    """What the convolutions make of images, float32 (N, 3, S, S): (N, 256, m, m).

    It stays in oneDNN's own layout from the first to the last, where that is there: a quarter of the time is copying.
    """
    has_layout = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return run_modules([_InOneLayout(model.features) if has_layout else model.features], images)


class _InOneLayout(nn.Module):
    """Convolutions, ReLUs and pools that get and give tensors of the usual layout, and use another between them."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Convolution(layer) if isinstance(layer, nn.Conv2d) else layer for layer in layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images.to_mkldnn()
        for layer in self.layers:
            values = layer(values)
        return values.to_dense()


class _Convolution(nn.Module):
    """A convolution of tensors in oneDNN's layout."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        assert layer.bias is not None
        self.layer, self.padding = layer, tuple(map(int, layer.padding))
        self.weight, self.bias = layer.weight.to_mkldnn(), layer.bias.to_mkldnn()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        return torch.mkldnn_convolution(
            inputs, self.weight, self.bias, self.padding, layer.stride, layer.dilation, layer.groups
        )


def run_modules(modules: Sequence[nn.Module], values: torch.Tensor) -> torch.Tensor:
    """Run modules one after the other on values, (N, ...); beside the answer, one batch of it is in memory."""
    network = nn.Sequential(*modules)
    with torch.inference_mode():
        first = network(values[:AT_A_TIME])
    found = torch.empty((len(values), *first.shape[1:]), dtype=first.dtype)
    with torch.inference_mode():
        found[:AT_A_TIME] = first
        for start in range(AT_A_TIME, len(values), AT_A_TIME):
            found[start : start + AT_A_TIME] = network(values[start : start + AT_A_TIME])
    return found
