"""Images in folders, ``{train,test}/<class>/<image>``: any common type, any size."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import ToolError
from helpers.images.decoding import decode_files
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.images.source import SPLITS, DecodedImages, Split
from helpers.text import printable

IMAGE_TYPES = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
    *(".heic", ".heif"),  # which Pillow cannot read: better named than left out
}


@dataclass(frozen=True)
class ImageFolder:
    """The image folder ``root``. Its classes are the folders' names, sorted with numbers in counting order."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return printable(self.root.resolve().name)

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return printable(str(self.root.resolve()))

    def fingerprint(self, split: Split) -> str:
        """A hash of the names, sizes and modification times of the files."""
        digest = hashlib.sha256()
        with _told(self.root / split):
            for name, folder in class_folders(self.root).items():
                digest.update(f"{name}\n".encode())
                digest.update(os.fsencode("\n".join(_states(self.root / split / folder))))
        return digest.hexdigest()

    def count(self, split: Split) -> int:
        """How many images the split has, of which none is read."""
        with _told(self.root / split):
            return sum(len(_image_entries(self.root / split / folder)) for folder in class_folders(self.root).values())

    def read(self, split: Split, preprocessing: Preprocessing = CIFAR) -> DecodedImages:
        """Every image of the split, by class, then by file name; who waits is told."""
        with _told(self.root / split):
            folders = class_folders(self.root)
            entries = [_image_entries(self.root / split / folder) for folder in folders.values()]
        files = [Path(entry.path) for of_class in entries for entry in of_class]
        labels = np.repeat(np.arange(len(folders), dtype=np.int64), [len(of_class) for of_class in entries])
        images = decode_files(files, f"decoding {self.name} {split}", preprocessing)
        return DecodedImages(images, labels, tuple(folders))


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the system refuses while folders are listed into a `ToolError`."""
    try:
        yield
    except OSError as error:
        raise ToolError(f"Cannot read {error.filename or folder}: {error.strerror}.") from error


def class_folders(root: Path) -> dict[str, str]:
    """The classes of an image folder, the same in both splits: the name that is shown, and that of the folder.

    Raises:
        ToolError: a split is missing, holds fewer than two classes, or the splits' classes differ.
    """
    train, test = (_folder_names(root / split) for split in SPLITS)
    if train != test:
        odd = ", ".join(map(printable, natural_sorted(train ^ test)))
        raise ToolError(f"The classes of {root}/train and {root}/test differ: {odd} is in one of them only.")
    if len(train) < 2:
        raise ToolError(f"{root}/train has {len(train)} class folders; at least two are needed.")
    folders = {printable(folder): folder for folder in natural_sorted(train)}
    if len(folders) < len(train):
        raise ToolError(f"Two class folders of {root} have names that look the same; rename one in both splits.")
    return folders


def _folder_names(split_folder: Path) -> set[str]:
    if not split_folder.is_dir():
        raise ToolError(f"There is no folder {split_folder}; an image folder is {{train,test}}/<class>/<image files>.")
    with os.scandir(split_folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    _refuse_links_to_nothing(shown)
    return {entry.name for entry in shown if entry.is_dir()}


def _refuse_links_to_nothing(entries: Iterable[os.DirEntry[str]]) -> None:
    for entry in entries:
        if _leads_nowhere(entry):
            raise ToolError(f"{entry.path} is a link to nothing; replace or remove it.")


def _states(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        states = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return sorted(f"{name}/{status.st_size}/{status.st_mtime_ns}" for name, status in states)


def _image_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The image files of a class in natural order. `os.scandir` because 50,000 `Path.stat` take seconds."""
    with os.scandir(folder) as entries:
        images = {entry.name: entry for entry in entries if _is_image(entry)}
    _refuse_links_to_nothing(images.values())
    if not images:
        raise ToolError(f"The class folder {folder} holds no images; fill it, or remove the class from both splits.")
    return [images[name] for name in natural_sorted(images)]


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    is_type = os.path.splitext(entry.name)[1].lower() in IMAGE_TYPES  # noqa: PTH122 - 50,000 times
    return is_type and (entry.is_file() or _leads_nowhere(entry))


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def natural_sorted(names: set[str] | dict[str, os.DirEntry[str]]) -> list[str]:
    """Sorted with numbers in counting order: 1, 2, 10."""
    return sorted(names, key=lambda name: ([_key(part) for part in re.split(r"([0-9]+)", name)], name))


def _key(part: str) -> tuple[int, str]:
    return (int(part), "") if part[:1].isascii() and part[:1].isdigit() else (0, part)
