"""Files of tensors: what they may hold, and what is said of those that hold something else."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from helpers.errors import ToolError
from helpers.files.places import is_no_file

MAKERS = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
HARMLESS: list[Any] = [  # what scripts put beside tensors; making them runs no code of the file
    argparse.Namespace,
    pathlib.PosixPath,
    np.ndarray,
    np.dtype,
    *((make, f"numpy.{core}.multiarray.{name}") for name, make in MAKERS.items() for core in ("core", "_core")),
    *(type(np.dtype(code)) for code in "?bhilqBHILQefd"),
]


def is_plain(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a tensor with its entries in memory: not sparse, nested, quantised or on ``meta``."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_nested or value.is_quantized or value.is_meta)
    )


def check_readable(path: Path, what: str) -> None:
    """Raise `ToolError` unless ``path`` is a file, not empty, and may be read."""
    try:
        if is_no_file(path):
            raise ToolError(f"{path} is not a file, so no {what} can be read from it.")
        if not path.exists():
            raise ToolError(f"The {what} file {path} does not exist.")
        if path.stat().st_size == 0:
            raise ToolError(f"The {what} file {path} is empty; make it again.")
        path.open("rb").close()
    except OSError as error:
        raise ToolError(f"Cannot read the {what} file {path}: {error.strerror or error}.") from error


def damaged(path: Path, what: str) -> ToolError:
    """What is said of a file whose content does not hold together."""
    return ToolError(f"The {what} file {path} is damaged or truncated; make or copy it again.")


def not_plain(path: Path, what: str, error: pickle.UnpicklingError, how_to_save: str = "") -> ToolError:
    """What is said of a file that holds something other than tensors, perhaps with a sentence on what to do."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found is None:
        return ToolError(f"The {what} file {path} is not a plain tensor file, so it was not loaded.")
    return ToolError(
        f"The {what} file {path} is not a plain tensor file: it holds objects of {found[1]}, which only code can make, "
        f"so it was not loaded.{how_to_save}"
    )


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def check_sums(path: Path) -> None:
    """Raise `zipfile.BadZipFile` where a zip archive holds another record than was written; torch does not look."""
    if not is_zip(path):
        return
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.CRC:  # `torch.serialization.set_crc32_options(False)` leaves them 0
                with archive.open(record) as stream:
                    while stream.read(2**20):
                        pass
