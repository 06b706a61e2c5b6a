"""Files that are either whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from helpers.errors import ToolError
from helpers.files.places import explained_os_errors, hidden_name, link_target, refuse_unwritable
from helpers.files.tensors import HARMLESS, check_readable, check_sums, damaged, is_zip, not_plain


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on a clean exit it replaces ``path``, else it is removed.

    A symbolic link stays, and its target is replaced. The permissions of a file that is replaced stay, too.

    Raises:
        ToolError: the folder cannot be written, the disk is full, or ``path`` is a folder, a device or read-only, which
            a rename would destroy. ``path`` is then as it was.
    """
    with explained_os_errors(path):
        target = link_target(path)
        mode = _mode_to_keep(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=hidden_name(target, "."))
        os.close(handle)
    temporary = Path(name)
    try:
        with explained_os_errors(path):
            yield temporary
            flush_to_disk(temporary)
            temporary.chmod(mode)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _mode_to_keep(path: Path) -> int:
    """The permissions of a file that is there; else the usual ones: ``mkstemp``'s files are their owner's alone."""
    refuse_unwritable(path)
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def flush_to_disk(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a result for this process: another that asks for it meanwhile is refused at once.

    The lock is the kernel's (``flock``), on a hidden file beside ``path``, and ends with the process, however that
    ends; a hidden file that a killed process leaves holds nothing. It is not for nesting: a process that holds ``path``
    is refused, too. Where the file system has no locks, nothing is held.

    Raises:
        ToolError: another run holds ``path``, or its folder cannot be written.
    """
    with explained_os_errors(path):
        target = link_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(hidden_name(target, f".{short_hash(target.name)}.lock"))
        handle = _locked(lock)
    if handle is None:
        raise ToolError(f"Another run is writing {path}: wait until it ends, or name another output.")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _locked(lock: Path) -> int | None:
    """An open handle that holds the file ``lock``; None where another does."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # no locks here: better unlocked than refused
            return handle
        if _is_still(handle, lock):
            return handle
        os.close(handle)  # whoever held it has removed it meanwhile


def _is_still(handle: int, lock: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), lock.stat())
    return False


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that tell names from each other."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


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
    except (OSError, ValueError, RecursionError) as error:
        raise ToolError(f"{path} is not a readable JSON file: {error}.") from error


def save_tensors(path: Path, content: Any) -> None:
    """``torch.save``, atomically."""
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def load_tensors(path: Path, what: str, how_to_save: str = "", mapped: bool = False) -> Any:
    """``torch.load`` on the CPU without running code from the file. The checksums of a zip archive are checked.

    Args:
        path: the file.
        what: what it should be, for the messages ("weights", "edit set").
        how_to_save: a sentence for files that hold other objects than tensors.
        mapped: for a look at what is there: of a zip archive, tensors are read when they are used, checksums never.

    Raises:
        ToolError: the file is missing, empty, damaged, or holds something other than tensors.
    """
    check_readable(path, what)
    torch.serialization.add_safe_globals(HARMLESS)
    try:
        if not (mapped := mapped and is_zip(path)):
            check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a pickle's protocol is not the user's concern
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise not_plain(path, what, error, how_to_save) from error
    except MemoryError as error:
        raise ToolError(f"The {what} file {path} is damaged, or larger than the memory here.") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise damaged(path, what) from error


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
