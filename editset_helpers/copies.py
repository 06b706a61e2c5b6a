"""Copies of the edit images that show whether a repair generalizes: shifted, and flipped where that keeps the class."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

SHIFT = 4
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def copies(images: torch.Tensor, flip: bool) -> Iterator[torch.Tensor]:
    """Copies of all images, (N, 3, H, W) each: mirrored if asked, then shifted by `SHIFT` pixels in four directions.

    What a shift uncovers repeats the edge. Four of the network's pixels are about two of a CIFAR-10 image.
    """
    if flip:
        yield images.flip(-1)
    for down, right in DIRECTIONS:
        padded = nn.functional.pad(images, (SHIFT,) * 4, mode="replicate")
        top, left = SHIFT - SHIFT * down, SHIFT - SHIFT * right
        yield padded[..., top : top + images.shape[-2], left : left + images.shape[-1]]
