"""The table on disk: a row is there as soon as its method ends, whole or not at all, and is not made again."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.row import COLUMNS, Row, read_row
from helpers.errors import ToolError
from helpers.files import atomic_file


def read_rows(path: Path) -> list[Row]:
    """The rows there are; a last line that was cut off does not count, and no file is an empty table.

    Raises:
        ToolError: the file is no table of this benchmark.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", errors="replace")
    reader = csv.reader(io.StringIO(whole, newline=""))
    if next(reader, list(COLUMNS)) != list(COLUMNS):
        raise ToolError(f"{path} is no table of this benchmark: give another --output.")
    try:
        return [read_row(dict(zip(COLUMNS, cells, strict=True))) for cells in reader]
    except (TypeError, ValueError) as error:
        raise ToolError(f"{path} has a damaged line ({error}): give another --output.") from error


def append_row(path: Path, row: Row) -> None:
    """Put a row on disk, behind the whole lines that are there.

    Raises:
        ToolError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.seek(0)
            whole = stream.read().rfind(b"\n") + 1
            stream.truncate(whole)
            stream.write(_text([row.cells()] if whole else [COLUMNS, row.cells()]))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ToolError(f"Cannot write {path}: {error.strerror or error}.") from error


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the table anew, in this order."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(_text([COLUMNS, *(row.cells() for row in rows)]))


def _text(lines: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
