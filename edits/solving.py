"""From a network and a task to a file that was loaded again and passed the forward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sytorch
from edits.any_layer import first_allowance, layer_problem
from edits.keep import Kept, Watched, keep_right
from edits.network import Network
from edits.options import KeepWeights, RepairOptions
from edits.repair import Repair, apply_changes, changes_of, compute_repair, rounding_allowance
from edits.saving import save_verified
from edits.workbench import Workbench
from editset_helpers.edit_set import EditSet
from editset_helpers.location import Location, locate, numbered
from editset_helpers.regions import with_copies
from helpers.cli import say
from helpers.errors import NotVerifiedError
from helpers.evaluation import is_right
from model_classes.alexnet import AlexNet
from model_classes.changes import changes_content
from sytorch.arrays import Vector
from sytorch.deadline import Deadline

ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Task:
    """What to repair, how, and where the result goes.

    Attributes:
        bench: the network and its images.
        edit_set: the images to put right.
        edit_set_path: their file, for the report.
        options: the program.
        output: the weights; report and outcomes lie beside them.
        command: what was typed, for the report.
        keep: the whole network, only what changed, or nothing once it is verified.
    """

    bench: Workbench
    edit_set: EditSet
    edit_set_path: Path
    options: RepairOptions
    output: Path
    command: str
    keep: KeepWeights = "full"

    @functools.cached_property
    def location(self) -> Location:
        """Which test images the edit images are; see `locate`."""
        with self.bench.clock.phase("edit set"):
            return locate(self.edit_set, self.bench.test)

    @functools.cached_property
    def numbered(self) -> EditSet:
        """The edit set with the images' true numbers in its metadata."""
        return numbered(self.edit_set, self.location)

    @functools.cached_property
    def constrained(self) -> EditSet:
        """The edit images and then their copies in the region; see `with_copies`, also for what it raises."""
        with self.bench.clock.phase("edit set"):
            return with_copies(self.edit_set, self.options.region, self.bench.test)

    @functools.cached_property
    def prepared(self) -> EditSet:
        """What stage one goes for: the same with the copies of `RepairOptions.prepare_region`."""
        with self.bench.clock.phase("edit set"):
            return with_copies(self.edit_set, self.options.prepare_region, self.bench.test)


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repair that was written and verified: its weights, and the logits of what was constrained by the file."""

    repair: Repair
    state: dict[str, torch.Tensor]
    logits: torch.Tensor
    kept: Kept | None = None


def repair_and_save(task: Task, network: Network) -> Repaired:
    """Solve, write and verify; where rounding ate a margin, once more with a larger allowance."""
    bench, options = task.bench, task.options
    metric, solver = network.metric(options), sytorch.solver_named(options.solver, say)
    with bench.clock.phase("program"):
        outputs = sytorch.symbolic(network.model, options.layer)(task.constrained.images)
    allowance = rounding_allowance(outputs)
    watched, deadline = _watched(task, network), Deadline(options.time_limit)
    solve = functools.partial(_solve, options=options, metric=metric, solver=solver, deadline=deadline)
    for attempt in range(ATTEMPTS):
        with bench.clock.phase("solve"):
            labels, allowing = task.constrained.labels, functools.partial(solve, allowance=allowance)
            if watched is None:
                repair, kept = allowing(outputs, labels), None
            else:
                margins = sytorch.margin(outputs, labels.numpy(), options.margin + allowance)
                kept = keep_right(margins, watched, metric, allowing, deadline)
                repair = kept.repair
        state = apply_changes(network.model, repair.changes, options.param_bound)
        try:
            with bench.clock.phase("write and verify"):
                return Repaired(repair, state, _save(task, state), kept)
        except NotVerifiedError:
            if attempt == ATTEMPTS - 1:
                raise
            allowance *= 10
    raise AssertionError("unreachable")


def _solve(
    outputs: sytorch.AffineOutputs,
    labels: torch.Tensor,
    floors: Vector | None = None,
    *,
    options: RepairOptions,
    metric: sytorch.Metric,
    solver: sytorch.Solver,
    deadline: Deadline,
    allowance: float,
) -> Repair:
    return compute_repair(
        outputs,
        labels,
        options,
        metric,
        solver=solver,
        allowance=allowance,
        floors=floors,
        time_limit=deadline,
    )


def _watched(task: Task, network: Network) -> Watched | None:
    """The training images to keep right, as the last layer of the (prepared) network sees them."""
    bench, count = task.bench, task.options.keep
    if not count:
        return None
    with bench.clock.phase("keep set"):
        labels = bench.training_images.labels(count)
        before = bench.network.training_logits_of(count, bench.model.state_dict())
        now = network.training_logits_of(count, network.model.state_dict()).double().numpy()
        outputs = sytorch.AffineOutputs(now, sytorch.append_one(np.asarray(network.training_inputs(count))))
        return Watched(outputs, labels, is_right(before, labels))


def repair_layer_and_save(task: Task) -> Repaired:
    """The same as `repair_and_save` for a layer other than the last."""
    bench, options = task.bench, task.options
    problem = layer_problem(bench, task.constrained, options)
    allowance = first_allowance(problem)
    for attempt in range(ATTEMPTS):
        with bench.clock.phase("solve"):
            repair = problem.repair(bench.model, allowance * 10**attempt, 10**attempt)
        state = apply_changes(bench.model, repair.changes, options.param_bound)
        try:
            with bench.clock.phase("write and verify"):
                return Repaired(repair, state, _save(task, state, problem.check))
        except NotVerifiedError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _save(
    task: Task, state: dict[str, torch.Tensor], check: Callable[[AlexNet], None] = lambda _: None
) -> torch.Tensor:
    """The logits of what was constrained by the verified file."""
    bench, content = task.bench, dict[str, Any](state)
    if task.keep != "full":
        content = changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, task.output)
    classes = len(bench.test.class_names)
    return save_verified(content, task.output, task.constrained, task.options.margin, classes, check=check)
