"""A repair from an edit set to a report: prepare, compute, write, verify, measure."""

from __future__ import annotations

import datetime
from pathlib import Path

import torch

import sytorch
from edits.any_layer import check_part
from edits.explanation import contradicting_images, explain
from edits.generalization import generalization
from edits.measuring import LogitsPair, measure_accuracy
from edits.network import Network
from edits.options import RepairOptions
from edits.outcomes import outcomes_path, save_outcomes
from edits.prepare import prepare
from edits.repair import changes_of
from edits.report import RepairReport
from edits.solving import Repaired, Task, repair_and_save, repair_layer_and_save
from edits.tail import tail_modules
from edits.workbench import Workbench, is_right
from editset_helpers.drawdown import drawdown_mask
from helpers.errors import NotVerifiedError, ToolError
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
        UsageError: the layer cannot be repaired, or the set was drawn from other images.
        ToolError: the solver fails or has no licence, or a file cannot be written.
    """
    bench, edit_set, options = task.bench, task.edit_set, task.options
    check_layer(bench, options)
    outside = drawdown_mask(edit_set, bench.test.content_hash, len(bench.test))
    report = _asked(task)
    with bench.clock.phase("program"):
        before = predict_logits(bench.model, edit_set.images)
    network = _prepared_network(task, report)
    try:
        repaired = repair_layer_and_save(task) if options.is_hidden else repair_and_save(task, network)
    except sytorch.ContradictionError as error:
        report.status, report.message = "infeasible", explain(error.contradiction, edit_set, options, bench.test)
        report.contradicting_images, report.smallest_bound = contradicting_images(error.contradiction, edit_set)
    except sytorch.SolverTimeLimitError:
        report.status, report.message = "time_limit", f"no repair was proved within {options.time_limit:g} seconds."
    except NotVerifiedError as error:
        report.status, report.message = "not_verified", str(error)
    except (sytorch.LicenceError, sytorch.SolverFailedError) as error:
        raise ToolError(str(error)) from error
    else:
        _forget_the_last_repair(task.output)
        _describe(report, task, repaired)
        edit_logits = LogitsPair(before, repaired.edit_logits)
        test_logits = LogitsPair(bench.test_logits, _test_logits(task, network, repaired))
        measure_accuracy(
            report, edit_logits, edit_set, test_logits=test_logits, test_labels=bench.test.labels, outside=outside
        )
        with bench.clock.phase("generalization"):
            report.generalization_before, report.generalization_after = generalization(
                bench, repaired.state, edit_set, options.prepared_layer or repaired.repair.layer
            )
        _settle_files(report, task, repaired, edit_logits, test_logits)
    report.seconds = {name: round(seconds, 4) for name, seconds in bench.clock.seconds.items()}
    report.peak_memory_mb = round(peak_memory_mb(), 1)
    write_json(task.output.with_suffix(".json"), report.as_json())
    return report


def _asked(task: Task) -> RepairReport:
    bench, options = task.bench, task.options
    return RepairReport(
        status="repaired",
        message=None,
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=task.command,
        edit_set_path=str(task.edit_set_path),
        edit_set_hash=task.edit_set.content_hash,
        edit_set_size=len(task.edit_set),
        dataset=bench.test.name,
        data_root=None if bench.data_root is None else str(bench.data_root),
        weights_path=str(bench.weights_path),
        weights_hash_before=bench.weights_hash,
        layer=options.layer,
        param_bound=options.param_bound,
        margin=options.margin,
        norm=options.norm.value,
        metric=options.metric,
        prepare=options.prepared_layer,
        keep=options.keep,
        pattern=options.pattern if options.is_hidden else None,
    )


def _prepared_network(task: Task, report: RepairReport) -> Network:
    """Stage one: the network with its hidden layer moved toward the margins; the network itself if that is off."""
    bench, layer = task.bench, task.options.prepared_layer
    if layer is None:
        return bench.network
    metric = bench.hidden_metric(layer)
    with bench.clock.phase("prepare"):
        inputs = bench.layer_inputs(layer, task.edit_set.images)
        prepared = prepare(
            bench.linear(layer),
            tail_modules(bench.model, layer),
            inputs,
            task.edit_set.labels,
            metric,
            margin=task.options.margin,
            bound=task.options.param_bound,
            training_accuracy=lambda change: bench.training_accuracy(layer, change),
        )
        network = bench.moved(layer, prepared.change)
        right = is_right(predict_logits(network.model, task.edit_set.images), task.edit_set.labels.numpy())
    report.prepare_objective, report.prepare_steps = prepared.length, prepared.steps
    report.prepare_leads = [effort.leads for effort in prepared.efforts]
    report.prepare_iterations = [effort.iterations for effort in prepared.efforts]
    report.prepare_max_abs_change = float(prepared.change.abs().max())
    report.prepare_edit_accuracy = float(right.mean())
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network


def check_layer(bench: Workbench, options: RepairOptions) -> None:
    """Raise `UsageError` unless the layer can be repaired as the options ask."""
    if options.is_hidden:
        check_part(bench, options.layer, options.norm)
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
        report.kept_images = kept.images
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
    test = task.bench.test
    save_outcomes(outcomes_path(task.output), test, test_logits, task.edit_set, edit_logits, changes=changes)
