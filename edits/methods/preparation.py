"""Preparing a network before the last layer's program: spare units of the hidden layer become detectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.hidden_units import HiddenUnits
from edits.network.prepared import Network
from edits.options import PLANTED_LAYER, RepairOptions
from edits.outcome.report import RepairReport
from edits.task import Task
from editset_helpers.copies import near_copies
from helpers.cli import say
from helpers.errors import UsageError
from helpers.evaluation import is_right, margins
from sytorch import InvalidInputError
from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.problem.outputs import append_one
from sytorch.spare_units.detectors import Detectors, Group, detectors
from sytorch.spare_units.groups import alike
from sytorch.spare_units.planting import Planting, plant, within_reach

SAMPLE = 20_000  # training images
TOLERATED_LOSS = 2e-4  # of their answers, for units that are taken out


def prepare_network(task: Task, report: RepairReport, before: torch.Tensor) -> Network:
    """The network with detectors of the edit images in its spare units, which the report is told; or as it is.

    Args:
        task: what is asked.
        report: of it.
        before: the logits of the images and copies that are constrained, (N, C).

    Raises:
        SolverTimeLimitError: the time is up.
        UsageError: `--param-bound` leaves no unit that can be planted.
    """
    bench, options = task.bench, task.options
    if not options.plants:
        return bench.network
    with bench.clock.phase("ordinary images"):
        units = bench.hidden_units(PLANTED_LAYER, sample_size(options))
        _ = units.inputs, units.input_metric, units.moment
    with bench.clock.phase("prepare"):
        kept, change = _kept(task)
        members, found, planting = _planted(task, units, kept, before)
        planting = planting.beside(kept, change)
    network = bench.planted(units, planting, options.ridge, task.training_positions)
    with bench.clock.phase("prepare"):
        _tell(report, task, units, members=members, found=found, planting=planting)
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network


def _kept(task: Task) -> tuple[Indices, Matrix]:
    """The units that are detectors of earlier repairs, (K,), and how their weights changed, (K, k + 1)."""
    earlier, units = task.kept, np.zeros(0, dtype=np.int64)
    if earlier is None or earlier.units is None:
        return units, rows_of(task.bench.linear(PLANTED_LAYER), units)
    before, after = (rows_of(bench.linear(PLANTED_LAYER), earlier.units) for bench in (earlier.base, earlier.now))
    return earlier.units, after - before


def settled(task: Task) -> Task:
    """The task with ``prepare: auto`` settled: where the bound leaves too few units to plant, nothing is prepared."""
    options = task.options
    if options.prepare != "auto" or not options.plants:
        return task
    free = within_reach(rows_of(task.bench.linear(PLANTED_LAYER)), options.param_bound)
    if int(free.sum()) >= len(set(task.edit_set.labels.tolist())):
        return replace(task, options=replace(options, prepare="spare-units"))
    say(
        f"note: --param-bound {options.param_bound:g} leaves no unit of {PLANTED_LAYER} to plant; "
        "only the last layer changes."
    )
    return replace(task, options=replace(options, prepare="none"))


def sample_size(options: RepairOptions) -> int:
    """From how many training images ordinary ones are told, at most."""
    return options.metric_images or SAMPLE


def _planted(
    task: Task, units: HiddenUnits, kept: Indices, before: torch.Tensor
) -> tuple[list[Indices], Detectors, Planting]:
    """Which images share a detector, by their positions, the detectors, and which units they go into."""
    layer, bound, reach = rows_of(units.linear), task.options.param_bound, task.options.reach
    free, count = units.spare.without(kept).within(layer, bound, TOLERATED_LOSS)
    members, groups = _groups(task, units, count)
    if kept.size and count < sum(map(len, members)):
        say(f"note: earlier repairs have {len(kept)} spare units; the new images share the {count} that are left.")
    found = detectors(units.input_metric, groups, lambda: _ordinary(task, units), reach.tolerated)
    task.deadline.check()
    values = _values(task, members, before)
    try:
        planting = plant(
            layer,
            free[: max(count, len(groups))],
            found,
            values,
            threshold=reach.threshold,
            tolerated=reach.tolerated,
            bound=bound,
        )
    except InvalidInputError as error:
        raise UsageError(f"{error} Raise --param-bound, or take --prepare none.") from error
    return members, found, planting


def _ordinary(task: Task, units: HiddenUnits) -> Iterator[NDArray[np.float32]]:
    """Points that are to set no detector off: ordinary images, and edit images that have one of an earlier repair."""
    yield from units.ordinary(task.training_positions)
    if known := task.known:
        channels = task.bench.training_images.channels
        yield channels.behind(units.layer, channels.of_inputs(task.edit_set.images[:known])).numpy()


def _values(task: Task, members: list[Indices], before: torch.Tensor) -> Vector:
    """What units are to be for their images, so that half of the bound on the last layer's entries gives the margins.

    Args:
        task: what is asked.
        members: positions of the images of each of G groups.
        before: the logits of the images and copies that are constrained, (N, C).
    """
    missing = task.options.margin - margins(before, task.constrained.labels).numpy().reshape(-1, len(task.edit_set))
    most = missing.max(axis=0)
    return np.array([max(1.0, float(most[part].max()) / task.options.param_bound) for part in members])


def _groups(task: Task, units: HiddenUnits, count: int) -> tuple[list[Indices], list[Group]]:
    """Positions of the edit images that share a detector, and what it is to detect, at most ``count`` where possible.

    That is each image, copies that are constrained, and those of the reach. Images of earlier repairs have theirs.
    """
    known = task.known
    images, labels = task.edit_set.images[known:], task.edit_set.labels[known:].numpy()
    blocks = [block[known:] for block in torch.split(task.constrained.images, len(task.edit_set))]
    needed = len(blocks)
    if task.options.reach.copies:
        blocks += near_copies(images, task.bench.training_images.can_flip)
    channels = task.bench.training_images.channels
    points = np.stack([channels.behind(units.layer, channels.of_inputs(block)).numpy() for block in blocks], axis=1)
    members = [np.array([image]) for image in range(len(images))]
    count = max(count, len(np.unique(labels)))
    if len(images) > count:
        members = alike(units.input_metric.whitened(append_one(points[:, 0]))[0], labels, count)
    groups = [
        Group(
            np.concatenate([points[part, :needed], points[part, needed:]], axis=None).reshape(-1, points.shape[2]),
            int(labels[part[0]]),
            needed * len(part),
        )
        for part in members
    ]
    return [part + known for part in members], groups


def rows_of(layer: nn.Linear, units: Indices | None = None) -> Matrix:
    """A layer's weights and, in the last column, biases, (m, k + 1), float64; or those of some units, (U, k + 1)."""
    weight, bias = (value.detach() if units is None else value.detach()[units] for value in (layer.weight, layer.bias))
    return torch.cat([weight, bias[:, None]], dim=1).double().numpy()


def _tell(
    report: RepairReport,
    task: Task,
    units: HiddenUnits,
    *,
    members: list[Indices],
    found: Detectors,
    planting: Planting,
) -> None:
    """Say what was planted, which images are not separable from which, and who else is detected."""
    report.prepare_max_abs_change = float(np.abs(planting.change).max())
    taken = np.isin(units.spare.order, planting.units)
    report.planted_units, report.planted_loss = len(planting.units), float(units.spare.lost[taken].max())
    report.detected_alone = int(sum(len(part) for part, alone in zip(members, found.alone, strict=True) if alone))
    for place in np.flatnonzero(~found.separable):
        nearest = int(found.nearest[place])
        report.not_separable += members[place].tolist()
        report.nearest_training_images += [units.source(nearest, task.training_positions)] * len(members[place])
    report.largest_ordinary_response = max((found.largest / found.own)[found.separable], default=None)
    if task.location.outside is not None:
        rows = (rows_of(units.linear, planting.units) + planting.change).astype(np.float32)
        seen = task.bench.layer_inputs_of_test_images(units.layer)[task.location.outside]
        report.outside_detected = int((seen @ rows[:, :-1].T + rows[:, -1] > 0).any(axis=1).sum())
