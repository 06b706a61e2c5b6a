"""Tables of results, read and summed up."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.analysis.figures import CHAIN, varied, with_one_norm
from experiments.table.reading import read_file
from experiments.table.values import joined, typed
from helpers.cli import say
from helpers.errors import ToolError


def read_tables(paths: list[Path]) -> pd.DataFrame:
    """The rows of several tables, one below the other; rows that are too long or too short are told and left out.

    Raises:
        ToolError: a file is missing, or no table of the runner, or a cell in it means nothing; or there is no row.
    """
    files = [read_file(path) for path in paths]
    for file in files:
        if file.misfits:
            say(f"note: {len(file.misfits)} rows of {file.path} are too long or too short, and left out.")
    rows = joined([typed(file) for file in files])
    if not len(rows):
        raise ToolError(f"There are no experiments yet in {', '.join(map(str, paths))}.")
    return rows


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each type, setting that differs, and size: counts, and means over its repairs with their spread.

    Of a sequence the last repair counts, which keeps all images of those before, and every step that failed.
    Accuracies are in per cent, drawdown in percentage points, runtimes in seconds.
    """
    rows = _last_steps(with_one_norm(rows))
    apart = ["sequence"] if rows["sequence"].nunique() > 1 else []
    groups = ["repair_set_type", *apart, *varied(rows), "requested_repair_set_size"]
    rows = rows.assign(good=rows["repair_successful"])
    good = rows[rows["good"]]
    counts = rows.groupby(groups, dropna=False)["good"].agg(experiments="count", repaired="sum")
    measured = good.groupby(groups, dropna=False).agg(
        accuracy=("repaired_accuracy_test_set", lambda values: 100 * values.mean()),
        edit_accuracy=("repaired_accuracy_edit_set", lambda values: 100 * values.mean()),
        drawdown_mean=("drawdown_points", "mean"),
        drawdown_std=("drawdown_points", "std"),
        generalization=("generalization_after", lambda values: 100 * values.mean()),
        seconds=("repair_runtime_seconds", "mean"),
        smallest_margin=("min_margin", "min"),
    )
    return counts.join(measured).reset_index().astype({"repaired": int})


def _last_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those repairs that another one was made upon."""
    repaired = rows[(rows["sequence"] == "step") & rows["repair_successful"]]
    last = repaired.groupby([*CHAIN, "norm"], dropna=False)["iteration"].transform("max")
    return rows.drop(last[last > repaired["iteration"]].index)


def is_summary(path: Path) -> bool:
    """Whether a file is a summary as CSV."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        return {"experiments", "repaired"} <= set(stream.readline(10_000).rstrip("\n").split(","))


def as_text(table: pd.DataFrame) -> list[list[str]]:
    """Header and cells for people: four digits, a dash for what is not there."""
    if "baseline_weights_hash" in table:
        table = table.assign(baseline_weights_hash=table["baseline_weights_hash"].str[:8])
    cells = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return [[name.replace("_", " ") for name in table.columns], *cells]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.2f}"
    return str(value)
