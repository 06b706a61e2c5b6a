"""Preparing a network before the last layer's program: a hidden layer is moved, or its spare units are planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

import sytorch
from edits.network.prepared import Network
from edits.network.tail import layer_inputs
from edits.network.workbench import MOVED_METRIC_IMAGES, Workbench
from edits.outcome.report import RepairReport
from edits.task import Task
from helpers.evaluation import is_right, predict_logits
from sytorch.hidden_layer.preparation import Preparation, largest_within, prepare
from sytorch.metrics.kronecker import softmax_curvature
from sytorch.network.layer_change import LayerChange
from sytorch.problem.arrays import Matrix, Vector
from sytorch.spare_units.detectors import Detectors, detectors
from sytorch.spare_units.planting import cost_of_units, plant

PLANTED_RIDGE = 1e-3  # of --ridge, of a column that no ordinary image sees; with more of it other columns move, too
THRESHOLD = 0.3  # how far between the largest response of ordinary images and that of the edit image


def prepare_network(task: Task, report: RepairReport) -> Network:
    """The network with its hidden layer changed, which the report is told; the network itself if that is off.

    Raises:
        SolverTimeLimitError: the time is up.
        InvalidInputError: there are more edit images than spare units.
    """
    bench, layer = task.bench, task.options.prepared_layer
    if layer is None:
        return bench.network
    plants = task.options.plants
    change = _planted(task, layer, report) if plants else _moved(task, layer, report)
    with bench.clock.phase("prepare"):
        network = bench.moved(layer, change)
        if plants:
            is_planted = torch.cat([change.whole.any(dim=1), torch.tensor([False])]).numpy()
            network = replace(network, ridges=np.where(is_planted, PLANTED_RIDGE, 1.0))
        right = is_right(predict_logits(network.model, task.edit_set.images), task.edit_set.labels.numpy())
    report.prepare_max_abs_change = float(change.whole.abs().max())
    report.prepare_edit_accuracy = float(right.mean())
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network


def _moved(task: Task, layer: str, report: RepairReport) -> LayerChange:
    """The layer moves toward the margins."""
    bench, metric = task.bench, task.bench.layer_metric(layer)
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
    _tell(report, prepared)
    return prepared.change


def _planted(task: Task, layer: str, report: RepairReport) -> LayerChange:
    """Spare units become detectors, one of each edit image with its copies."""
    bench, metric = task.bench, task.bench.layer_metric(layer)
    with bench.clock.phase("prepare"):
        found = _detectors(task, layer, sytorch.SecondMomentMetric(metric.inputs.numpy()))
        task.deadline.check()
        before, bound = _rows(bench, layer), largest_within(task.options.param_bound)
        planting = plant(before, _costs(bench, layer), found, threshold=THRESHOLD, bound=bound)
        rows = torch.from_numpy(planting.change).float().clamp(-bound, bound)
        whole = torch.zeros(before.shape).index_copy_(0, torch.from_numpy(planting.units), rows)
        at = torch.zeros(len(before), len(rows))
        at[torch.from_numpy(planting.units), torch.arange(len(rows))] = 1.0
        change = LayerChange(whole, (at, rows))
    report.planted_units, report.planted_cost = len(rows), planting.missed
    report.not_separable = np.flatnonzero(~found.separable).tolist()
    report.largest_ordinary_response = max((found.largest / found.own)[found.separable], default=None)
    if task.location.outside is not None:
        seen = bench.layer_inputs_of_test_images(layer)[task.location.outside]
        planted = (before[planting.units] + planting.change).astype(np.float32)
        report.outside_detected = int((seen @ planted[:, :-1].T + planted[:, -1] > 0).any(axis=1).sum())
    return change


def _detectors(task: Task, layer: str, metric: sytorch.SecondMomentMetric) -> Detectors:
    """Of each edit image with its copies; ordinary images are all training images that are right, and their mirrors."""
    points = layer_inputs(task.bench.model, layer, task.prepared.images).double().numpy()
    count = len(task.edit_set)
    groups = [points[first::count] for first in range(count)]
    seen = task.bench.training_images
    return detectors(
        metric, groups, task.edit_set.labels.numpy(), lambda: (sample.inputs for sample in seen.all_right(layer))
    )


def _rows(bench: Workbench, layer: str) -> Matrix:
    """A layer's weights and, in the last column, its biases, (m, k + 1), float64."""
    weight, bias = (bench.model.get_parameter(f"{layer}.{part}").detach() for part in ("weight", "bias"))
    return torch.cat([weight, bias[:, None]], dim=1).double().numpy()


def _costs(bench: Workbench, layer: str) -> Vector:
    """What the layer's units give to the logits of training images, (m,)."""
    behind = bench.linear(bench.network.last_layer)
    values = np.maximum(bench.training_images.outputs_of_some_right(layer, MOVED_METRIC_IMAGES), 0.0)
    logits = torch.nn.functional.linear(torch.from_numpy(values), behind.weight, behind.bias)
    doubts = softmax_curvature(logits).numpy()
    squares = doubts @ np.square(values) / max(float(doubts.sum()), np.finfo(np.float64).tiny)
    return cost_of_units(behind.weight.detach().double().numpy(), squares)


def _tell(report: RepairReport, prepared: Preparation) -> None:
    report.prepare_objective, report.prepare_steps = prepared.length, prepared.steps
    report.prepare_margins = [effort.margins for effort in prepared.efforts]
    report.prepare_iterations = [effort.iterations for effort in prepared.efforts]
