"""The table on disk: a row is there as soon as its method ends, whole or not at all, and is not made again."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.row import COLUMNS, Row, read_row
from helpers.errors import ToolError
from helpers.files.writing import atomic_file


def read_rows(path: Path) -> list[Row]:
    """The rows there are; a last line that was cut off does not count, and no file is an empty table.

    Raises:
        ToolError: the file is no table of this benchmark.
    """
    _, *lines = csv.reader(io.StringIO(_whole_lines(path).decode("utf-8", errors="replace"), newline=""))
    try:
        return [read_row(dict(zip(COLUMNS, cells, strict=True))) for cells in lines]
    except (TypeError, ValueError) as error:
        raise ToolError(f"{path} has a damaged line ({error}): give another --output.") from error


def append_row(path: Path, row: Row) -> None:
    """Put a row on disk, behind the whole lines that are there.

    Raises:
        ToolError: the file is no table of this benchmark, or cannot be written; it is then as it was.
    """
    lines = _whole_lines(path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(lines + _text([row.cells()]))


def _whole_lines(path: Path) -> bytes:
    """Header and rows of a table; of one that is not there or empty, the header."""
    content, header = path.read_bytes() if path.exists() else b"", _text([COLUMNS])
    if content and not content.startswith(header):
        raise ToolError(f"{path} is no table of this benchmark: give another --output.")
    return content[: content.rfind(b"\n") + 1] or header


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the table anew, in this order."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(_text([COLUMNS, *(row.cells() for row in rows)]))


def _text(lines: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
