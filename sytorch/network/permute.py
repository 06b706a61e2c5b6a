"""The one step of a chain that torch has no module for: axes in another order."""

from __future__ import annotations

import torch
from torch import nn


class Permute(nn.Module):
    """Puts the axes of images (N, ...) into another order, the first one staying where it is.

    Args:
        axes: of the result, by their place in what is given: ``(0, 2, 3, 1)`` makes (N, H, W, C) of (N, C, H, W).
    """

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        if axes[:1] != (0,) or sorted(axes) != list(range(len(axes))):
            raise ValueError(f"{axes} is no order of axes that leaves the first where it is")
        self.axes = axes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The same numbers in the other order, contiguous."""
        return images.permute(self.axes).contiguous()

    def extra_repr(self) -> str:
        """The axes."""
        return ", ".join(map(str, self.axes))
