"""Preparing a network before the last layer's program: spare units of the hidden layer become detectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from edits.network.hidden_units import HiddenUnits
from edits.network.prepared import Network
from edits.options import PLANTED_LAYER, RepairOptions
from edits.pace import expected
from edits.record.report import RepairReport
from edits.task import Task
from editset_helpers.copies import near_copies
from helpers.cli import say, say_once
from helpers.errors import UsageError
from helpers.evaluation import is_right, margins
from sytorch import InvalidInputError
from sytorch.problem.arrays import Indices, Matrix
from sytorch.spare_units.planting import Planting, within_reach
from sytorch.spare_units.preparation import Preparation, prepared, rows_of

SAMPLE = 20_000  # training images


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
    bench = task.bench
    if not task.options.plants:
        return bench.network
    network = _planted(task, report, before)
    with bench.clock.phase("prepare", expected("prepare", task)):
        if task.location.outside is not None:
            assert network.units_on_test is not None
            detected = network.units_on_test().max(axis=1, initial=0.0) > 0
            report.outside_detected = int(detected[task.location.outside].sum())
    report.prepare_test_accuracy = float(is_right(network.test_logits, bench.test.labels).mean())
    return network


def _planted(task: Task, report: RepairReport, before: torch.Tensor) -> Network:
    """That network, of which the report is told what was planted."""
    bench, options = task.bench, task.options
    with bench.clock.phase("ordinary images"):
        units = bench.hidden_units(PLANTED_LAYER, sample_size(options))
        _ = units.inputs, units.input_metric, units.moment
    with bench.clock.phase("prepare", expected("prepare", task)):
        kept, change = _kept(task)
        found = _prepared(task, units, kept, before)
        task.deadline.check()
        planting = found.planting.beside(kept, change)
    network = bench.planted(units, planting, options.ridge, task.training_positions)
    with bench.clock.phase("prepare", expected("prepare", task)):
        _tell(report, task, units, found, planting)
    return network


def _kept(task: Task) -> tuple[Indices, Matrix]:
    """The units that are detectors of earlier repairs, (K,), and how their weights changed, (K, k + 1)."""
    earlier = task.kept
    if earlier is None and task.earlier is not None and task.bench is task.first:
        say("note: more is asked than the earlier detectors were made for, so all images get new ones.")
    if earlier is None or earlier.units is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, task.bench.linear(PLANTED_LAYER).in_features + 1))
    before, after = (rows_of(bench.linear(PLANTED_LAYER), earlier.units) for bench in (earlier.base, earlier.now))
    return earlier.units, after.astype(np.float64) - before


def settled(task: Task) -> Task:
    """The task with ``prepare: auto`` settled: where the bound leaves too few units to plant, nothing is prepared."""
    options = task.options
    if options.prepare != "auto" or not options.plants:
        return task
    free = within_reach(rows_of(task.bench.linear(PLANTED_LAYER)), options.param_bound)
    if int(free.sum()) >= len(set(task.edit_set.labels.tolist())):
        return replace(task, options=replace(options, prepare="spare-units"))
    say_once(
        f"note: --param-bound {options.param_bound:g} leaves no unit of {PLANTED_LAYER} to plant; "
        "only the last layer changes."
    )
    return replace(task, options=replace(options, prepare="none"))


def sample_size(options: RepairOptions) -> int:
    """From how many training images ordinary ones are told, at most."""
    return options.metric_images or SAMPLE


def _prepared(task: Task, units: HiddenUnits, kept: Indices, before: torch.Tensor) -> Preparation:
    """Detectors of edit images, their copies that are constrained, and those of the reach; earlier images have theirs.

    Args:
        task: what is asked.
        units: of the layer.
        kept: units that are taken already.
        before: the logits of the images and copies that are constrained, (N, C).
    """
    layer, bound, reach, known = rows_of(units.linear), task.options.param_bound, task.options.reach, task.known
    free, count = units.spare.without(kept).within(layer, bound)
    channels, blocks = task.bench.training_images.channels, [*torch.split(task.channels, len(task.edit_set))]
    needed, images = len(blocks), task.edit_set.images
    copies = near_copies(images[known:], task.bench.training_images.can_flip) if reach.copies else ()
    blocks = [block[known:] for block in blocks] + [channels.of_inputs(copy) for copy in copies]
    if kept.size and count < len(images) - known:
        say(f"note: earlier repairs have {len(kept)} spare units; the new images share the {count} that are left.")
    missing = task.options.margin - margins(before, task.constrained.labels).numpy().reshape(-1, len(task.edit_set))
    try:
        found = prepared(
            layer,
            free,
            np.stack([channels.behind(units.layer, block).numpy() for block in blocks], axis=1),
            task.edit_set.labels[known:].numpy(),
            missing[:, known:].max(axis=0),
            metric=units.input_metric,
            ordinary=lambda: _ordinary(task, units),
            threshold=reach.threshold,
            tolerated=reach.tolerated,
            bound=bound,
            count=count,
            needed=needed,
        )
    except InvalidInputError as error:
        raise UsageError(f"{error} Raise --param-bound, or take --prepare none.") from error
    return replace(found, members=[part + known for part in found.members])


def _ordinary(task: Task, units: HiddenUnits) -> Iterator[NDArray[np.float32]]:
    """Points that are to set no detector off: ordinary images, and edit images that have one of an earlier repair."""
    yield from units.ordinary(task.training_positions)
    if known := task.known:
        yield task.bench.training_images.channels.behind(units.layer, task.channels[:known]).numpy()


def _tell(report: RepairReport, task: Task, units: HiddenUnits, prepared: Preparation, planting: Planting) -> None:
    """Say what was planted, which images are not separable from which, and who else is detected."""
    members, found = prepared.members, prepared.found
    report.prepare_max_abs_change = float(np.abs(planting.change).max())
    taken = np.isin(units.spare.order, planting.units)
    report.detected_groups, report.detected_images = len(members), sum(map(len, members))
    report.planted_units, report.planted_loss = len(planting.units), float(units.spare.lost[taken].max())
    report.detected_alone = int(sum(len(part) for part, alone in zip(members, found.alone, strict=True) if alone))
    for place in np.flatnonzero(~found.separable):
        nearest = int(found.nearest[place])
        report.not_separable += members[place].tolist()
        report.nearest_training_images += [units.source(nearest, task.training_positions)] * len(members[place])
    report.largest_ordinary_response = max((found.largest / found.own)[found.separable], default=None)
