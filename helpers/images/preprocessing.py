"""From images to the network's inputs: resized to 70x70, centre-cropped to 64x64, in [0, 1], not normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

INPUT_SIZE = 64
RESIZED = 70
EDGE = (RESIZED - INPUT_SIZE) // 2
PREPROCESSING = f"RGB bytes / 255, bilinear antialiased in float32 to {RESIZED}, centre {INPUT_SIZE}"  # names caches


def to_inputs(images: NDArray[Any]) -> torch.Tensor:
    """Turn images into inputs of the network.

    The resizing (bilinear, antialiased) is in float32, to the bit torchvision's of such images. Pillow's rounds each of
    its two passes to bytes, and differs from it by at most 1/255; torchvision's kernel for bytes differs from Pillow's
    by up to 2/255.

    Args:
        images: uint8, (N, H, W, 3), RGB; perhaps a read-only memory map.

    Returns:
        float32, (N, 3, 64, 64), in [0, 1].

    Raises:
        ValueError: ``images`` has another type or shape.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 (N, H, W, 3), not {images.dtype} {images.shape}")
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    resized = functional.interpolate(pixels, (RESIZED, RESIZED), mode="bilinear", antialias=True)
    cropped = resized[..., EDGE:-EDGE, EDGE:-EDGE]
    return cropped.clamp(0, 1).contiguous()  # interpolated white can be one rounding error above 1
