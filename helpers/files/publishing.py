"""The files of one result appear together, or not at all: written into a folder beside, which is renamed when complete.

The rename decides: a folder that still has its first name is thrown away, one that has its second is carried out, by
whoever comes next if this process is killed. So a result is wholly the old one or wholly the new one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import ToolError
from helpers.files.places import explained_os_errors, hidden_name
from helpers.files.writing import exclusive, flush_to_disk, short_hash

LIST = ".publication.json"
COMPLETE, UNFINISHED = ".complete", ".unfinished"


@dataclass(frozen=True)
class Publication:
    """Files that are being made.

    Attributes:
        output: the weights file that names the result.
        folder: where its files are written, under the names that they will have.
    """

    output: Path
    folder: Path

    def staged(self, path: Path) -> Path:
        """Where a file is written that will be at ``path``, which is beside the output."""
        return self.folder / path.name

    def publish(self, removed: Iterable[Path] = ()) -> None:
        """Put all files of the folder into their places; ``removed`` are those of the last result that are no more.

        Raises:
            ToolError: the disk is full or went away; everything is then as it was.
        """
        with explained_os_errors(self.output):
            names = [path.name for path in removed if not self.staged(path).exists()]
            listed = {"output": self.output.name, "removed": names}
            (self.folder / LIST).write_text(json.dumps(listed), encoding="utf-8")
            for path in self.folder.iterdir():
                flush_to_disk(path)
            flush_to_disk(self.folder)
            self.folder.rename(_folder(self.output, COMPLETE))
            _carry_out(self.output)


@contextlib.contextmanager
def publication(output: Path) -> Iterator[Publication]:
    """A folder for the files of a result, which is held for this process meanwhile; it is gone in the end.

    Raises:
        ToolError: another run holds the result, or its folder cannot be written.
    """
    with exclusive(output):
        folder = _folder(output, UNFINISHED)
        with explained_os_errors(output):
            _carry_out(output)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        try:
            yield Publication(output, folder)
        except ToolError as error:  # the names that people know
            raise type(error)(str(error).replace(str(folder), str(output.parent))) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def settle(output: Path) -> None:
    """Carry out what a killed process had decided to publish as ``output``; look before any file of it is read."""
    if _folder(output, COMPLETE).is_dir():
        with contextlib.suppress(ToolError), exclusive(output), explained_os_errors(output):
            _carry_out(output)


def settle_folder(folder: Path) -> None:
    """The same for all results of a folder."""
    for listed in folder.glob(f".*{COMPLETE}/{LIST}"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            settle(folder / json.loads(listed.read_text(encoding="utf-8"))["output"])


def _folder(output: Path, state: str) -> Path:
    return output.with_name(hidden_name(output, f".{short_hash(output.name)}{state}"))


def _carry_out(output: Path) -> None:
    """Each step may have been done before; what says which files to remove goes last."""
    complete = _folder(output, COMPLETE)
    if not complete.is_dir():
        return
    listed = complete / LIST
    for path in sorted(complete.iterdir()):
        if path != listed:
            target = output.with_name(path.name)
            if target.exists():
                path.chmod(stat.S_IMODE(target.stat().st_mode))
            path.replace(target)
    if listed.exists():
        for name in json.loads(listed.read_text(encoding="utf-8"))["removed"]:
            output.with_name(name).unlink(missing_ok=True)
        flush_to_disk(output.parent)
        listed.unlink()
    complete.rmdir()
