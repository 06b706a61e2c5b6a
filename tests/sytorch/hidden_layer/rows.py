"""Networks with fixed activation patterns, run layer by layer: ReLUs as masks, max-pools as choices of winners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import sytorch
from sytorch.problem.arrays import Matrix, Vector

Groups = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a layer that change: units' weights and, last, their bias, or the bias alone.

    Attributes:
        layer: its position.
        units: which change.
        width: how many entries of each do.
        bias_only: whether only the bias changes.
    """

    layer: int
    units: range
    width: int
    bias_only: bool

    @property
    def count(self) -> int:
        """n."""
        return len(self.units) * self.width

    def parameters(self, network: nn.Sequential, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's weight and bias after a change, (n,)."""
        module = network[self.layer]
        assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
        weight, bias = module.weight.clone(), module.bias.clone()
        block, units = change.view(len(self.units), self.width), slice(self.units.start, self.units.stop)
        bias[units] += block[:, -1]
        if not self.bias_only:
            weight[units] += block[:, :-1].view(len(block), *weight.shape[1:])
        return weight, bias

    def of_matrix(self, matrix: Matrix) -> Vector:
        """The entries of a matrix over the layer's whole change; what is no entry has to be zero."""
        part = matrix[self.units.start : self.units.stop, matrix.shape[1] - self.width :]
        assert np.count_nonzero(matrix) == np.count_nonzero(part), "an entry changes that is not to"
        return np.asarray(part.ravel())


def entries_of(network: nn.Sequential, words: str) -> Entries:
    """The entries that a part such as ``0[1:3]`` or ``4.bias`` names."""
    part = sytorch.part_named(words)
    weight = network[int(part.layer)].weight
    assert isinstance(weight, torch.Tensor)
    units = range(*part.units) if part.units else range(len(weight))
    return Entries(int(part.layer), units, 1 if part.bias_only else weight[0].numel() + 1, part.bias_only)


def inequalities(
    network: nn.Sequential, images: torch.Tensor, entries: Entries, change: torch.Tensor, fixed: dict[int, torch.Tensor]
) -> tuple[Groups, torch.Tensor]:
    """What each fixed inequality has after a change, and the logits.

    ``fixed`` is filled at first, and then stays: masks of ReLUs, winners' places of max-pools.
    """
    found, values = Groups(), images
    for position, layer in enumerate(network):
        behind = position > entries.layer
        if isinstance(layer, nn.ReLU) and behind:
            mask = fixed.setdefault(position, values > 0)
            found[str(position)] = torch.where(mask, values, -values).flatten(1)
            values = torch.where(mask, values, 0.0)
        elif isinstance(layer, nn.MaxPool2d) and behind:
            values, slack = _pooled(layer, values, fixed, position)
            found[str(position)] = slack.flatten(1)
        elif position == entries.layer:
            weight, bias = entries.parameters(network, change)
            linear = functional.conv2d if isinstance(layer, nn.Conv2d) else functional.linear
            options = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, nn.Conv2d) else {}
            values = linear(values, weight, bias, **options)
        else:
            values = layer(values)
    return found, values


def _pooled(
    layer: nn.MaxPool2d, values: torch.Tensor, fixed: dict[int, torch.Tensor], position: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The winners' values, and how much larger they are: by channel, member (row by row) and window (row by row)."""
    size, stride, edge = int(layer.kernel_size), int(layer.stride), int(layer.padding)  # type: ignore[arg-type]
    padded = functional.pad(values, (edge,) * 4, value=-torch.inf)
    windows = padded.unfold(2, size, stride).unfold(3, size, stride)
    count, channels, high, wide = windows.shape[:4]
    members = windows.reshape(count, channels, high * wide, size * size).transpose(2, 3)
    winners = fixed.setdefault(position, members.argmax(dim=2, keepdim=True))
    best = members.gather(2, winners)
    slack = torch.where(members == -torch.inf, 0.0, best - members)
    return best.view(count, channels, high, wide), slack
