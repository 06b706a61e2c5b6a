"""From pictures to the network's inputs, in two steps: bytes that are kept in the cache, and floats made of them.

Which way belongs to the weights, see `helpers.images.input_spec`. `CIFAR` squeezes a picture to 32x32, resizes it to
70x70 in float32, crops the centre, 64x64, and does not normalise. Any other is torchvision's usual evaluation:
``Resize``, ``CenterCrop``, ``ToTensor``, ``Normalize``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from helpers.errors import UsageError
from helpers.images.source import IMAGE_SIZE

INPUT_SIZE = 64
RESIZED = 70
PREPROCESSING = f"RGB bytes / 255, bilinear antialiased in float32 to {RESIZED}, centre {INPUT_SIZE}"  # names caches
SMALLEST, LARGEST = 63, 2048  # below 63 pixels nothing is left of AlexNet's feature map
LEAST_STD = 1e-3
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input of a network.

    Attributes:
        input_size: the side of the input, in pixels.
        resize: what the shorter side is resized to before the centre is cropped.
        mean, std: of each channel, red, green and blue, of pixels in [0, 1]; an input is ``(pixel - mean) / std``.
        squeezed: whether the picture is squeezed to 32x32 first, and the resizing is in float32 instead of bytes.
    """

    input_size: int
    resize: int
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    squeezed: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` for what can be no preprocessing, of whatever type."""
        sizes = (self.input_size, self.resize)
        if any(type(size) is not int for size in sizes) or not SMALLEST <= self.input_size <= self.resize <= LARGEST:
            raise UsageError(
                f"The input size is a whole number of pixels from {SMALLEST} on, the size to resize to one from there "
                f"to {LARGEST}; they cannot be {self.input_size!r} and {self.resize!r}."
            )
        if not (_are_within(self.mean, 0, 1) and _are_within(self.std, LEAST_STD, 1)):
            raise UsageError(
                "Mean and std are three numbers each, for red, green and blue in [0, 1], the mean from 0 to 1, the std "
                f"from {LEAST_STD} to 1; they cannot be {self.mean!r} and {self.std!r}."
            )
        if type(self.squeezed) is not bool:
            raise UsageError(f"Whether pictures are squeezed is true or false, not {self.squeezed!r}.")

    @property
    def stored_size(self) -> int:
        """The side of the pixels that are kept of a picture."""
        return IMAGE_SIZE if self.squeezed else self.input_size

    @property
    def times_larger(self) -> float:
        """How many times as many pixels an input has as the usual one, which is how long convolutions take."""
        return float((self.input_size / INPUT_SIZE) ** 2)

    @property
    def unnormalised(self) -> Preprocessing:
        """The same without mean and standard deviation: inputs in [0, 1]."""
        return replace(self, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    @property
    def described(self) -> str:
        """For people."""
        first = f"{IMAGE_SIZE} x {IMAGE_SIZE}, " * self.squeezed
        plain = "" if self == self.unnormalised else ", normalised"
        return f"{first}resized to {self.resize}, centre {self.input_size}{plain}"

    def as_json(self) -> dict[str, Any]:
        """As files name it."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Inputs of pixels in [0, 1], (N, 3, H, W), to the bit torchvision's."""
        if self == self.unnormalised:
            return pixels
        mean, std = (_per_channel(values).to(pixels.device) for values in (self.mean, self.std))
        return (pixels - mean) / std

    def unit(self, inputs: torch.Tensor) -> torch.Tensor:
        """The pixels in [0, 1] of inputs, (N, 3, H, W)."""
        if self == self.unnormalised:
            return inputs
        return inputs * _per_channel(self.std) + _per_channel(self.mean)


def preprocessing_from(content: Any) -> Preprocessing:
    """What `Preprocessing.as_json` has written; raises `UsageError` for anything else."""
    if not isinstance(content, dict) or content.keys() != CIFAR.as_json().keys():
        raise UsageError(f"A preprocessing is an object with {', '.join(CIFAR.as_json())}, and nothing else.")
    lists = {name: tuple(content[name]) if isinstance(content[name], list) else None for name in ("mean", "std")}
    return Preprocessing(**{**content, **lists})


def _are_within(values: Any, low: float, high: float) -> bool:
    is_triple = isinstance(values, tuple) and len(values) == 3
    return is_triple and all(
        type(value) in {int, float} and math.isfinite(value) and low <= value <= high for value in values
    )


def _per_channel(values: Channels) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


CIFAR = Preprocessing(INPUT_SIZE, RESIZED, squeezed=True)
IMAGENET = Preprocessing(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PRESETS = {"cifar": CIFAR, "imagenet": IMAGENET}


def stored_pixels(picture: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """What is kept of a picture in red, green and blue: uint8, (S, S, 3), S being the stored size.

    Resized by Pillow (bilinear, antialiased) as torchvision does it: the shorter side, the longer one in proportion.
    """
    if preprocessing.squeezed:
        size = (IMAGE_SIZE, IMAGE_SIZE)
        return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))
    width, height = (int(preprocessing.resize * side / min(picture.size)) for side in picture.size)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    side = preprocessing.input_size
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return np.asarray(picture.crop((left, top, left + side, top + side)))


def to_inputs(images: NDArray[Any], preprocessing: Preprocessing = CIFAR) -> torch.Tensor:
    """Turn stored pixels into inputs of the network.

    The resizing of squeezed images (bilinear, antialiased) is in float32, to the bit torchvision's of such images.
    Pillow's rounds each of its two passes to bytes, and differs from it by at most 1/255; torchvision's kernel for
    bytes differs from Pillow's by up to 2/255.

    Args:
        images: uint8, (N, H, W, 3), RGB; perhaps a read-only memory map.
        preprocessing: the network's.

    Returns:
        float32, (N, 3, S, S), S being the input size; in [0, 1] unless they are normalised.

    Raises:
        ValueError: ``images`` has another type or shape.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 (N, H, W, 3), not {images.dtype} {images.shape}")
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    if preprocessing.squeezed:
        pixels = _resized(pixels, preprocessing)
    return preprocessing.normalise(pixels).contiguous()


def _resized(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    size, side = preprocessing.resize, preprocessing.input_size
    resized = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    edge = round((size - side) / 2.0)
    cropped = resized[..., edge : edge + side, edge : edge + side]
    return cropped.clamp(0, 1)  # interpolated white can be one rounding error above 1
