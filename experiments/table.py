"""The table of results on disk: a row is there as soon as its experiment ends, whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import datetime
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.row import COLUMNS, LATER, Row
from helpers.errors import ToolError
from helpers.files import atomic_file
from helpers.places import is_no_file

OLDEST = len(COLUMNS) - len(LATER)


class ResultTable:
    """A table that this process alone may write; open it with `open_table`.

    Attributes:
        path: the CSV.
        rows: the cells of each row there is.
    """

    def __init__(self, path: Path, rows: list[list[str]]):
        self.path, self.rows = path, rows

    @property
    def ids(self) -> list[str]:
        """The experiments that are done."""
        return [row[0] for row in self.rows]

    def append(self, row: Row) -> None:
        """Put a row on disk.

        Raises:
            ToolError: the file cannot be written; a part of a line that came there is cut off by the next start.
        """
        cells = row.cells()
        try:
            with self.path.open("ab") as stream:
                stream.write(_text([cells]))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise ToolError(f"Cannot write {self.path}: {error.strerror or error}.") from error
        self.rows.append(cells)

    def sort(self, order: Sequence[str]) -> None:
        """Rewrite the table in the order of a plan, however its rows came to be."""
        places = {name: place for place, name in enumerate(order)}
        ordered = sorted(self.rows, key=lambda row: places[row[0]])
        if ordered != self.rows:
            self.rows = ordered
            _write(self.path, ordered)


@contextlib.contextmanager
def open_table(path: Path, restart: bool) -> Iterator[ResultTable]:
    """Lock a table, and read it or begin it; a last line that was cut off is removed, columns that it lacks are added.

    Args:
        path: the CSV.
        restart: begin anew, and keep the old file under another name.

    Raises:
        ToolError: another process writes it, it is no table of this kind, or the folder cannot be written.
    """
    with _locked(path):
        if restart and path.exists():
            path.rename(_name_for_old(path))
        rows, is_current = _read(path) if path.exists() else ([], False)
        if not is_current:
            _write(path, rows)
        yield ResultTable(path, rows)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if is_no_file(path) or path.suffix != ".csv":
        raise ToolError(f"{path} cannot be the table: name a file that ends in .csv.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.with_name(f".{path.name}.lock").open("a")
    except OSError as error:
        raise ToolError(f"Cannot write {path}: {error.strerror or error}.") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ToolError(f"Another runner is writing {path}: wait for it, or give another --output-file.") from error
        yield


def _read(path: Path) -> tuple[list[list[str]], bool]:
    """The rows, and whether the file has the columns of today; it has none while it has no whole line."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    if not whole:
        return [], False
    header, *rows = csv.reader(io.StringIO(whole.decode("utf-8", errors="replace"), newline=""))
    if len(header) < OLDEST or header != list(COLUMNS[: len(header)]) or any(len(row) != len(header) for row in rows):
        raise ToolError(f"{path} is no table of this runner: give another --output-file, or --restart to set it aside.")
    lacking = [LATER[name] for name in COLUMNS[len(header) :]]
    return [[*row, *lacking] for row in rows], not lacking


def _write(path: Path, rows: list[list[str]]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(_text([list(COLUMNS), *rows]))


def _text(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _name_for_old(path: Path) -> Path:
    """``full_experiment.until-20261124-131500.csv``, with a number where that is taken."""
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    names = [path.with_name(f"{path.stem}.until-{stamp}{suffix}.csv") for suffix in ("", *(f"-{n}" for n in range(99)))]
    return next(name for name in names if not name.exists())
