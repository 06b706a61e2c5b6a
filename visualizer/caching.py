"""What was read from files, kept until the file changes."""

from __future__ import annotations

import pickle
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from helpers.errors import ToolError

T = TypeVar("T")

# What reading a file that somebody else wrote, or is writing, can end in.
UNREADABLE = (
    *(OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)


class FileCache(Generic[T]):
    """Reads files, and remembers the last few by path, size and modification time. Safe to share between threads.

    ``beside`` names a second file that ``read`` looks at, whose change counts too.
    """

    def __init__(self, read: Callable[[Path], T], size: int, beside: Callable[[Path], Path] | None = None) -> None:
        self._read = read
        self._size = size
        self._beside = beside
        self._kept: OrderedDict[Path, tuple[str, T]] = OrderedDict()
        self._reading: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> T:
        """What the file holds now.

        Raises:
            ToolError: it has vanished, is damaged, or is something else.
        """
        with self._lock:
            reading = self._reading.setdefault(path, threading.Lock())
        with reading:  # sixty images of one set must not load it sixty times, and other files need not wait
            version = self._version(path)
            with self._lock:
                kept = self._kept.pop(path, None)
            value = kept[1] if kept is not None and kept[0] == version else self._attempt(path)
            with self._lock:
                self._keep(path, (version, value))
        return value

    def _keep(self, path: Path, entry: tuple[str, T]) -> None:
        self._kept[path] = entry
        while len(self._kept) > self._size:
            self._reading.pop(self._kept.popitem(last=False)[0], None)

    def _version(self, path: Path) -> str:
        second = None if self._beside is None else self._beside(path)
        return version_of(path) + (version_of(second) if second is not None and second.exists() else "")

    def _attempt(self, path: Path) -> T:
        try:
            return self._read(path)
        except UNREADABLE as error:
            raise ToolError(f"{path} cannot be read: {error}") from error


def version_of(path: Path) -> str:
    """A text that differs whenever the file may differ; raises `ToolError` where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise ToolError(f"{path} has vanished.") from error
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
