"""A repair from an edit set to a report: try, measure, write."""

from __future__ import annotations

from pathlib import Path

import torch

from edits.any_layer import check_part
from edits.attempt import Attempt, attempt
from edits.generalization import generalization
from edits.measuring import LogitsPair, measure_accuracy, measure_copies
from edits.network import Network
from edits.options import RepairOptions
from edits.outcomes import outcomes_path, save_outcomes
from edits.repair import changes_of
from edits.report import RepairReport
from edits.solving import Repaired, Task
from edits.workbench import Workbench
from helpers.evaluation import predict_logits
from helpers.files import write_json
from helpers.stopwatch import peak_memory_mb
from model_classes.alexnet import blank_alexnet
from model_classes.weights import weights_hash


def repair_edit_set(task: Task) -> RepairReport:
    """Repair a network on an edit set; write the weights, the report beside them, and the outcomes.

    No weights are written, and ``status`` says why, where no change within the bound exists (``infeasible``), the time
    is up (``time_limit``), or the written weights fail the forward pass (``not_verified``).

    Raises:
        UsageError: the layer cannot be repaired.
        ToolError: the solver fails or has no licence, or a file cannot be written.
    """
    check_layer(task.bench, task.options)
    return conclude(task, attempt(task))


def conclude(task: Task, tried: Attempt) -> RepairReport:
    """Measure what an attempt gained and cost, whose weights are at ``task.output``, and write report and outcomes.

    Of an attempt that failed, only the report is written.
    """
    report = tried.report
    if tried.repaired is not None:
        _forget_the_last_repair(task.output)
        _describe(report, task, tried.repaired)
        _measure(task, tried, tried.repaired)
    return write_report(task, report)


def write_report(task: Task, report: RepairReport) -> RepairReport:
    """Write it beside the weights, with the seconds of all that was done so far."""
    report.seconds = {name: round(seconds, 4) for name, seconds in task.bench.clock.seconds.items()}
    report.peak_memory_mb = round(peak_memory_mb(), 1)
    write_json(task.output.with_suffix(".json"), report.as_json())
    return report


def _measure(task: Task, tried: Attempt, repaired: Repaired) -> None:
    bench, edit_set, report = task.bench, task.edit_set, tried.report
    edit_logits, copy_logits = LogitsPair(tried.before, repaired.logits).split(len(edit_set))
    test_logits = LogitsPair(bench.test_logits, _test_logits(task, tried.network, repaired))
    measure_copies(report, copy_logits, task.constrained.labels[len(edit_set) :])
    measure_accuracy(
        report,
        edit_logits,
        edit_set,
        test_logits=test_logits,
        test_labels=bench.test.labels,
        outside=task.location.outside,
    )
    with bench.clock.phase("generalization"):
        report.generalization_before, report.generalization_after = generalization(
            bench, repaired.state, edit_set, task.options.prepared_layer or repaired.repair.layer
        )
    _settle_files(report, task, repaired, edit_logits, test_logits)


def check_layer(bench: Workbench, options: RepairOptions) -> None:
    """Raise `UsageError` unless the layer can be repaired as the options ask."""
    if options.is_hidden:
        check_part(bench, options)
    else:
        bench.check_layer(options.layer)


def _test_logits(task: Task, network: Network, repaired: Repaired) -> torch.Tensor:
    if not task.options.is_hidden:
        return network.test_logits_of(repaired.state)
    with task.bench.clock.phase("evaluate"):
        model = blank_alexnet(len(task.bench.test.class_names))
        model.load_state_dict(repaired.state, assign=True)
        return predict_logits(model.eval(), task.bench.test.images, progress="test images")


def _forget_the_last_repair(output: Path) -> None:
    """Remove what describes weights that are no more; should the disk fill up now, nothing untrue is left."""
    for path in (output.with_suffix(".json"), outcomes_path(output)):
        path.unlink(missing_ok=True)


def _describe(report: RepairReport, task: Task, repaired: Repaired) -> None:
    solution, effort = repaired.repair.solution, repaired.repair.solution.effort
    report.path, report.solver = solution.path, effort.solver
    report.rows, report.columns, report.rounds = effort.rows, effort.columns, effort.rounds
    report.solver_iterations, report.barrier_iterations = effort.iterations, effort.barrier_iterations
    if (kept := repaired.kept) is not None:
        report.kept_images, report.keep_price = kept.images, kept.price
        report.keep_accuracy_before, report.keep_accuracy_after = kept.accuracy_before, kept.accuracy_after
    report.objective = solution.objective
    if solution.path != "relinearised":
        report.lower_bound, report.gap = solution.lower_bound, solution.gap
    changes = changes_of(task.bench.model, repaired.state)
    report.max_abs_change = max((float(change.abs().max()) for change in changes.values()), default=0.0)
    report.weights_hash_after = weights_hash(repaired.state)


def _settle_files(
    report: RepairReport, task: Task, repaired: Repaired, edit_logits: LogitsPair, test_logits: LogitsPair
) -> None:
    """Write the outcomes beside the weights, or remove the weights that nobody wants to keep."""
    if task.keep == "none":
        task.output.unlink()
        return
    report.output_path, report.outcomes_path = str(task.output), str(outcomes_path(task.output))
    changes = {name: change.float() for name, change in changes_of(task.bench.model, repaired.state).items()}
    path, test = outcomes_path(task.output), task.bench.test
    save_outcomes(path, test, test_logits, task.edit_set, edit_logits, location=task.location, changes=changes)
