"""One interface to the images: CIFAR-10 (archive, image folder or download), any image folder, the bundled digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.files.paths import CACHE, DATA
from helpers.images.cache import load_cached, read_cached
from helpers.images.cifar_archive import CifarArchive
from helpers.images.digits import Digits
from helpers.images.folder import ImageFolder
from helpers.images.source import SPLITS, ImageSource, Split

__all__ = ["ImageDataset", "Split", "find_source", "load_dataset"]


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """The images of one split.

    Attributes:
        name: "cifar10", "digits", or the image folder's name.
        split: "train" or "test".
        images: uint8, (N, 32, 32, 3), RGB; perhaps a read-only memory map.
        labels: int64, (N,), positions in ``class_names``.
        class_names: the classes, in the order of the labels.
        content_hash: SHA-256 of images, labels and class names.
    """

    name: str
    split: Split
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    content_hash: str

    def __len__(self) -> int:
        return len(self.labels)


def load_dataset(dataset: DatasetName, split: Split, data_root: Path | None = None) -> ImageDataset:
    """Load a split, from the cache of decoded images where that is current.

    Args:
        dataset: CIFAR-10 or the digits.
        split: "train" or "test".
        data_root: a folder to use instead of ``data/``: an image folder ``{train,test}/<class>/*``, or one that
            holds torchvision's CIFAR-10 archive.

    Raises:
        ToolError: there are no such images, they cannot be downloaded, or one of them is damaged.
    """
    source = find_source(dataset, data_root)
    decoded, content_hash = load_cached(source, split, CACHE)
    return ImageDataset(source.name, split, decoded.images, decoded.labels, decoded.class_names, content_hash)


def is_decoded(dataset: DatasetName, data_root: Path | None = None) -> bool:
    """Whether both splits are in the cache of decoded images."""
    source = _source_here(dataset, data_root)
    return source is not None and all(read_cached(source, split, CACHE) is not None for split in SPLITS)


def find_source(dataset: DatasetName, data_root: Path | None = None) -> ImageSource:
    """Where images are: ``data_root``, else the archive under ``data/``, else ``data/cifar10``, else the network."""
    source = _source_here(dataset, data_root)
    if source is None:
        source = CifarArchive(data_root or DATA)
        source.fetch()
    return source


def _source_here(dataset: DatasetName, data_root: Path | None) -> ImageSource | None:
    """The same, or None where it is still to be fetched or unpacked."""
    if dataset is DatasetName.DIGITS:
        if data_root is not None:
            raise UsageError("--data-root names a folder of images, but --dataset digits is bundled: give one of them.")
        return Digits()
    if data_root is not None and not data_root.is_dir():
        raise ToolError(f"The data root {data_root} is not a folder.")
    archive = CifarArchive(data_root or DATA)
    folder = ImageFolder(data_root or DATA / "cifar10")
    if not archive.is_present() and folder.root.is_dir():
        return folder
    return archive if archive.is_unpacked() else None
