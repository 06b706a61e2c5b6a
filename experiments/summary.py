"""Tables of results, read and summed up."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.row import COLUMNS, LATER
from experiments.series import varied
from helpers.errors import ToolError

NEEDED = set(COLUMNS) - set(LATER)


def read_tables(paths: list[Path]) -> pd.DataFrame:
    """The rows of several tables, one below the other.

    Raises:
        ToolError: a file is missing, or no table of the runner; or there is no row.
    """
    tables = [_read(path) for path in paths]
    rows = pd.concat([table for table in tables if len(table)], ignore_index=True) if any(map(len, tables)) else None
    if rows is None:
        raise ToolError(f"There are no experiments yet in {', '.join(map(str, paths))}.")
    return rows.drop_duplicates("experiment_id", ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise ToolError(f"There is no table {path}: make one with experiment_runner.py.") from error
    except (OSError, ValueError) as error:
        raise ToolError(f"{path} is no readable table: {error}.") from error
    if missing := NEEDED - set(table.columns):
        raise ToolError(f"{path} is no table of experiment_runner.py: it lacks {', '.join(sorted(missing)[:3])}.")
    added = {name: _value(cell) for name, cell in LATER.items() if name not in table}
    return table.assign(repair_successful=table["repair_successful"].astype(bool), **added)


def _value(cell: str) -> str | float:
    """A cell as `pandas.read_csv` would take it."""
    try:
        return float(pd.to_numeric(cell))
    except ValueError:
        return cell


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each type, setting that differs, and size: counts, and means over its repairs with their spread.

    Accuracies are in per cent, drawdown in percentage points, runtimes in seconds.
    """
    groups = ["repair_set_type", *varied(rows), "requested_repair_set_size"]
    rows = rows.assign(good=rows["repair_successful"])
    good = rows[rows["good"]]
    counts = rows.groupby(groups)["good"].agg(experiments="count", repaired="sum")
    measured = good.groupby(groups).agg(
        accuracy=("repaired_accuracy_test_set", lambda values: 100 * values.mean()),
        edit_accuracy=("repaired_accuracy_edit_set", lambda values: 100 * values.mean()),
        drawdown_mean=("drawdown_points", "mean"),
        drawdown_std=("drawdown_points", "std"),
        generalization=("generalization_after", lambda values: 100 * values.mean()),
        seconds=("repair_runtime_seconds", "mean"),
        smallest_margin=("min_margin", "min"),
    )
    return counts.join(measured).reset_index().astype({"repaired": int})


def as_text(table: pd.DataFrame) -> list[list[str]]:
    """Header and cells for people: four digits, a dash for what is not there."""
    cells = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return [[name.replace("_", " ") for name in table.columns], *cells]


def as_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown."""
    header, *rows = as_text(table)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.2f}"
    return str(value)
