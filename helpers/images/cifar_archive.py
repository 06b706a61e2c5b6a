"""CIFAR-10 as torchvision keeps it: ``cifar-10-batches-py``, verified by checksums, downloaded when absent."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.cli import say
from helpers.errors import ToolError
from helpers.images.decoding import of_small_images
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.images.source import DecodedImages, Split
from helpers.tables import printable

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

SECONDS_WITHOUT_AN_ANSWER = 20.0
# As torchvision names them; it is slow to import, so only what reads or fetches the archive does.
BATCHES, PACKED = "cifar-10-batches-py", "cifar-10-python.tar.gz"
FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")


@dataclass(frozen=True)
class CifarArchive:
    """The folder ``root`` that holds torchvision's archive, unpacked or not, or into which it is downloaded."""

    root: Path
    name: str = "cifar10"

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return printable(str(self.root.resolve()))

    def is_present(self) -> bool:
        """Whether the archive is here, unpacked or packed."""
        return self._batches.is_dir() or self._packed.is_file()

    def is_unpacked(self) -> bool:
        """Whether every unpacked file is here; `read` checks that they are whole."""
        return all((self._batches / name).is_file() for name in FILES)

    def fingerprint(self, split: Split) -> str:
        """A hash of the names, sizes and modification times of the unpacked files."""
        digest = hashlib.sha256(split.encode())
        for file in sorted(self._batches.glob("*")):
            status = file.stat()
            digest.update(f"{file.name}/{status.st_size}/{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def fetch(self) -> None:
        """Unpack the archive, downloading it first if it is absent or damaged. Each file is replaced as a whole.

        Raises:
            ToolError: there is no network, or the folder cannot be written.
        """
        from torchvision.datasets import CIFAR10  # noqa: PLC0415 - slow
        from torchvision.datasets.utils import check_integrity  # noqa: PLC0415

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix=".cifar10.") as folder:
                packed = (
                    self._packed if check_integrity(self._packed, CIFAR10.tgz_md5) else self._download(Path(folder))
                )
                with tarfile.open(packed) as archive:
                    archive.extractall(folder, filter="data")
                self._batches.mkdir(exist_ok=True)
                for file in (Path(folder) / BATCHES).iterdir():
                    file.replace(self._batches / file.name)
        except OSError as error:
            raise ToolError(f"Cannot unpack CIFAR-10 in {self.root}: {error.strerror or error}.") from error

    def read(self, split: Split, preprocessing: Preprocessing = CIFAR) -> DecodedImages:
        """Every image of the split in the archive's order; damaged files are fetched anew.

        Raises:
            ToolError: they cannot be.
        """
        try:
            archive = self._open(split)
        except (OSError, EOFError, RuntimeError):  # what torchvision says of a wrong checksum
            say(f"note: the files in {self._batches} are not whole: unpacking them anew.")
            self.fetch()
            archive = self._open(split)
        labels = np.asarray(archive.targets, dtype=np.int64)
        images = of_small_images(np.ascontiguousarray(archive.data), preprocessing)
        return DecodedImages(images, labels, tuple(archive.classes))

    def _open(self, split: Split) -> CIFAR10:
        from torchvision.datasets import CIFAR10  # noqa: PLC0415 - slow

        return CIFAR10(root=str(self.root), train=split == "train", download=False)

    def _download(self, folder: Path) -> Path:
        """The archive, in its place, by way of another folder."""
        from torchvision.datasets import CIFAR10, utils  # noqa: PLC0415 - slow

        say(f"There is no whole CIFAR-10 here: downloading {CIFAR10.url} (170 MB) to {self.root}")
        try:
            with _impatient(), contextlib.redirect_stdout(sys.stderr):
                utils.download_url(CIFAR10.url, folder, PACKED, CIFAR10.tgz_md5)
        except (OSError, EOFError, RuntimeError) as error:
            raise ToolError(_three_ways_out(error)) from error
        (folder / PACKED).replace(self._packed)
        return self._packed

    @property
    def _packed(self) -> Path:
        return self.root / PACKED

    @property
    def _batches(self) -> Path:
        return self.root / BATCHES


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
