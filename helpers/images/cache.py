"""Decoded images on disk, so that a second run starts at once.

Two files a split: the pixels (``.npy``, memory-mapped when loaded), and an index (``.json``, written last) with the
labels, the content hash, the source's fingerprint and the state of the pixel file it belongs to. Whatever does not fit
together is decoded again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.cli import say
from helpers.errors import ToolError
from helpers.files.writing import atomic_file, read_json, write_json
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.images.source import DecodedImages, ImageSource, Split

FORMAT = 2  # 2: photos upright, floating-point images


def load_cached(
    source: ImageSource, split: Split, folder: Path, preprocessing: Preprocessing = CIFAR
) -> tuple[DecodedImages, str]:
    """The images of a split and their content hash: from the cache where it is current, else decoded and cached.

    Args:
        source: where they come from.
        split: "train" or "test".
        folder: the cache.
        preprocessing: decides what is kept of a picture.

    Raises:
        ToolError: the source's. A cache that cannot be written costs time on the next run, and is only mentioned.
    """
    cached = read_cached(source, split, folder, preprocessing)
    if cached is not None:
        return cached
    index_path, fingerprint = _index_path(source, split, folder, preprocessing), source.fingerprint(split)
    decoded = source.read(split, preprocessing)
    hash_of_content = content_hash(decoded)
    try:
        _write(index_path, decoded, {"fingerprint": fingerprint, "content_hash": hash_of_content})
    except ToolError as error:
        say(f"note: the decoded images are not cached. {error}")
    return decoded, hash_of_content


def read_cached(
    source: ImageSource, split: Split, folder: Path, preprocessing: Preprocessing
) -> tuple[DecodedImages, str] | None:
    """The same from the cache, or None where it is not current."""
    path = _index_path(source, split, folder, preprocessing)
    return _read(path, source.fingerprint(split), preprocessing.stored_size)


def _index_path(source: ImageSource, split: Split, folder: Path, preprocessing: Preprocessing) -> Path:
    return folder / f"{source.name[:40]}-{split}-{_short_hash(source.location + _kept(preprocessing))}.json"


def _kept(preprocessing: Preprocessing) -> str:
    """What tells the pixels of one preprocessing from another's; nothing for the usual ones, 32x32."""
    return "" if preprocessing.squeezed else f" {preprocessing.resize} {preprocessing.input_size}"


def _read(index_path: Path, fingerprint: str, size: int) -> tuple[DecodedImages, str] | None:
    pixels = index_path.with_suffix(".npy")
    try:
        index = read_json(index_path)
        if [index["format"], index["fingerprint"], index["pixels"]] != [FORMAT, fingerprint, _state(pixels)]:
            return None
        images: NDArray[np.uint8] = np.load(pixels, mmap_mode="r")
        labels = np.asarray(index["labels"], dtype=np.int64)
        decoded = DecodedImages(images, labels, tuple(index["class_names"]))
    except (ToolError, OSError, ValueError, KeyError, TypeError):
        return None
    is_whole = images.dtype == np.uint8 and images.shape == (len(labels), size, size, 3)
    return (decoded, str(index["content_hash"])) if is_whole else None


def _write(index_path: Path, decoded: DecodedImages, entries: dict[str, Any]) -> None:
    pixels = index_path.with_suffix(".npy")
    with atomic_file(pixels) as temporary, temporary.open("wb") as stream:
        np.save(stream, decoded.images)
    content = {"labels": decoded.labels.tolist(), "class_names": list(decoded.class_names)}
    write_json(index_path, {"format": FORMAT, **entries, "pixels": _state(pixels), **content})


def _state(path: Path) -> list[int]:
    """Size and modification time: cheap, and enough to notice a file that was cut, replaced or written to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def content_hash(decoded: DecodedImages) -> str:
    """SHA-256 of the pixels, the labels and the class names, in hexadecimal."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(decoded.images).data)
    digest.update(np.ascontiguousarray(decoded.labels).data)
    digest.update(json.dumps(decoded.class_names).encode())
    return digest.hexdigest()
