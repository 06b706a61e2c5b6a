"""Copies of the edit images: those of a region that a repair covers, and those that show whether it generalizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from editset_helpers.edit_set import EditSet
from editset_helpers.location import ROUNDING, locate
from editset_helpers.regions import Move, Region
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import INPUT_SIZE, to_inputs

SHIFT = 4
NEAR = 3
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def copies(images: torch.Tensor, flip: bool) -> Iterator[torch.Tensor]:
    """Copies that show whether a repair carries over: mirrored if asked, and shifted by `SHIFT` of 64 pixels each way.

    What a shift uncovers repeats the edge. Four of the network's 64 pixels are about two of a CIFAR-10 image; of
    larger inputs it is the same part.

    Args:
        images: (N, 3, H, W); so are the copies.
        flip: whether a mirrored image is still one of its class.
    """
    return _copies_by(SHIFT, images, flip)


def near_copies(images: torch.Tensor, flip: bool) -> Iterator[torch.Tensor]:
    """Copies that a preparation goes for: as `copies`, but shifted by `NEAR` of 64 pixels."""
    return _copies_by(NEAR, images, flip)


def _copies_by(shift: int, images: torch.Tensor, flip: bool) -> Iterator[torch.Tensor]:
    if flip:
        yield images.flip(-1)
    shift = round(shift * images.shape[-1] / INPUT_SIZE)
    for down, right in DIRECTIONS:
        padded = nn.functional.pad(images, (shift,) * 4, mode="replicate")
        top, left = shift - shift * down, shift - shift * right
        yield padded[..., top : top + images.shape[-2], left : left + images.shape[-1]]


def with_copies(edit_set: EditSet, region: Region, test: ImageDataset) -> EditSet:
    """The N edit images, then block by block of N, in the order of `Region.moves`, their copies.

    Raises:
        UsageError: shifts are asked for, but the set holds images that are no test images, and not their pixels.
    """
    if not region.moves:
        return edit_set
    images = [edit_set.images, *_copies(edit_set, region, test)]
    return replace(
        edit_set,
        images=torch.cat(images),
        labels=edit_set.labels.repeat(len(images)),
        metadata=edit_set.metadata * len(images),
        pixels=None,
    )


def _copies(edit_set: EditSet, region: Region, test: ImageDataset) -> list[torch.Tensor]:
    if not region.shifts:
        return [edit_set.images.flip(-1)]
    pixels = pixels_of(edit_set, test)
    return [to_inputs(moved(pixels, move), test.preprocessing) for move in region.moves]


def moved(pixels: NDArray[np.uint8], move: Move) -> NDArray[np.uint8]:
    """The copies of images, (N, H, W, 3), that a move makes; what a shift uncovers repeats the edge."""
    seen = pixels[:, :, ::-1] if move.mirrored else pixels
    rows = np.clip(np.arange(seen.shape[1]) - move.down, 0, seen.shape[1] - 1)
    columns = np.clip(np.arange(seen.shape[2]) - move.right, 0, seen.shape[2] - 1)
    return np.ascontiguousarray(seen[:, rows][:, :, columns])


def pixels_of(edit_set: EditSet, test: ImageDataset) -> NDArray[np.uint8]:
    """The edit images as they are stored, uint8 (N, S, S, 3), usually 32x32."""
    pixels = edit_set.pixels
    if pixels is not None and (to_inputs(pixels.numpy(), test.preprocessing) - edit_set.images).abs().max() <= ROUNDING:
        return pixels.numpy()
    indices = locate(edit_set, test).indices
    if (missing := np.flatnonzero(indices < 0)).size:
        raise UsageError(
            f"Shifted copies need the pixels of the edit images: the set does not hold them, and {len(missing)} of its "
            f"images are no test images (image {missing[0]} is the first); leave out --shifts."
        )
    return test.images[indices]
