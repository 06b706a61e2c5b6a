"""A repair from an edit set to a report: compute, write, verify, measure."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sytorch
from edits.explanation import explain
from edits.options import KeepWeights, RepairOptions
from edits.outcomes import outcomes_path, save_outcomes
from edits.repair import Repair, apply_changes, changes_of, compute_repair, rounding_allowance
from edits.report import RepairReport
from edits.saving import save_verified
from edits.workbench import Workbench, is_right
from editset_helpers.drawdown import drawdown_mask
from editset_helpers.edit_set import EditSet
from helpers.cli import say
from helpers.errors import NotVerifiedError, ToolError
from helpers.evaluation import margins
from helpers.files import write_json
from helpers.stopwatch import peak_memory_mb
from model_classes.changes import changes_content
from model_classes.weights import weights_hash

ATTEMPTS = 3


def repair_edit_set(
    bench: Workbench,
    edit_set: EditSet,
    edit_set_path: Path,
    options: RepairOptions,
    output: Path,
    *,
    command: str,
    keep: KeepWeights = "full",
) -> RepairReport:
    """Repair the workbench's network on an edit set; write the weights, the report beside them, and the outcomes.

    No weights are written, and ``status`` says why, where no change within the bound exists (``infeasible``), the time
    is up (``time_limit``), or the written weights fail the forward pass (``not_verified``). With ``keep`` the file has
    the whole network, or only the layer's change, or is removed once it is verified.

    Raises:
        UsageError: the layer cannot be repaired, or the set was drawn from other images.
        ToolError: the solver fails or has no licence, or a file cannot be written.
    """
    bench.check_layer(options.layer)
    outside = drawdown_mask(edit_set, bench.test.content_hash, len(bench.test))
    report = _asked(bench, edit_set, edit_set_path, options, command)
    with bench.clock.phase("program"):
        outputs = sytorch.symbolic(bench.model, options.layer)(edit_set.images)
    try:
        repair, state, edit_logits = _repair_and_save(bench, edit_set, options, outputs, output=output, keep=keep)
    except sytorch.ContradictionError as error:
        _refuse(report, "infeasible", explain(error.contradiction, edit_set, options, bench.test.class_names))
        report.contradicting_images, report.smallest_bound = _named(error.contradiction, edit_set)
    except sytorch.SolverTimeLimitError:
        _refuse(report, "time_limit", f"no repair was proved smallest within {options.time_limit:g} seconds.")
    except NotVerifiedError as error:
        _refuse(report, "not_verified", str(error))
    except (sytorch.LicenceError, sytorch.SolverFailedError) as error:
        raise ToolError(str(error)) from error
    else:
        _describe(report, repair)
        before = torch.from_numpy(outputs.logits).float()
        _measure(report, bench, edit_set, edit_logits=(before, edit_logits), state=state, outside=outside)
        _settle_files(report, bench, edit_set, edit_logits=(before, edit_logits), state=state, output=output, keep=keep)
    report.seconds = {name: round(seconds, 4) for name, seconds in bench.clock.seconds.items()}
    report.peak_memory_mb = round(peak_memory_mb(), 1)
    write_json(output.with_suffix(".json"), report.as_json())
    return report


def _asked(
    bench: Workbench, edit_set: EditSet, edit_set_path: Path, options: RepairOptions, command: str
) -> RepairReport:
    return RepairReport(
        status="repaired",
        message=None,
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        edit_set_path=str(edit_set_path),
        edit_set_hash=edit_set.content_hash,
        edit_set_size=len(edit_set),
        dataset=bench.test.name,
        data_root=None if bench.data_root is None else str(bench.data_root),
        weights_path=str(bench.weights_path),
        weights_hash_before=bench.weights_hash,
        layer=options.layer,
        param_bound=options.param_bound,
        margin=options.margin,
        norm=options.norm.value,
        metric=options.metric,
    )


def _refuse(report: RepairReport, status: str, message: str) -> None:
    report.status, report.message = status, message


def _named(contradiction: sytorch.Contradiction, edit_set: EditSet) -> tuple[list[int], float | None]:
    """The contradicting images by test index where the set says it, else by position; the least bound if any helps."""
    indices = edit_set.test_indices()
    images = [int(image if indices is None else indices[image]) for image in contradiction.images]
    return images, contradiction.smallest_bound if np.isfinite(contradiction.smallest_bound) else None


def _repair_and_save(
    bench: Workbench,
    edit_set: EditSet,
    options: RepairOptions,
    outputs: sytorch.AffineOutputs,
    *,
    output: Path,
    keep: KeepWeights,
) -> tuple[Repair, dict[str, torch.Tensor], torch.Tensor]:
    """Solve, write and verify; where rounding ate a margin, once more with a larger allowance."""
    metric, solver = bench.metric(options), sytorch.solver_named(options.solver, say)
    allowance = rounding_allowance(outputs)
    for attempt in range(ATTEMPTS):
        with bench.clock.phase("solve"):
            repair = compute_repair(outputs, edit_set.labels, options, metric, solver=solver, allowance=allowance)
        state = apply_changes(bench.model, repair.changes, options.param_bound)
        try:
            with bench.clock.phase("write and verify"):
                content = _kept_content(bench, state, output, keep)
                classes = len(bench.test.class_names)
                return repair, state, save_verified(content, output, edit_set, options.margin, classes)
        except NotVerifiedError:
            if attempt == ATTEMPTS - 1:
                raise
            allowance *= 10
    raise AssertionError("unreachable")


def _kept_content(bench: Workbench, state: dict[str, torch.Tensor], output: Path, keep: KeepWeights) -> dict[str, Any]:
    if keep == "full":
        return state
    return changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, output)


def _describe(report: RepairReport, repair: Repair) -> None:
    solution, effort = repair.solution, repair.solution.effort
    report.path, report.solver = solution.path, effort.solver
    report.rows, report.columns, report.rounds = effort.rows, effort.columns, effort.rounds
    report.solver_iterations, report.barrier_iterations = effort.iterations, effort.barrier_iterations
    report.objective, report.lower_bound, report.gap = solution.objective, solution.lower_bound, solution.gap


def _measure(
    report: RepairReport,
    bench: Workbench,
    edit_set: EditSet,
    *,
    edit_logits: tuple[torch.Tensor, torch.Tensor],
    state: dict[str, torch.Tensor],
    outside: np.ndarray | None,
) -> None:
    """Accuracies before and after, and what the weights lost or gained in rounding."""
    labels = edit_set.labels.numpy()
    right = [is_right(logits, bench.test.labels) for logits in (bench.test_logits, bench.test_logits_of(state))]
    report.edit_accuracy_before, report.edit_accuracy_after = (float(is_right(z, labels).mean()) for z in edit_logits)
    report.test_accuracy_before, report.test_accuracy_after = (float(answers.mean()) for answers in right)
    if outside is not None and outside.any():
        before, after = (float(answers[outside].mean()) for answers in right)
        report.drawdown_accuracy_before, report.drawdown_accuracy_after = before, after
        report.drawdown_points = 100 * (before - after)
    report.min_margin = float(margins(edit_logits[1], edit_set.labels).min())
    report.max_abs_change = max(float(change.abs().max()) for change in changes_of(bench.model, state).values())
    report.weights_hash_after = weights_hash(state)


def _settle_files(
    report: RepairReport,
    bench: Workbench,
    edit_set: EditSet,
    *,
    edit_logits: tuple[torch.Tensor, torch.Tensor],
    state: dict[str, torch.Tensor],
    output: Path,
    keep: KeepWeights,
) -> None:
    """Write the outcomes beside the weights, or remove the weights that nobody wants to keep."""
    if keep == "none":
        output.unlink()
        return
    report.output_path, report.outcomes_path = str(output), str(outcomes_path(output))
    save_outcomes(
        outcomes_path(output),
        test=bench.test,
        test_logits=(bench.test_logits, bench.test_logits_of(state)),
        edit_set=edit_set,
        edit_logits=edit_logits,
        changes=changes_of(bench.model, state),
    )
