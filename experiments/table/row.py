"""One experiment as a row of the table: the columns, in their order."""

from __future__ import annotations

from dataclasses import dataclass, fields

REPAIRED = "repaired"
FAILED = "error"
# Failures that the same experiment would end in again.
SETTLED = ("infeasible", "time_limit", "not_verified", "not_proved", "not_solved", "too_few_images", "too_costly")
STATUSES = (REPAIRED, *SETTLED, FAILED)


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
    prepare_max_abs_change: float | None = None
    certificate_path: str | None = None
    status: str = FAILED
    planted_units: int | None = None
    planted_loss: float | None = None
    images_not_separable: int | None = None
    largest_ordinary_response: float | None = None
    outside_detected: int | None = None
    reach: str = "none"
    iteration: int | None = None
    images_so_far: int | None = None
    repaired_accuracy_type: float | None = None
    last_drawdown_points: float | None = None
    more_options: str = "none"
    sequence: str = "alone"
    detected_groups: int | None = None
    detected_alone: int | None = None
    outside_wrong: int | None = None
    outside_mended: int | None = None
    outside_broken: int | None = None
    experiment_seconds: float | None = None
    drawdown_undisputed_points: float | None = None
    disputed: str = "none"  # last: `CLOSED` shows that its cell is whole


COLUMNS = tuple(field.name for field in fields(Row))
# Columns that older tables lack, the youngest last, and what rows of such tables hold; `former_status` has the last.
LATER = {
    **dict.fromkeys(("certificate_path", "status", "planted_units", "planted_loss", "images_not_separable"), ""),
    **{"largest_ordinary_response": "", "outside_detected": "", "reach": "none", "iteration": "", "images_so_far": ""},
    **{"repaired_accuracy_type": "", "last_drawdown_points": "", "more_options": "none", "sequence": "alone"},
    **{"drawdown_undisputed_points": "", "disputed": "none"},
    **dict.fromkeys(("detected_groups", "detected_alone", "outside_wrong", "outside_mended", "outside_broken"), ""),
    "experiment_seconds": "",
}
# Options of older tables that are no more: they tell rows with such an option from others, which hold this.
FORMER = {"keep": "0", "prepare_copies": "none"}
FORMER_NUMBERS = ("keep",)
NEEDED = frozenset(COLUMNS) - frozenset(LATER)
FLAG = "repair_successful"
# What the annotations say; a class is a name, and here the name is a number.
WHOLE = tuple(field.name for field in fields(Row) if "int" in str(field.type) and field.name != "target_class")
NUMBERS = (*WHOLE, *(field.name for field in fields(Row) if "float" in str(field.type)))
TEXTS = tuple(name for name in COLUMNS if name not in NUMBERS and name != FLAG)
# Columns whose words are known, none of which begins another: such a cell is seen to be whole.
CLOSED = {
    "status": STATUSES,
    "reach": ("none", "exact", "near", "wide"),
    "sequence": ("alone", "step"),
    "disputed": ("none", "excluded"),
    "edit_set_sizing_strategy": ("flexible", "strict"),
    "repair_set_focus": ("incorrect_only", "correct_only"),
}


def former_status(repaired: bool, message: str) -> str:
    """The status of a row from before there was such a column."""
    if repaired:
        return REPAIRED
    told = message.partition(":")[0].strip()
    if told in SETTLED:
        return told
    is_small = message.startswith("There is nothing to select") or message.endswith("and sizing is strict.")
    return "too_few_images" if is_small else FAILED
