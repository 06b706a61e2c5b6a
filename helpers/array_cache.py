"""Arrays that are computed once and kept under ``data/cache``, in files named by all that they depend on."""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.cli import say
from helpers.errors import ToolError
from helpers.files.paths import CACHE
from helpers.files.writing import atomic_file
from helpers.images.preprocessing import PREPROCESSING

FORMAT = 2  # to be raised where anything that is kept is computed in another way
Fact = str | int | float | None


def cache_path(kind: str, **facts: Fact) -> Path:
    """``data/cache/KIND-HASH.npy``: of the facts, every digit of numbers among them, the preprocessing and `FORMAT`.

    Args:
        kind: what is kept, for people.
        facts: everything else that decides what it is: hashes of weights and images, counts, seeds, ridges, ...
    """
    content = json.dumps({"facts": facts, "preprocessing": PREPROCESSING, "format": FORMAT}, sort_keys=True)
    return CACHE / f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:32]}.npy"


def read_array(path: Path, shape: tuple[int | None, ...], dtype: type[np.generic] = np.float32) -> NDArray[Any] | None:
    """A cached array; what is written to it does not reach the file.

    Args:
        path: the file.
        shape: what it is to have; None for any length.
        dtype: what its entries are to be.

    Returns:
        None where there is no such file, it is damaged, or what it holds has another shape or type.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(shape):
        return None
    return array if all(wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)) else None


def keep_array(path: Path, array: NDArray[np.generic]) -> None:
    """Cache an array. Where that is impossible it costs time on the next run, and is only mentioned."""
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)
    except ToolError as error:
        _mention(path.parent, str(error))


@functools.cache
def _mentioned() -> set[Path]:
    return set()


def _mention(folder: Path, error: str) -> None:
    """Once for each folder: a full disk fails again and again."""
    if folder not in _mentioned():
        _mentioned().add(folder)
        say(f"note: what is computed is not kept for the next run. {error}")
