"""Image files, of any common type and size, to bytes of red, green and blue, 32x32 or as a preprocessing wants them.

A squeezed photo stands upright, as its EXIF entry says; others lie as they are stored, for torchvision does not look
at it. Of an animation the first frame counts. Transparency is ignored. Of 16 bits the upper eight count;
floating-point values reach from 0 to 1. What has no range that everybody knows is refused.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from helpers import progress
from helpers.errors import ToolError
from helpers.images.preprocessing import CIFAR, Preprocessing, stored_pixels

CHUNK = 250
MUCH = 2**30  # bytes
SMALL = 4096  # bytes of a file; with two threads 32x32 takes 0.35 ms an image instead of 0.2, 224x224 0.5 instead of 1
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # of TIFF
WHITE_IS_ZERO = 0
SIGNED = 2
SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}


def decode_files(files: list[Path], task: str, preprocessing: Preprocessing = CIFAR) -> NDArray[np.uint8]:
    """Decode image files to uint8 (N, S, S, 3), in the order given; ``task`` is what those who wait are told."""
    images = _room_for(len(files), preprocessing)
    chunks = (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))
    told = progress.loop(task, len(files), "image")
    with warnings.catch_warnings(), ThreadPoolExecutor(_threads(files)) as pool, told as steps:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # what is too large is refused
        decoded = pool.map(lambda chunk: np.stack([decode_file(file, preprocessing) for file in chunk]), chunks)
        for start, chunk in zip(range(0, len(files), CHUNK), decoded, strict=True):
            images[start : start + len(chunk)] = chunk
            steps.update(len(chunk))
    return images


def _threads(files: list[Path]) -> int | None:
    """How many decode; None is for as many as there are cores: of small images most is Python, which they wait for."""
    try:
        sizes = [file.stat().st_size for file in files[:CHUNK]]
    except OSError:
        return None  # decoding says which file it is
    return 1 if sum(sizes) < SMALL * len(sizes) else None


def of_small_images(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """What is kept of images that are 32x32 already, uint8 (N, 32, 32, 3)."""
    if preprocessing.squeezed:
        return images
    kept = _room_for(len(images), preprocessing)
    for position, image in enumerate(images):
        kept[position] = stored_pixels(Image.fromarray(image), preprocessing)
    return kept


def _room_for(count: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """An array of so many images, in a file that nobody sees where it would take too much memory."""
    shape = (count, preprocessing.stored_size, preprocessing.stored_size, 3)
    if math.prod(shape) < MUCH:
        return np.empty(shape, dtype=np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def decode_file(path: Path, preprocessing: Preprocessing = CIFAR) -> NDArray[np.uint8]:
    """Decode one image file to RGB uint8 (S, S, 3), see `stored_pixels`.

    Raises:
        ToolError: the file is empty, truncated, no image, too large, or of a kind whose range of values is not known.
    """
    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                return _pixels(image, preprocessing)
            image.verify()  # the checksums, which are not looked at while pixels are read
        with Image.open(path) as image:
            return _pixels(image, preprocessing)
    except _UnknownRangeError as error:
        raise ToolError(f"The image {path} {error}; save it with 8 bits a channel.") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ToolError(f"The image {path} is too large to be decoded; make it smaller.") from error
    except OSError as error:
        if error.errno is not None:
            raise ToolError(f"Cannot read the image {path}: {error.strerror}.") from error
        raise _damaged(path) from error
    except Exception as error:  # Pillow raises nearly anything at damaged bytes
        raise _damaged(path) from error


def _pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    turned = _upright(image) if preprocessing.squeezed else image
    return stored_pixels(_to_rgb(turned, image), preprocessing)


class _UnknownRangeError(Exception):
    """Values that could mean anything; the text goes on from the file's name."""


def _damaged(path: Path) -> ToolError:
    return ToolError(f"The image {path} is empty, damaged or no image; replace or remove it.")


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _to_rgb(image: Image.Image, file: Image.Image) -> Image.Image:
    """``image`` in red, green and blue; ``file`` is what it was made from, which knows how it is stored."""
    tags: Mapping[int, Any] = getattr(file, "tag_v2", {})
    is_signed = SIGNED in np.atleast_1d(tags.get(SAMPLE_FORMAT, 1))
    if is_signed or (image.mode == "I" and file.format != "PPM"):
        raise _UnknownRangeError("has signed or 32-bit integers, whose range is not known")
    if image.mode == "F":
        return _grey(np.rint(255 * _unit_range(np.asarray(image))), tags)
    if image.mode in SIXTEEN_BITS or image.mode == "I":
        bits = int(np.atleast_1d(tags.get(BITS, 16))[0])
        return _grey(np.asarray(image) >> (bits - 8), tags)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    smallest, largest = float(values.min()), float(values.max())
    if not (smallest >= 0 and largest <= 1):  # NaN, too
        raise _UnknownRangeError(f"has floating-point values from {smallest:g} to {largest:g} instead of 0 to 1")
    return values


def _grey(levels: NDArray[Any], tags: Mapping[int, Any]) -> Image.Image:
    grey = levels.astype(np.uint8)
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    return Image.fromarray(255 - grey if inverted else grey).convert("RGB")
