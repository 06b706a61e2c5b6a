"""The dialect of CSV that a table is written in: ours, or that of the spreadsheet which saved it last."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

BOM = "\ufeff"
DELIMITERS = (",", ";", "\t")


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
