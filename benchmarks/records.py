"""A table of flat records as CSV: written whole, read back as what they were, so that no record is made twice."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.errors import ToolError
from helpers.files.writing import atomic_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
READERS = {"int": int, "float": float, "str": str}


def read_records(path: Path, kind: type[R]) -> list[R]:
    """The records of a table; no file is an empty one.

    Args:
        path: the CSV.
        kind: a dataclass of ``int``, ``float`` and ``str`` fields, each of which may be ``| None``: an empty cell.

    Raises:
        ToolError: the file is no table of such records.
    """
    if not path.exists():
        return []
    names, types = zip(*((field.name, str(field.type)) for field in fields(kind)), strict=True)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            header, *lines = csv.reader(stream)
        if tuple(header) == names:
            values = [[_value(*pair) for pair in zip(line, types, strict=True)] for line in lines]
            return [kind(**dict(zip(names, found, strict=True))) for found in values]
    except ValueError as error:
        raise ToolError(f"{path} has a damaged line ({error}): give another --output.") from error
    raise ToolError(f"{path} is another table: give another --output.")


def write_records(path: Path, records: Sequence[R]) -> None:
    """Write a table of at least one record, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(records[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


def _value(cell: str, name: str) -> Any:
    if cell == "" and name.endswith("| None"):
        return None
    return READERS[name.removesuffix(" | None")](cell)
