"""Result tables of sweeps, also while they are being written."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.errors import ToolError

NEEDED = {"repair_set_type", "requested_repair_set_size", "actual_repair_set_size", "repair_successful"}
NUMERIC = (
    "requested_repair_set_size",
    "actual_repair_set_size",
    "param_bound",
    "margin",
    "baseline_accuracy_test_set",
    "baseline_accuracy_edit_set",
    "repair_runtime_seconds",
    "gurobi_barrier_iterations",
    "repaired_accuracy_test_set",
    "repaired_accuracy_edit_set",
    "repaired_accuracy_drawdown_set",
    "seed",
    "solver_iterations",
    "objective",
    "gap",
    "min_margin",
    "baseline_accuracy_drawdown_set",
    "drawdown_points",
    "generalization_before",
    "generalization_after",
    "peak_memory_mb",
    "seconds_prepare",
    "seconds_solve",
    "keep",
)
TEXTS = (
    "experiment_id",
    "timestamp",
    "repair_set_type",
    "repair_set_focus",
    "target_class",
    "repaired_model_path",
    "error_message",
    "layer",
    "norm",
    "metric",
    "solver",
    "prepare",
    "prepare_copies",
    "dataset",
)
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Results:
    """The rows of one file; ``unreadable`` rows were left out: too long, too short, or still being written."""

    table: pd.DataFrame
    unreadable: int


def read_results(path: Path) -> Results:
    """Read a result table. Its last row counts once its line has ended.

    Raises:
        ToolError: the file is missing, too large, or no result table.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > MOST_BYTES:
        raise ToolError(f"{path} is larger than {MOST_BYTES >> 20} MiB, so it was not read.")
    lines = _whole_lines(content)
    if not lines:
        raise ToolError(f"{path} holds no header yet.")
    header, *rows = lines
    if not set(header) >= NEEDED:
        raise ToolError(f"{path} is no result table: it lacks {', '.join(sorted(NEEDED - set(header)))}.")
    fitting = [row for row in rows if len(row) == len(header)]
    return Results(_typed(pd.DataFrame(fitting, columns=header, dtype=str)), len(rows) - len(fitting))


def _whole_lines(content: bytes) -> list[list[str]]:
    text = content[: content.rfind(b"\n") + 1].decode("utf-8-sig", errors="replace").replace("\0", "\ufffd")
    try:
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise ToolError(f"This is no readable table: {error}.") from error


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Every column there may be, each of its type; absent ones empty."""
    table = table.loc[:, ~table.columns.duplicated()]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *NUMERIC, *TEXTS])))
    for column in NUMERIC:
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(float)
    table["keep"], table["prepare_copies"] = table["keep"].fillna(0.0), table["prepare_copies"].fillna("none")
    table[list(TEXTS)] = table[list(TEXTS)].fillna("").astype(str)
    table["repair_successful"] = table["repair_successful"].astype(str).str.lower().isin({"true", "1", "1.0"})
    return table.replace([float("inf"), float("-inf")], float("nan"))


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
