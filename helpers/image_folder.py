"""Images in folders, ``{train,test}/<class>/<image>``: any common type, any size."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from helpers.errors import ToolError
from helpers.image_source import IMAGE_SIZE, SPLITS, DecodedImages, Split

IMAGE_TYPES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
CHUNK = 250


@dataclass(frozen=True)
class ImageFolder:
    """The image folder ``root``. Its classes are the folders' names, sorted with numbers in counting order."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return str(self.root.resolve())

    def fingerprint(self, split: Split) -> str:
        """A hash of the names, sizes and modification times of the files."""
        digest = hashlib.sha256()
        for class_name in class_names(self.root):
            digest.update(f"{class_name}\n".encode())
            digest.update("\n".join(_states(self.root / split / class_name)).encode(errors="surrogateescape"))
        return digest.hexdigest()

    def read(self, split: Split) -> DecodedImages:
        """Every image of the split, by class, then by file name; a progress bar on standard error."""
        names = class_names(self.root)
        files = [[Path(entry.path) for entry in _image_entries(self.root / split / name)] for name in names]
        labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(of_class) for of_class in files])
        images = decode_files([file for of_class in files for file in of_class], f"decoding {self.name} {split}")
        return DecodedImages(images, labels, names)


def class_names(root: Path) -> tuple[str, ...]:
    """The classes of an image folder, the same in both splits.

    Raises:
        ToolError: a split is missing, holds fewer than two classes, or the splits' classes differ.
    """
    train, test = (_folder_names(root / split) for split in SPLITS)
    if train != test:
        odd = ", ".join(natural_sorted(train ^ test))
        raise ToolError(f"The classes of {root}/train and {root}/test differ: {odd} is in one of them only.")
    if len(train) < 2:
        raise ToolError(f"{root}/train has {len(train)} class folders; at least two are needed.")
    return tuple(natural_sorted(train))


def _folder_names(split_folder: Path) -> set[str]:
    if not split_folder.is_dir():
        raise ToolError(f"There is no folder {split_folder}; an image folder is {{train,test}}/<class>/<image files>.")
    return {entry.name for entry in split_folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}


def _states(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        states = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return sorted(f"{name}/{status.st_size}/{status.st_mtime_ns}" for name, status in states)


def _image_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The image files of a class in natural order. `os.scandir` because 50,000 `Path.stat` take seconds."""
    with os.scandir(folder) as entries:
        images = {entry.name: entry for entry in entries if _is_image(entry)}
    if not images:
        raise ToolError(f"The class folder {folder} holds no images; fill it, or remove the class from both splits.")
    return [images[name] for name in natural_sorted(images)]


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    return os.path.splitext(entry.name)[1].lower() in IMAGE_TYPES and entry.is_file()  # noqa: PTH122 - 50,000 times


def natural_sorted(names: set[str] | dict[str, os.DirEntry[str]]) -> list[str]:
    """Sorted with numbers in counting order: 1, 2, 10."""
    return sorted(names, key=lambda name: ([_key(part) for part in re.split(r"([0-9]+)", name)], name))


def _key(part: str) -> tuple[int, str]:
    return (int(part), "") if part[:1].isascii() and part[:1].isdigit() else (0, part)


def decode_files(files: list[Path], task: str) -> NDArray[np.uint8]:
    """Decode image files to uint8 (N, 32, 32, 3), in the order given."""
    images = np.empty((len(files), IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as pool, tqdm(total=len(files), desc=task, unit="image", disable=None) as bar:
        for start, chunk in zip(range(0, len(files), CHUNK), pool.map(_decode_chunk, _chunks(files)), strict=True):
            images[start : start + len(chunk)] = chunk
            bar.update(len(chunk))
    return images


def _chunks(files: list[Path]) -> Iterator[list[Path]]:
    return (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))


def _decode_chunk(files: list[Path]) -> NDArray[np.uint8]:
    return np.stack([decode_file(file) for file in files])


def decode_file(path: Path) -> NDArray[np.uint8]:
    """Decode one image file to RGB uint8 (32, 32, 3), resized (bilinear, antialiased) unless it has that size.

    Raises:
        ToolError: the file is empty, truncated, or no image.
    """
    try:
        with Image.open(path) as image:
            rgb = _to_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's ways to say "damaged"
        raise ToolError(f"The image {path} is empty, damaged or no image; replace or remove it.") from error
    if rgb.size != (IMAGE_SIZE, IMAGE_SIZE):
        rgb = rgb.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which `convert` would clip to white
        grey = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
