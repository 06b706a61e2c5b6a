"""Variants of training images, made on the way from 32x32 bytes to 64x64 inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from helpers.images.preprocessing import INPUT_SIZE, RESIZED


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


def augmented_inputs(images: Tensor, augmentation: Augmentation) -> Tensor:
    """The network's inputs, each from a random variant of an image; random numbers are torch's global ones.

    Without any augmentation this is `to_inputs`, up to rounding to whole bytes: enlarging to 70x70 and cropping to
    64x64 reads the image on a 64x64 grid of 64/70 of its side.

    Args:
        images: uint8, (N, 3, 32, 32).
        augmentation: the range of the variants.

    Returns:
        float32, (N, 3, 64, 64), in [0, 1], on the device of ``images``.
    """
    transforms = _transforms(len(images), augmentation).to(images.device)
    grid = functional.affine_grid(transforms, [len(images), 3, INPUT_SIZE, INPUT_SIZE], align_corners=False)
    pixels = images.float().div_(255)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _transforms(count: int, augmentation: Augmentation) -> Tensor:
    """(count, 2, 3): where an output's coordinates are read in its image, both from -1 to 1."""
    scale = INPUT_SIZE / RESIZED * (1 + augmentation.zoom * _uniform(count))
    direction = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if augmentation.flip else torch.ones(count)
    transforms = torch.zeros(count, 2, 3)
    transforms[:, 0, 0] = scale * direction
    transforms[:, 1, 1] = scale
    transforms[:, :, 2] = augmentation.shift * _uniform(count, 2)
    return transforms


def _uniform(*shape: int) -> Tensor:
    """Random numbers from -1 to 1."""
    return 2 * torch.rand(*shape) - 1
