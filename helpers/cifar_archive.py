"""CIFAR-10 as torchvision keeps it: ``cifar-10-batches-py``, verified by checksums, downloaded when absent."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from helpers.cli import say
from helpers.errors import ToolError
from helpers.image_source import DecodedImages, Split

SECONDS_WITHOUT_AN_ANSWER = 20.0


@dataclass(frozen=True)
class CifarArchive:
    """The folder ``root`` that holds torchvision's archive, unpacked or not, or into which it is downloaded."""

    root: Path
    name: str = "cifar10"

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return str(self.root.resolve())

    def is_present(self) -> bool:
        """Whether the archive is here, unpacked or packed."""
        return self.is_unpacked() or (self.root / CIFAR10.filename).is_file()

    def is_unpacked(self) -> bool:
        """Whether the unpacked files are here; `read` checks that they are whole."""
        return self._batches.is_dir()

    def fingerprint(self, split: Split) -> str:
        """A hash of the names, sizes and modification times of the unpacked files."""
        digest = hashlib.sha256(split.encode())
        for file in sorted(self._batches.glob("*")):
            status = file.stat()
            digest.update(f"{file.name}/{status.st_size}/{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def fetch(self) -> None:
        """Unpack the archive, downloading it first if it is absent or damaged.

        Raises:
            ToolError: there is no network, or the files fail their checksums.
        """
        if not self.is_present():
            say(f"CIFAR-10 is not here: downloading {CIFAR10.url} (170 MB) to {self.root}")
        self._open("test", download=True)

    def read(self, split: Split) -> DecodedImages:
        """Every image of the split in the archive's order."""
        archive = self._open(split, download=False)
        labels = np.asarray(archive.targets, dtype=np.int64)
        return DecodedImages(np.ascontiguousarray(archive.data), labels, tuple(archive.classes))

    def _open(self, split: Split, download: bool) -> CIFAR10:
        try:
            with _impatient(), contextlib.redirect_stdout(sys.stderr):
                return CIFAR10(root=str(self.root), train=split == "train", download=download)
        except (OSError, EOFError, RuntimeError) as error:
            raise ToolError(_three_ways_out(error)) from error

    @property
    def _batches(self) -> Path:
        return self.root / str(CIFAR10.base_folder)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """torchvision sets no time limit: behind a firewall that drops packets, its download would hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_AN_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _three_ways_out(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (
        f"CIFAR-10 is not complete here and could not be downloaded ({reason}). Three ways out: "
        "run this again with a network connection; give an image folder {train,test}/<class>/* with --data-root; "
        "or use the bundled digits with --dataset digits."
    )
