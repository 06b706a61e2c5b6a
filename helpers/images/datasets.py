"""One interface to the images: CIFAR-10 (archive, image folder or download), any image folder, the bundled digits."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from helpers.cli import DatasetName, say
from helpers.errors import ToolError, UsageError
from helpers.files.paths import CACHE, CIFAR_CLASSES, DATA
from helpers.images.cache import load_cached, read_cached
from helpers.images.cifar_archive import CifarArchive
from helpers.images.digits import Digits
from helpers.images.folder import ImageFolder, class_folders
from helpers.images.input_spec import USUAL, InputSpec
from helpers.images.preprocessing import Preprocessing, to_inputs
from helpers.images.source import SPLITS, DecodedImages, ImageSource, Split

__all__ = ["ImageDataset", "Split", "as_dataset", "find_source", "load_dataset"]

LISTED = 12


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """The images of one split, as a network gets them.

    Attributes:
        name: "cifar10", "digits", or the image folder's name.
        split: "train" or "test".
        images: uint8, (N, S, S, 3), RGB, of the preprocessing's stored size; perhaps a read-only memory map.
        labels: int64, (N,), positions in ``class_names``.
        class_names: the classes, in the order of the labels.
        content_hash: SHA-256 of images, labels and class names, and of the input specification unless it is the usual.
        spec: how they become inputs.
    """

    name: str
    split: Split
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    content_hash: str
    spec: InputSpec = USUAL

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def preprocessing(self) -> Preprocessing:
        """How the images become inputs."""
        return self.spec.preprocessing

    def inputs(self, chosen: NDArray[np.int64] | slice) -> torch.Tensor:
        """The network's inputs of some images, float32 (n, 3, S, S)."""
        return to_inputs(self.images[chosen], self.preprocessing)


def load_dataset(
    dataset: DatasetName, split: Split, data_root: Path | None = None, spec: InputSpec = USUAL
) -> ImageDataset:
    """Load a split, from the cache of decoded images where that is current.

    Args:
        dataset: CIFAR-10 or the digits.
        split: "train" or "test".
        data_root: a folder to use instead of ``data/``: an image folder ``{train,test}/<class>/*``, or one that
            holds torchvision's CIFAR-10 archive.
        spec: what is remembered of a network, see `helpers.images.input_spec.spec_of`.

    Raises:
        UsageError: the images are of a class that the network does not know.
        ToolError: there are no such images, they cannot be downloaded, or one of them is damaged.
    """
    source = find_source(dataset, data_root)
    decoded, content_hash = load_cached(source, split, CACHE, spec.preprocessing)
    if spec.classes is None:
        _tell_order(source.location, decoded.class_names)
    return as_dataset(source, split, decoded, content_hash, spec)


def as_dataset(
    source: ImageSource, split: Split, decoded: DecodedImages, content_hash: str, spec: InputSpec
) -> ImageDataset:
    """Decoded images with their labels in the order of a network's outputs; raises `UsageError` as `load_dataset`."""
    there, names = decoded.class_names, spec.classes or decoded.class_names
    if unknown := [name for name in there if name not in names]:
        raise UsageError(
            f"{source.location} holds images of {unknown[0]!r}, and the network's classes are {_listed(names)}: "
            "name them all, in the order of its outputs, with eval.py --classes."
        )
    labels = np.array([names.index(name) for name in there], dtype=np.int64)[decoded.labels]
    what = InputSpec(spec.preprocessing) if names == there else spec  # an order that is the source's says nothing new
    return ImageDataset(source.name, split, decoded.images, labels, names, what.hash_of(content_hash), spec)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:LISTED]) + f" and {len(names) - LISTED} more" * (len(names) > LISTED)


@functools.cache
def _tell_order(location: str, names: tuple[str, ...]) -> None:
    """Say it once where torchvision's `ImageFolder` has another order than the usual one here."""
    if (as_text := sorted(names)) != list(names):
        place = next(place for place, name in enumerate(names) if name != as_text[place])
        say(
            f"note: the classes of {location} are taken in counting order: output {place} is {names[place]!r}. Sorted "
            f"as text, as torchvision does it, it would be {as_text[place]!r}; eval.py --classes says another order."
        )


def is_decoded(dataset: DatasetName, data_root: Path | None = None, spec: InputSpec = USUAL) -> bool:
    """Whether both splits are in the cache of decoded images."""
    source = _source_here(dataset, data_root)
    return source is not None and all(
        read_cached(source, split, CACHE, spec.preprocessing) is not None for split in SPLITS
    )


def counted(dataset: DatasetName, data_root: Path | None = None) -> tuple[int, int] | None:
    """How many test and training images an image folder has, though none is decoded yet; None of other sources."""
    source = _source_here(dataset, data_root)
    return (source.count("test"), source.count("train")) if isinstance(source, ImageFolder) else None


def classes_of(dataset: DatasetName, data_root: Path | None = None) -> tuple[str, ...]:
    """The names of the classes, though no image is decoded or even there yet."""
    source = _source_here(dataset, data_root)
    if isinstance(source, ImageFolder):
        return tuple(class_folders(source.root))
    return tuple(map(str, range(10))) if isinstance(source, Digits) else tuple(sorted(CIFAR_CLASSES))


def find_source(dataset: DatasetName, data_root: Path | None = None) -> ImageSource:
    """Where images are: ``data_root``, else the archive under ``data/``, else ``data/cifar10``, else the network."""
    source = _source_here(dataset, data_root)
    if source is None:
        source = CifarArchive(data_root or DATA)
        source.fetch()
    return source


def is_there(dataset: DatasetName) -> bool:
    """Whether there are images without downloading any."""
    return _source_here(dataset, None) is not None


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
