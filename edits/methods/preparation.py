"""Preparing a network: its hidden layer is moved toward the margins before the last layer's program."""

from __future__ import annotations

import torch

import sytorch
from edits.network.prepared import Network
from edits.outcome.report import RepairReport
from edits.task import Task
from helpers.evaluation import is_right, predict_logits
from sytorch.hidden_layer.preparation import Preparation, prepare


def prepare_network(task: Task, report: RepairReport) -> Network:
    """The network with its hidden layer moved, which the report is told; the network itself if that is off.

    Raises:
        SolverTimeLimitError: the time is up.
    """
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
    _tell(report, prepared)
    report.prepare_edit_accuracy = float(right.mean())
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network


def _tell(report: RepairReport, prepared: Preparation) -> None:
    report.prepare_objective, report.prepare_steps = prepared.length, prepared.steps
    report.prepare_margins = [effort.margins for effort in prepared.efforts]
    report.prepare_iterations = [effort.iterations for effort in prepared.efforts]
    report.prepare_max_abs_change = float(prepared.change.whole.abs().max())
