"""The files that the page may show, and their names in addresses: paths relative to the project's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from helpers.errors import ToolError


class UnknownFileError(ToolError):
    """An address names a file that is not among those that may be shown."""


@dataclass(frozen=True)
class Kind:
    """One kind of files: the folders, relative to the project's, that it lies in, and how its names end."""

    folders: tuple[str, ...]
    suffix: str


EDIT_SETS = Kind(("data/edit_sets",), ".pt")
REPORTS = Kind(("artifacts", "results"), ".json")
OUTCOMES = Kind(("artifacts", "results"), "_outcomes.pt")
RESULTS = Kind(("results",), ".csv")


def list_names(root: Path, kind: Kind) -> list[str]:
    """The names of the files there are, sorted. What a link leads out of its folder is not among them."""
    return sorted(name for folder in kind.folders for name in _found(root, folder, kind))


def _found(root: Path, folder: str, kind: Kind) -> Iterator[str]:
    """The names in a folder. Where no link is followed, nothing leads out of it, so that only links are looked at."""
    try:
        entries = list(os.scandir(root / folder))
    except OSError:  # it has vanished meanwhile
        return
    for entry in entries:
        name = f"{folder}/{entry.name}"
        if not entry.name.startswith(".") and _is_text(name):
            if entry.is_dir(follow_symlinks=False):
                yield from _found(root, name, kind)
            elif name.endswith(kind.suffix) and (_is_plain(entry) or _is_shown(root, kind, name)):
                yield name


def _is_plain(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and "\\" not in entry.name


def find_file(root: Path, kind: Kind, name: str) -> Path:
    """The file with a name that `list_names` gives.

    Raises:
        UnknownFileError: there is no such file, or the name leads elsewhere.
    """
    if not _is_shown(root, kind, name):
        raise UnknownFileError(f"There is no file {name!r} here, or it may not be shown.")
    return root / name


def name_of(root: Path, kind: Kind, path: str | None) -> str | None:
    """The name of a file that a report or a table mentions, absolute or relative to the project; None if not shown."""
    if not path:
        return None
    relative = path.removeprefix(f"{root}/")
    return relative if _is_shown(root, kind, relative) else None


def _is_shown(root: Path, kind: Kind, name: str) -> bool:
    parts = name.split("/")
    if "\0" in name or "\\" in name or any(part.startswith(".") or not part for part in parts):
        return False
    folder = next((folder for folder in kind.folders if PurePosixPath(name).is_relative_to(folder)), None)
    if folder is None or not name.endswith(kind.suffix):
        return False
    try:
        target = (root / name).resolve(strict=True)
        return target.is_file() and target.is_relative_to((root / folder).resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def _is_text(name: str) -> bool:
    """Whether a name can stand in an address; bytes that are no UTF-8 cannot."""
    return os.fsencode(name).decode(errors="replace") == name
