"""A change of a layer, and the two thin matrices whose product it mostly is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edits.tail import parameters_of, run_modules


@dataclass(frozen=True, eq=False)
class LayerChange:
    """A change of a layer's weight and bias.

    A step of stage one sums, over images, products of a gradient and of the image's input in the inverse metric. The
    inputs stay what they are, so all steps together have a rank of no more than the images.

    Attributes:
        whole: (m, n + 1), the bias's last.
        factors: (m, R) and (R, n + 1), whose product it is; None where none are known.
    """

    whole: torch.Tensor
    factors: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def is_thin(self) -> bool:
        """Whether its factors are known and smaller than it is."""
        return self.factors is not None and sum(factor.numel() for factor in self.factors) < self.whole.numel()

    def moves(self, layer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """How the outputs of the layer move for inputs (N, ...).

        Args:
            layer: a linear layer or a convolution.
            inputs: float32.
        """
        if self.factors is not None and self.is_thin:
            left, right = self.factors
            return nn.functional.linear(inputs, right[:, :-1], right[:, -1]) @ left.T
        return run_modules([_Moving(layer, self.whole)], inputs)


class _Moving(nn.Module):
    """A layer with a change in the place of its parameters."""

    def __init__(self, layer: nn.Module, change: torch.Tensor):
        super().__init__()
        self._layer, self._parameters_of_change = layer, parameters_of(layer, change)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        moves: torch.Tensor = torch.func.functional_call(self._layer, self._parameters_of_change, (values,))
        return moves
