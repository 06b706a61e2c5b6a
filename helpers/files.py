"""Files that are either whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from helpers.errors import ToolError, UsageError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on a clean exit it replaces ``path``, else it is removed.

    Raises:
        ToolError: the folder cannot be written, the disk is full, or ``path`` is a folder or a device, which a rename
            would destroy. ``path`` is then as it was.
    """
    if is_no_file(path):
        raise ToolError(f"Cannot write {path}: it is there, and is not a file.")
    with _explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    temporary = Path(name)
    try:
        with _explain_os_errors(path):
            yield temporary
            _flush_to_disk(temporary)
            _adopt_usual_permissions(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_no_file(path: Path) -> bool:
    """Whether something other than a regular file has that name: a folder, a device, a pipe."""
    return path.exists() and not path.is_file()


@contextlib.contextmanager
def _explain_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ToolError(f"Cannot write {path}: {error.strerror or error}.") from error
    except RuntimeError as error:  # torch.save reports a full disk as a bare RuntimeError
        if not any(mark in str(error) for mark in ("PytorchStreamWriter", "inline_container", "iostream", "write")):
            raise
        raise ToolError(f"Cannot write {path}: the disk is full or went away.") from error


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _adopt_usual_permissions(path: Path) -> None:
    """``mkstemp`` makes files only their owner can read; results are to be shared like any other file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically. NaN and infinity are refused, not written."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `ToolError` when it is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ToolError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:
        raise ToolError(f"{path} is not a readable JSON file: {error}.") from error


def save_tensors(path: Path, content: Any) -> None:
    """``torch.save``, atomically."""
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def load_tensors(path: Path, what: str) -> Any:
    """``torch.load`` on the CPU without running code from the file.

    Args:
        path: the file.
        what: what it should be, for the messages ("weights", "edit set").

    Raises:
        ToolError: the file is missing, empty, truncated, or holds something other than tensors.
    """
    if is_no_file(path):
        raise ToolError(f"{path} is not a file, so no {what} can be read from it.")
    if not path.exists():
        raise ToolError(f"The {what} file {path} does not exist.")
    try:
        if path.stat().st_size == 0:
            raise ToolError(f"The {what} file {path} is empty; make it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a pickle's protocol is not the user's concern
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ToolError(f"The {what} file {path} is not a plain tensor file, so it was not loaded.") from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, OSError) as error:
        raise ToolError(f"The {what} file {path} is damaged or truncated; make or copy it again.") from error


def check_writable(weights: Path) -> None:
    """Fail now rather than after minutes of work.

    Raises:
        UsageError: ``weights`` is a folder or a device, or has the name of the JSON file beside it.
        ToolError: its folder cannot be written.
    """
    if is_no_file(weights) or weights.suffix == ".json":
        raise UsageError(f"{weights} cannot be the weights file: name a file like artifacts/alexnet.pth.")
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=weights.parent):
            pass
    except OSError as error:
        raise ToolError(f"Cannot write {weights}: {error.strerror or error}.") from error


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
