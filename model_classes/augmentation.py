"""Variants of training images, made on the way from their bytes to inputs, usually from 32x32 to 64x64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from helpers.images.preprocessing import CIFAR, Preprocessing


@dataclass(frozen=True)
class Augmentation:
    """How far a variant may be from its image.

    Attributes:
        shift: the largest move along either axis, in halves of the image's side (0.1 is 1.6 of 32 pixels).
        zoom: the largest relative change of size.
        flip: whether half of the images are mirrored left to right.
    """

    shift: float = 0.0
    zoom: float = 0.0
    flip: bool = False


def augmented_inputs(images: Tensor, augmentation: Augmentation, preprocessing: Preprocessing = CIFAR) -> Tensor:
    """The network's inputs, each from a random variant of an image; random numbers are torch's global ones.

    Without any augmentation this is `to_inputs`, up to rounding to whole bytes: enlarging to 70x70 and cropping to
    64x64 reads the image on a 64x64 grid of 64/70 of its side. Where pictures are not squeezed, their bytes are those
    of the crop, and the grid is theirs.

    Args:
        images: uint8, (N, 3, R, R), R being the stored size, 32 where pictures are squeezed.
        augmentation: the range of the variants.
        preprocessing: the network's.

    Returns:
        float32, (N, 3, S, S), S being the input size, on the device of ``images``; in [0, 1] unless normalised.
    """
    side = preprocessing.input_size
    part = side / preprocessing.resize if preprocessing.squeezed else 1.0
    transforms = _transforms(len(images), augmentation, part).to(images.device)
    grid = functional.affine_grid(transforms, [len(images), 3, side, side], align_corners=False)
    pixels = images.float().div_(255)
    sampled = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return preprocessing.normalise(sampled)


def _transforms(count: int, augmentation: Augmentation, part: float) -> Tensor:
    """(count, 2, 3): where an output's coordinates are read in its image, both from -1 to 1; ``part`` of the side."""
    scale = part * (1 + augmentation.zoom * _uniform(count))
    direction = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if augmentation.flip else torch.ones(count)
    transforms = torch.zeros(count, 2, 3)
    transforms[:, 0, 0] = scale * direction
    transforms[:, 1, 1] = scale
    transforms[:, :, 2] = augmentation.shift * _uniform(count, 2)
    return transforms


def _uniform(*shape: int) -> Tensor:
    """Random numbers from -1 to 1."""
    return 2 * torch.rand(*shape) - 1
