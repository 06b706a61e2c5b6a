"""Networks with fixed activation patterns, run layer by layer: ReLUs as masks, max-pools as choices of winners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import sytorch
from sytorch.arrays import Matrix, Vector

Groups = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries that change: of each part, the units' weights and, last, their bias, or the bias alone."""

    layers: tuple[int, ...]
    units: tuple[range, ...]
    widths: tuple[int, ...]
    bias_only: tuple[bool, ...]

    @property
    def count(self) -> int:
        """n."""
        return sum(len(units) * width for units, width in zip(self.units, self.widths, strict=True))

    def parameters(self, network: nn.Sequential, change: torch.Tensor) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """By position, the weight and bias after a change, (n,)."""
        found, first = {}, 0
        for layer, units, width, bias_only in zip(self.layers, self.units, self.widths, self.bias_only, strict=True):
            module = network[layer]
            assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
            weight, bias = module.weight.clone(), module.bias.clone()
            block = change[first : first + len(units) * width].view(len(units), width)
            first += block.numel()
            bias[units.start : units.stop] += block[:, -1]
            if not bias_only:
                weight[units.start : units.stop] += block[:, :-1].view(len(units), *weight.shape[1:])
            found[layer] = weight, bias
        return found

    def of_matrices(self, matrices: tuple[Matrix, ...]) -> Vector:
        """The entries of matrices over the layers' whole changes; what is no entry has to be zero."""
        parts = []
        for matrix, units, width in zip(matrices, self.units, self.widths, strict=True):
            part = matrix[units.start : units.stop, matrix.shape[1] - width :]
            assert np.count_nonzero(matrix) == np.count_nonzero(part), "an entry changes that is not to"
            parts.append(part.ravel())
        return np.concatenate(parts)


def entries_of(network: nn.Sequential, words: str) -> Entries:
    """The entries that parts such as ``0[1:3]+4.bias`` name."""
    parts = sorted(sytorch.parts_named(words), key=lambda part: int(part.layer))
    layers = tuple(int(part.layer) for part in parts)
    weights = [weight for layer in layers if isinstance(weight := network[layer].weight, torch.Tensor)]
    pairs = list(zip(parts, weights, strict=True))
    units = tuple(range(*part.units) if part.units else range(len(weight)) for part, weight in pairs)
    widths = tuple(1 if part.bias_only else weight[0].numel() + 1 for part, weight in pairs)
    return Entries(layers, units, widths, tuple(part.bias_only for part in parts))


def inequalities(
    network: nn.Sequential, images: torch.Tensor, entries: Entries, change: torch.Tensor, held: dict[int, torch.Tensor]
) -> tuple[Groups, torch.Tensor]:
    """What each fixed inequality has after a change, and the logits.

    ``held`` is filled at first, and then fixed: masks of ReLUs, winners' places of max-pools.
    """
    parameters, found, values = entries.parameters(network, change), {}, images
    for position, layer in enumerate(network):
        behind = position > entries.layers[0]
        if isinstance(layer, nn.ReLU) and behind:
            mask = held.setdefault(position, values > 0)
            found[str(position)] = torch.where(mask, values, -values).flatten(1)
            values = torch.where(mask, values, 0.0)
        elif isinstance(layer, nn.MaxPool2d) and behind:
            values, leads = _pooled(layer, values, held, position)
            found[str(position)] = leads.flatten(1)
        elif position in parameters:
            weight, bias = parameters[position]
            linear = functional.conv2d if isinstance(layer, nn.Conv2d) else functional.linear
            options = {"stride": layer.stride, "padding": layer.padding} if isinstance(layer, nn.Conv2d) else {}
            values = linear(values, weight, bias, **options)
        else:
            values = layer(values)
    return found, values


def _pooled(
    layer: nn.MaxPool2d, values: torch.Tensor, held: dict[int, torch.Tensor], position: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The winners' values, and by how much they lead: by channel, member (row by row) and window (row by row)."""
    size, stride, edge = int(layer.kernel_size), int(layer.stride), int(layer.padding)  # type: ignore[arg-type]
    padded = functional.pad(values, (edge,) * 4, value=-torch.inf)
    windows = padded.unfold(2, size, stride).unfold(3, size, stride)
    count, channels, high, wide = windows.shape[:4]
    members = windows.reshape(count, channels, high * wide, size * size).transpose(2, 3)
    winners = held.setdefault(position, members.argmax(dim=2, keepdim=True))
    best = members.gather(2, winners)
    leads = torch.where(members == -torch.inf, 0.0, best - members)
    return best.view(count, channels, high, wide), leads
