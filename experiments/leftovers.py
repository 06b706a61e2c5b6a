"""What killed sweeps were just writing: hidden files beside results, removed where nobody can be writing them still."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from helpers.files.places import explained_os_errors, hidden_name, link_target

# A folder of a result that is decided on ends in "complete": it is still to be put in its place.
OF_EXPERIMENTS = r"\.(misclassified|class\d+_(in)?correct)_n\d+_s\d+_[0-9a-f]{8,}.*(?<!\.complete)(?<!\.lock)"
TEMPORARY = r"\.[a-z0-9_]{8}"


def remove_of(path: Path) -> None:
    """Remove the temporary files, of `atomic_file`, of one output that this process alone writes."""
    path = link_target(path)
    _remove(path.parent, re.escape(hidden_name(path, "")) + TEMPORARY)


def remove_of_experiments(folder: Path) -> None:
    """Remove what experiments left hidden in a folder that this process alone writes to."""
    _remove(folder, OF_EXPERIMENTS)


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Share a folder with other sweeps; who comes when nobody is there removes what killed ones left.

    Raises:
        ToolError: the folder cannot be written.
    """
    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".sweeps.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):  # others are there, or the file system has no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_of_experiments(folder)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path, pattern: str) -> None:
    hidden = [path for path in folder.glob(".*") if re.fullmatch(pattern, path.name)]
    for path in hidden:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
