"""One attempt at a repair: prepare, compute, write, verify; its failure is a status, not an exception."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import torch

import sytorch
from edits.methods.solving import RefutedError, Repaired, repair_and_save, repair_layer_and_save
from edits.network.prepared import Network
from edits.outcome.explanation import contradicting_images, explain
from edits.outcome.report import RepairReport
from edits.task import Task
from helpers.errors import NotProvedError, NotVerifiedError, ToolError
from helpers.evaluation import is_right, predict_logits
from sytorch.hidden_layer.preparation import prepare


@dataclass(frozen=True, eq=False)
class Attempt:
    """What came of an attempt.

    Attributes:
        report: what was asked, what the preparation did, and the status; nothing is measured yet.
        before: the logits of the images and copies before any change, float32 (N, C).
        network: what the last layer was repaired in, with its hidden layer moved.
        repaired: the written and verified repair; None where the status is another than ``repaired``.
        refuted: why there is no repair; None where the status is another than ``infeasible``.
    """

    report: RepairReport
    before: torch.Tensor
    network: Network
    repaired: Repaired | None = None
    refuted: RefutedError | None = None


def attempt(task: Task) -> Attempt:
    """Try to repair within the task's deadline; where it works, the weights are at ``task.written``.

    Raises:
        ToolError: the solver fails or has no licence, or a file cannot be written.
    """
    bench, options = task.bench, task.options
    report, network = _asked(task), bench.network
    with bench.clock.phase("program"):
        before = predict_logits(bench.model, task.constrained.images)
    try:
        network = _prepared_network(task, report)
        repaired = repair_layer_and_save(task) if options.is_hidden else repair_and_save(task, network)
        return Attempt(report, before, network, repaired)
    except RefutedError as error:
        refuted = error.contradiction
        report.status, report.message = "infeasible", explain(refuted, task.numbered, options, bench.test)
        report.contradicting_images, report.smallest_bound = contradicting_images(refuted, task.numbered)
        if not refuted.proved_for_all_changes:
            report.status = "not_proved"
        return Attempt(report, before, network, refuted=error)
    except sytorch.SolverTimeLimitError:
        report.status, report.message = "time_limit", f"no repair was proved within {options.time_limit:g} seconds."
    except NotProvedError as error:
        report.status, report.message = "not_proved", str(error)
    except NotVerifiedError as error:
        report.status, report.message = "not_verified", str(error)
    except sytorch.SytorchError as error:
        raise ToolError(str(error)) from error
    return Attempt(report, before, network)


def _asked(task: Task) -> RepairReport:
    """The report of a task before anything is done."""
    bench, options = task.bench, task.options
    return RepairReport(
        status="repaired",
        message=None,
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=task.command,
        edit_set_path=str(task.edit_set_path),
        edit_set_hash=task.edit_set.content_hash,
        edit_set_size=len(task.edit_set),
        shifts=options.region.shifts,
        flip=options.region.flip,
        copies=len(task.constrained) - len(task.edit_set),
        dataset=bench.test.name,
        dataset_hash=bench.test.content_hash,
        edit_images=task.edit_set.file_positions.tolist(),
        edit_test_indices=task.location.indices.tolist(),
        drawdown_note=task.location.note,
        data_root=None if bench.data_root is None else str(bench.data_root),
        weights_path=str(bench.weights_path),
        weights_hash_before=bench.weights_hash,
        layer=options.layer,
        param_bound=options.param_bound,
        margin=options.margin,
        norm=options.norm,
        metric=options.metric,
        prepare=options.prepared_layer,
        prepare_copies=options.prepare_copies,
        pattern=options.pattern if options.is_hidden else None,
    )


def _prepared_network(task: Task, report: RepairReport) -> Network:
    """Stage one: the network with its hidden layer moved toward the margins; the network itself if that is off."""
    bench, layer = task.bench, task.options.prepared_layer
    if layer is None:
        return bench.network
    metric = bench.layer_metric(layer)
    with bench.clock.phase("prepare"):
        prepared = prepare(
            sytorch.linearise(bench.model, layer, task.prepared.images, dtype=torch.float32),
            task.prepared.labels,
            metric,
            margin=task.options.margin,
            bound=task.options.param_bound,
            training_accuracy=lambda change: bench.training_images.accuracy(layer, change),
            deadline=task.deadline,
        )
        network = bench.moved(layer, prepared.change)
        right = is_right(predict_logits(network.model, task.edit_set.images), task.edit_set.labels.numpy())
    report.prepare_objective, report.prepare_steps = prepared.length, prepared.steps
    report.prepare_leads = [effort.margins for effort in prepared.efforts]
    report.prepare_iterations = [effort.iterations for effort in prepared.efforts]
    report.prepare_max_abs_change = float(prepared.change.whole.abs().max())
    report.prepare_edit_accuracy = float(right.mean())
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network
