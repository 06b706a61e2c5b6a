"""Pictures as PNG, and the test images they come from: read without writing the cache that the scripts keep."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from helpers.errors import ToolError
from helpers.images.cache import content_hash, load_cached
from helpers.images.cifar_archive import CifarArchive
from helpers.images.datasets import as_dataset
from helpers.images.digits import Digits
from helpers.images.folder import ImageFolder
from helpers.images.input_spec import InputSpec, spec_there
from helpers.images.preprocessing import Preprocessing
from helpers.images.source import DecodedImages, ImageSource, Split
from visualizer.caching import UNREADABLE


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image, uint8 (H, W, 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def input_png(image: torch.Tensor) -> bytes:
    """Encode one of the network's inputs, float32 (3, H, W), as it was before it was normalised."""
    return png((image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


@dataclass(frozen=True)
class _ReadOnly:
    """A source that can be had from the cache only; `load_cached` would otherwise write what it has decoded."""

    source: ImageSource

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def location(self) -> str:
        return self.source.location

    def fingerprint(self, split: Split) -> str:
        return self.source.fingerprint(split)

    def read(self, split: Split, preprocessing: Preprocessing) -> DecodedImages:  # noqa: ARG002 - no use of a kept one
        raise ToolError(f"The {split} images of {self.name} are not cached.")


class SplitPictures:
    """The images of a split that reports speak of, by the hash of their content, so that no other one is ever shown."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kept: dict[str, DecodedImages] = {}
        self._lock = threading.Lock()

    def find(self, report: dict[str, Any], wanted_hash: str, split: Split = "test") -> DecodedImages:
        """The images as they are stored, with their labels and classes.

        Raises:
            ToolError: they are not here, or are others; the message says so for people.
        """
        with self._lock:
            if wanted_hash not in self._kept:
                images, found = self._load(report, split)
                if found != wanted_hash:
                    told = f"the {split} images of {report.get('dataset')!r} here"
                    raise ToolError(f"{told} are not those of this repair.")
                self._kept[wanted_hash] = images
            return self._kept[wanted_hash]

    def _load(self, report: dict[str, Any], split: Split) -> tuple[DecodedImages, str]:
        source = find_test_source(self._root, report.get("dataset"), report.get("data_root"))
        spec = spec_there(self._root / str(report.get("weights_path")))
        try:
            decoded, found = load_cached(_ReadOnly(source), split, self._root / "data/cache", spec.preprocessing)
            return _as_seen(source, split, decoded, found, spec)
        except ToolError:
            pass
        except UNREADABLE as error:
            raise ToolError(f"the {split} images of {source.name} cannot be read: {error}") from error
        decoded = source.read(split, spec.preprocessing)
        return _as_seen(source, split, decoded, content_hash(decoded), spec)


def _as_seen(
    source: ImageSource, split: Split, decoded: DecodedImages, found: str, spec: InputSpec
) -> tuple[DecodedImages, str]:
    """The images, and the hash that a network with this specification has them under."""
    seen = as_dataset(source, split, decoded, found, spec)
    return DecodedImages(seen.images, seen.labels, seen.class_names), seen.content_hash


def find_test_source(root: Path, dataset: Any, data_root: Any) -> ImageSource:
    """Where the images of a report lie. Unlike `find_source`, this neither unpacks nor downloads.

    Raises:
        ToolError: they are not here.
    """
    if dataset == "digits" and data_root is None:
        return Digits()
    if dataset != "cifar10" and data_root is None:
        raise ToolError(f"the report does not say where the images of {dataset!r} lie.")
    archive = CifarArchive(root / str(data_root or "data"))
    folder = ImageFolder(root / str(data_root or "data/cifar10"))
    if archive.is_unpacked():
        return archive
    if folder.root.is_dir():
        return folder
    raise ToolError(f"the test images of {dataset!r} are not at {data_root or 'data/cifar10'}.")
