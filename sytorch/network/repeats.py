"""Inputs that are copies of each other by construction, folded into one.

AlexNet pools a 1x1 map to 6x6: the 9,216 inputs of its first linear layer come in groups of 36 equal ones. A change of
the least size treats the copies of an input alike, so only one number for each group is unknown. Scaled by the root of
the group's size it has the norm of the copies together: nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sytorch.network.chain import Chain


@dataclass(frozen=True, eq=False)
class Folding:
    """Groups of a layer's inputs, the 1 of the bias being the last group.

    Attributes:
        groups: (d,) int64, the group of each input, ascending.
        sizes: (k,) int64, of the groups.
    """

    groups: torch.Tensor
    sizes: torch.Tensor

    @property
    def roots(self) -> torch.Tensor:
        """The roots of the groups' sizes, (k,) float64."""
        return self.sizes.double().sqrt()

    def fold(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs (..., d) as (..., k): one of each group, times the root of its size."""
        first = self.sizes.cumsum(0) - self.sizes
        return inputs if self._is_idle else inputs[..., first] * self.roots.to(inputs.dtype)

    def unfold(self, change: torch.Tensor) -> torch.Tensor:
        """A change of the folded layer, (m, k), as one of the layer itself, (m, d)."""
        return change if self._is_idle else (change / self.roots)[:, self.groups]

    @property
    def _is_idle(self) -> bool:
        return len(self.groups) == len(self.sizes)


def folding_of(head: Chain, width: int, images: torch.Tensor) -> Folding:
    """The groups of a layer's ``width`` inputs, the bias's 1 among them, behind the layers of ``head``."""
    copies = _copies(head.layers, images[:1])
    sizes = torch.ones(width, dtype=torch.int64)
    if copies > 1:
        sizes = torch.cat([torch.full(((width - 1) // copies,), copies), torch.ones(1, dtype=torch.int64)])
    return Folding(torch.arange(len(sizes)).repeat_interleave(sizes), sizes)


def without_repeats(chain: Chain, values: torch.Tensor) -> Chain:
    """The same function of values like these, with the pool that makes copies left out and its linear layer folded."""
    layers = list(chain.layers)
    for position, layer in enumerate(chain.layers):
        if isinstance(layer, nn.Linear) and (copies := _copies(chain.layers[:position], values[:1])) > 1:
            layers[position] = _folded(layer, copies)
            layers[position - 2] = nn.Identity()
    return Chain(chain.names, tuple(layers))


def _copies(before: tuple[nn.Module, ...], values: torch.Tensor) -> int:
    """How often each number is repeated by an adaptive pool of a map of one pixel, flattened; 1 where there is none."""
    if len(before) < 2 or not (isinstance(before[-2], nn.AdaptiveAvgPool2d) and isinstance(before[-1], nn.Flatten)):
        return 1
    with torch.inference_mode():
        pooled = nn.Sequential(*before[:-2])(values)
        return int(nn.Sequential(before[-2])(pooled)[0, 0].numel()) if pooled.shape[2:] == (1, 1) else 1


def _folded(layer: nn.Linear, copies: int) -> nn.Linear:
    weight = layer.weight.detach()
    folded = nn.Linear(weight.shape[1] // copies, len(weight), layer.bias is not None, dtype=weight.dtype)
    folded.weight = nn.Parameter(weight.view(len(weight), -1, copies).sum(dim=2), requires_grad=False)
    folded.bias = layer.bias
    return folded
