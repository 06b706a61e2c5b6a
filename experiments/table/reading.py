"""Result tables as they lie on disk: the cells of a CSV of any dialect, and which of its rows are whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from experiments.table.cells import FALSE, TRUE, spelling_of_flags
from experiments.table.row import CLOSED, FLAG, NUMBERS
from helpers.errors import ToolError

BOM = "\ufeff"
DELIMITERS = (",", ";", "\t")
# Without these there is nothing to count.
COUNTED = frozenset(
    {"experiment_id", "repair_set_type", "requested_repair_set_size", "actual_repair_set_size", "repair_successful"}
)
T = TypeVar("T")


class AllInQuotes(csv.excel):
    """Every cell in quotes."""

    quoting = csv.QUOTE_ALL


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: between cells.
        newline: behind each row.
        marked: whether the file begins with a byte order mark.
        quoted: whether every cell is in quotes.
        decimal: the separator in numbers, a point or a comma.
        flags: how true and false are spelled.
    """

    delimiter: str = ","
    newline: str = "\n"
    marked: bool = False
    quoted: bool = False
    decimal: str = "."
    flags: tuple[str, str] = ("True", "False")

    def cells(self, text: str) -> list[list[str]]:
        """The rows of a text that are not empty.

        Raises:
            csv.Error: it has cells of more than 131,072 characters.
        """
        stream = io.StringIO(text.removeprefix(BOM).lstrip(), newline="")
        rows = csv.reader(stream, delimiter=self.delimiter)
        return [row for row in rows if any(cell.strip() for cell in row)]

    def written(self, rows: Iterable[Sequence[str]]) -> bytes:
        """Rows as the file holds them."""
        text = io.StringIO(newline="")
        kind = AllInQuotes if self.quoted else csv.excel
        csv.writer(text, kind, delimiter=self.delimiter, lineterminator=self.newline).writerows(rows)
        return (BOM * self.marked + text.getvalue()).encode()

    def spelled(self, value: Any) -> str:
        """The cell of a value: empty for None; text on one line, so that a line is a row, and writable as UTF-8."""
        if isinstance(value, bool):
            return self.flags[0] if value else self.flags[1]
        if isinstance(value, float):
            return str(value).replace(".", self.decimal)
        text = "" if value is None else " ".join(str(value).split())
        return text.encode(errors="replace").decode()


OURS = Dialect()


def header_of(text: str, delimiter: str) -> list[str]:
    """The names in the first line, read with a delimiter."""
    rows = csv.reader(io.StringIO(text.removeprefix(BOM).lstrip(), newline=""), delimiter=delimiter)
    return [name.strip() for name in next(rows, [])]


def newline_of(text: str) -> str:
    """What ends the first line."""
    line = io.StringIO(text, newline="").readline()
    return next((ending for ending in ("\r\n", "\n", "\r") if line.endswith(ending)), "\n")


class NoTableError(ToolError):
    """A file is no table of the runner."""


@dataclass(frozen=True)
class TableFile:
    """A table as it lies on disk, its cells as they are spelled.

    Attributes:
        path: the file.
        header: the columns, in the file's order; some may be unknown.
        rows: as long as the header each.
        misfits: the numbers of the rows that are longer or shorter, from 1; they are not among ``rows``.
        dialect: how it is written.
        ends: whether its last line has ended. If not, the row there counts if it is seen to be whole, else it is left
            out: a runner was killed, or is writing.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    misfits: tuple[int, ...] = ()
    dialect: Dialect = OURS
    ends: bool = True

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def values(self, name: str, meaning: Callable[[str], T]) -> list[T]:
        """What the cells of a column mean; raises `ToolError` that names the row and the value which mean nothing."""
        return [self._value(name, place, cell, meaning) for place, cell in enumerate(self.column(name), 1)]

    def _value(self, name: str, place: int, cell: str, meaning: Callable[[str], T]) -> T:
        try:
            return meaning(cell)
        except ValueError as error:
            raise ToolError(f"{self.path}, row {place}, {name}: {error}; mend that cell.") from error


def read_file(path: Path, needed: Collection[str] = COUNTED) -> TableFile:
    """Read the cells of a table in any dialect.

    Raises:
        NoTableError: the file lacks a column that is needed, has one twice, or is no CSV in UTF-8.
        ToolError: it is missing or cannot be read.
    """
    try:
        text = _decoded(path.read_bytes())
    except FileNotFoundError as error:
        raise ToolError(f"There is no table {path}: make one with experiment_runner.py.") from error
    except UnicodeDecodeError as error:
        raise NoTableError(f"{path} is no readable table: it is not in UTF-8; save it as CSV in UTF-8.") from error
    except OSError as error:
        raise ToolError(f"{path} is no readable table: {error.strerror or error}.") from error
    return _parsed(path, text, needed)


def _decoded(content: bytes) -> str:
    """UTF-8; half a character at the end belongs to a row that was cut off."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            raise
        return content[: error.start].decode()


def _parsed(path: Path, text: str, needed: Collection[str]) -> TableFile:
    try:
        dialect = _dialect_of(path, text, needed)
        header, *rows = dialect.cells(text)
    except csv.Error as error:
        raise NoTableError(f"{path} is no readable table: {error}.") from error
    names = tuple(name.strip() for name in header)
    if twice := [name for name in names if names.count(name) > 1]:
        raise NoTableError(f"{path} is no table of experiment_runner.py: it has the column {twice[0]!r} twice.")
    ends = text.endswith(("\n", "\r"))
    if rows and not ends and not _is_whole(names, rows[-1]):
        rows.pop()
    misfits = tuple(place for place, row in enumerate(rows, 1) if len(row) != len(names))
    fitting = tuple(tuple(row) for row in rows if len(row) == len(names))
    return _localised(TableFile(path, names, fitting, misfits, dialect, ends))


def _dialect_of(path: Path, text: str, needed: Collection[str]) -> Dialect:
    """With the delimiter that finds the columns which are needed."""
    if not text.removeprefix(BOM).strip():
        raise NoTableError(f"{path} is no readable table: it holds no header.")
    lacking = {delimiter: set(needed) - set(header_of(text, delimiter)) for delimiter in DELIMITERS}
    delimiter, missing = min(lacking.items(), key=lambda found: len(found[1]))
    if missing:
        told = ", ".join(sorted(missing)[:3])
        raise NoTableError(f"{path} is no table of experiment_runner.py: it lacks {told}.")
    quoted = text.removeprefix(BOM).lstrip().startswith('"')
    return Dialect(delimiter, newline_of(text), text.startswith(BOM), quoted)


def _is_whole(header: tuple[str, ...], row: list[str]) -> bool:
    """Whether a row whose line has not ended has all of its last cell."""
    if len(row) != len(header):
        return False
    name, cell = header[-1], row[-1].strip()
    return cell in CLOSED.get(name, ()) or (name == FLAG and cell.casefold() in TRUE | FALSE)


def _localised(table: TableFile) -> TableFile:
    """With the spelling of its numbers and booleans in the dialect."""
    told = "".join(cell for name in NUMBERS if name in table.header for cell in table.column(name))
    is_comma = "," in told or (table.dialect.delimiter == ";" and "." not in told)  # as where cells end in semicolons
    decimal = "," if is_comma else "."
    spelled = next((cell for cell in table.column(FLAG) if cell.strip()), "True")
    return replace(table, dialect=replace(table.dialect, decimal=decimal, flags=spelling_of_flags(spelled)))
