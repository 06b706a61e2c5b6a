"""Result tables of sweeps, also while they are being written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.analysis.summary import is_summary
from experiments.table.reading import NoTableError, read_file
from experiments.table.values import typed
from helpers.errors import ToolError

MOST_BYTES = 64 * 2**20


class SummaryError(NoTableError):
    """A table of `analysis.py`, which sums up tables of results and is none."""


@dataclass(frozen=True, eq=False)
class Results:
    """The rows of one file; ``unreadable`` rows were left out: too long or too short."""

    table: pd.DataFrame
    unreadable: int


def read_results(path: Path) -> Results:
    """Read a result table as `analysis.py` does.

    Raises:
        SummaryError: the file is a summary of such tables.
        ToolError: it is missing, too large, or no result table, or a cell in it means nothing.
    """
    if path.exists() and path.stat().st_size > MOST_BYTES:
        raise ToolError(f"{path} is larger than {MOST_BYTES >> 20} MiB, so it was not read.")
    try:
        file = read_file(path)
    except NoTableError as error:
        if is_summary(path):
            raise SummaryError(str(error)) from error
        raise
    return Results(typed(file), len(file.misfits))


@dataclass(frozen=True)
class Progress:
    """How far a sweep is."""

    rows: int
    repaired: int
    failed: int
    seconds: float


def progress_of(table: pd.DataFrame) -> Progress:
    """Counts of the rows there are, and the mean seconds of a repair."""
    repaired = int(table["repair_successful"].sum())
    mean = table["repair_runtime_seconds"].mean()
    return Progress(len(table), repaired, len(table) - repaired, 0.0 if pd.isna(mean) else float(mean))
