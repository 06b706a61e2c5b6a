"""Where a file may be written: through links, beside its place, never over what is not to be replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import ToolError

LONGEST_PREFIX = 100  # bytes; 255 are allowed nearly everywhere, 143 in encrypted folders
ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def is_no_file(path: Path) -> bool:
    """Whether something other than a regular file has that name: a folder, a device, a pipe."""
    return path.exists() and not path.is_file()


def link_target(path: Path) -> Path:
    """The file that a symbolic link means in the end, there or not; any other path as it is.

    Raises:
        ToolError: the link leads nowhere that a file could be.
    """
    if not path.is_symlink():
        return path
    try:
        target = path.resolve()
    except RuntimeError as error:
        raise ToolError(f"Cannot write {path}: it is a link that leads back to itself; remove it.") from error
    if target.is_symlink() or not target.parent.is_dir():
        raise ToolError(f"Cannot write {path}: it is a link to {target}, whose folder is not there.")
    return target


def hidden_name(path: Path, suffix: str) -> str:
    """``.NAME`` with a suffix, cut so that it is allowed wherever ``path`` is."""
    return "." + path.name.encode(errors="ignore")[:LONGEST_PREFIX].decode(errors="ignore") + suffix


@contextlib.contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn what the system says while ``path`` is written into a `ToolError`."""
    try:
        yield
    except OSError as error:
        hint = " Choose a shorter one." if error.errno == errno.ENAMETOOLONG else ""
        raise ToolError(f"Cannot write {path}: {error.strerror or error}.{hint}") from error
    except RuntimeError as error:  # torch.save reports a full disk as a bare RuntimeError
        if not any(mark in str(error) for mark in ("PytorchStreamWriter", "inline_container", "iostream")):
            raise
        raise ToolError(f"Cannot write {path}: the disk is full or went away.") from error


def refuse_unwritable(path: Path) -> None:
    """Raise `ToolError` where ``path`` is something that must not be replaced: no file, or one made read-only."""
    if is_no_file(path):
        raise ToolError(f"Cannot write {path}: it is there, and is not a file.")
    if path.exists() and not (path.stat().st_mode & ANY_WRITE and os.access(path, os.W_OK)):
        raise ToolError(f"Cannot write {path}: it is read-only. Name another file, or make it writable.")
