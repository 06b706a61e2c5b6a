"""What the rows of result tables say, in types: `analysis.py` and the web page count the same rows."""

from __future__ import annotations

import pandas as pd

from experiments.table.cells import flag, number
from experiments.table.reading import TableFile
from experiments.table.row import (
    COLUMNS,
    FLAG,
    FORMER,
    FORMER_NUMBERS,
    LATER,
    NUMBERS,
    STATUSES,
    TEXTS,
    WHOLE,
    former_status,
)


def statuses(table: TableFile) -> list[str]:
    """What came of each row's experiment, one of `STATUSES`; raises `ToolError` for any other word."""
    repaired = table.values(FLAG, flag)
    known = table.values("status", _status) if "status" in table.header else [""] * len(repaired)
    messages = table.column("error_message") if "error_message" in table.header else [""] * len(repaired)
    told = zip(known, repaired, messages, strict=True)
    return [status or former_status(good, message) for status, good, message in told]


def _status(cell: str) -> str:
    word = cell.strip()
    if word and word not in STATUSES:
        raise ValueError(f"{cell!r} is none of {', '.join(STATUSES)}")
    return word


def typed(table: TableFile) -> pd.DataFrame:
    """The rows with every column there may be, each of its type: numbers, booleans, and text; absent cells empty.

    Raises:
        ToolError: a cell is no number, or neither true nor false; the message names file, row and value.
    """
    columns: dict[str, object] = {}
    for name in dict.fromkeys([*COLUMNS, *FORMER, *table.header]):
        if name == FLAG:
            columns[name] = pd.Series(table.values(name, flag), dtype=bool)
        elif name == "status":
            columns[name] = pd.Series(statuses(table), dtype=str)
        elif name in NUMBERS or name in FORMER_NUMBERS:
            columns[name] = _numbers(table, name)
        else:
            columns[name] = pd.Series(_texts(table, name), dtype=str)
    return pd.DataFrame(columns)


def _numbers(table: TableFile, name: str) -> pd.Series[float]:
    decimal = table.dialect.decimal
    cells = table.values(name, lambda cell: number(cell, decimal)) if name in table.header else None
    absent = number((LATER | FORMER).get(name, ""))
    values = pd.Series([absent] * len(table.rows) if cells is None else cells, dtype=float)
    is_whole = name in WHOLE and bool((values.notna() & (values % 1 == 0) & (values.abs() < 2**53)).all())
    return values.astype("int64") if is_whole else values


def _texts(table: TableFile, name: str) -> list[str]:
    if name not in table.header:
        return [(LATER | FORMER).get(name, "")] * len(table.rows)
    cells = [cell.strip() if name in TEXTS else cell for cell in table.column(name)]
    return [_class_name(cell) for cell in cells] if name == "target_class" else cells


def _class_name(cell: str) -> str:
    """A class as the plan names it: pandas and spreadsheets make ``3.0`` of ``3`` where other rows have none."""
    try:
        value = number(cell.replace(",", "."))
    except ValueError:
        return cell
    return f"{value:g}" if value is not None else ""


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several tables, one below the other; of rows of one experiment the first."""
    filled = [table for table in tables if len(table)] or tables[:1]
    rows = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    if not len(rows):
        return rows
    repeated = rows["experiment_id"].duplicated() & (rows["experiment_id"] != "")
    return rows[~repeated].reset_index(drop=True)
