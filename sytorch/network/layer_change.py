"""A change of a linear layer, and the two thin matrices whose product it mostly is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class LayerChange:
    """A change of a linear layer's weight and bias.

    A step of the preparation sums, over images, products of a gradient and of the image's input in the inverse metric.
    The inputs stay what they are, so all steps together have a rank of no more than the images.

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

    def moves(self, inputs: torch.Tensor) -> torch.Tensor:
        """How the outputs of the layer, (N, m), move for inputs (N, n), float32."""
        if self.factors is not None and self.is_thin:
            left, right = self.factors
            return nn.functional.linear(inputs, right[:, :-1], right[:, -1]) @ left.T
        return nn.functional.linear(inputs, self.whole[:, :-1], self.whole[:, -1])
