"""One experiment as a row of the table: the columns, in their order."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """The columns; EXPERIMENT_RUNNER_DESIGN_SPEC.md has their meaning and units. None is an empty cell."""

    experiment_id: str
    timestamp: str
    repair_set_type: str
    repair_set_focus: str
    requested_repair_set_size: int
    edit_set_sizing_strategy: str
    actual_repair_set_size: int | None = None
    edit_set_path: str | None = None
    target_class: int | None
    param_bound: float
    margin: float
    baseline_model_path: str
    baseline_accuracy_test_set: float | None = None
    baseline_accuracy_edit_set: float | None = None
    repair_runtime_seconds: float | None = None
    gurobi_barrier_iterations: int | None = None
    repair_successful: bool = False
    repaired_model_path: str | None = None
    repaired_accuracy_test_set: float | None = None
    repaired_accuracy_edit_set: float | None = None
    repaired_accuracy_drawdown_set: float | None = None
    error_message: str | None = None
    seed: int
    layer: str
    norm: str
    metric: str
    solver: str | None = None
    solver_iterations: int | None = None
    objective: float | None = None
    gap: float | None = None
    min_margin: float | None = None
    baseline_accuracy_drawdown_set: float | None = None
    drawdown_points: float | None = None
    generalization_before: float | None = None
    generalization_after: float | None = None
    peak_memory_mb: float | None = None
    edit_set_hash: str | None = None
    baseline_weights_hash: str
    repaired_weights_hash: str | None = None
    prepare: str
    seconds_prepare: float | None = None
    seconds_solve: float | None = None
    dataset: str
    prepare_objective: float | None = None
    prepare_max_abs_change: float | None = None
    prepare_edit_accuracy: float | None = None
    keep: int = 0
    kept_images: int | None = None
    prepare_copies: str = "none"

    def cells(self) -> list[str]:
        """What the file holds, in the order of `COLUMNS`."""
        return [_cell(value) for value in asdict(self).values()]


COLUMNS = tuple(field.name for field in fields(Row))
# Columns that older tables lack, the youngest last, and what rows of such tables hold.
LATER = {"keep": "0", "kept_images": "", "prepare_copies": "none"}


def _cell(value: Any) -> str:
    """Empty for None; text on one line, so that a line is a row."""
    return "" if value is None else " ".join(str(value).split())
