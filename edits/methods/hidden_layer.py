"""Repairing a layer other than the last: the activation pattern behind it fixed, or steps that linearise anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import sytorch
from edits.methods.writing import RefutedError, Repaired, with_allowances, write_verified
from edits.network.applying import apply_changes, by_parameter
from edits.network.workbench import Workbench
from edits.options import HIDDEN_METRIC_IMAGES, RepairOptions
from edits.pace import expected
from edits.task import Task
from editset_helpers.edit_set import EditSet
from helpers import progress
from helpers.errors import NotVerifiedError, UsageError
from model_classes.alexnet import AlexNet
from sytorch.hidden_layer.constraints import ALLOWANCE, still_of


def repair_hidden_layer(task: Task) -> Repaired:
    """Solve, write and verify; where rounding took a margin or a sign, again with a larger allowance.

    Raises:
        SolverTimeLimitError, SolverFailedError: see `HiddenLayer.smallest_change`.
        RefutedError: no change within the bound has the margins with the activation pattern fixed.
        NotVerifiedError: the repaired weights fail the forward pass, or leave the pattern.
    """
    bench, options = task.bench, task.options
    problem = hidden_layer(bench, task.constrained, options)
    task.deadline.check()
    first = first_allowance(problem)

    def attempt(allowance: float) -> Repaired:
        with bench.clock.phase("solve", expected("solve", task)):
            try:
                solution = problem.smallest_change(allowance, allowance / first, task.deadline)
            except sytorch.ContradictionError as error:
                raise RefutedError(error.contradiction, problem) from error
        changes = by_parameter(bench.model, problem.layer, solution.change)
        state = apply_changes(bench.model, changes, options.param_bound)
        return Repaired(solution, state, *write_verified(task, state, problem.check), allowance, problem=problem)

    return with_allowances(first, attempt)


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """A layer of a network, or a part of one, seen by the images of an edit set.

    Attributes:
        view: the part that changes, as the images see it.
        metric: of its layer.
        edit_set: the images.
        options: what is asked.
    """

    view: sytorch.LayerView
    metric: sytorch.KroneckerMetric
    edit_set: EditSet
    options: RepairOptions

    @property
    def layer(self) -> str:
        """The layer that changes."""
        return self.view.part.layer

    def smallest_change(self, allowance: float, share: float, deadline: sytorch.Deadline) -> sytorch.Solution:
        """``allowance`` is added to the margin, ``share`` multiplies how far signs are asked to stay from zero.

        Raises:
            ContradictionError, SolverTimeLimitError, SolverFailedError: see `sytorch.FixedPatternProgram.solve`.
        """
        options, labels = self.options, self.edit_set.labels
        size, bound = options.margin + allowance, options.param_bound
        if options.pattern == "relinearise":
            margins = sytorch.margin(self.view.affine_outputs, labels, size)
            steps = sytorch.relinearise(self.view, margins, size, metric=self.metric, bound=bound, time_limit=deadline)
            return steps.unwrap()
        program = sytorch.fixed_pattern_program(
            self.view, labels, size, self.metric, bound=bound, allowance=share * ALLOWANCE
        )
        with progress.loop(f"fixing what is behind {self.layer}", None, "step") as told:
            return program.solve(deadline, told.update)

    def check(self, model: AlexNet) -> None:
        """Raise `NotVerifiedError` where the repaired network, in float32, has not the pattern that was fixed."""
        if self.options.pattern == "relinearise":
            return
        head, layer, tail = sytorch.chain_of(model).split(self.layer)
        with torch.inference_mode():
            outputs = layer(head(self.edit_set.images))
        if broken := self.view.pattern.broken(tail, outputs, still_of(self.view)):
            raise NotVerifiedError(f"With the repaired weights {broken} activations are not what they were fixed at.")


def hidden_layer(bench: Workbench, edit_set: EditSet, options: RepairOptions) -> HiddenLayer:
    """Look at what the options name, and take its layer's metric from training images, or the cache."""
    with bench.clock.phase("program"):
        view = sytorch.linearise(bench.model, options.layer, edit_set.images)
    return HiddenLayer(view, _metric(bench, view, options), edit_set, options)


def check_part(bench: Workbench, options: RepairOptions) -> None:
    """Raise `UsageError` unless that layer, or that part of one, can be repaired as the options ask."""
    if "+" in options.layer:
        raise UsageError(f"--layer names one layer, or a part of one; {options.layer} are several.")
    try:
        sytorch.linearise(bench.model, options.layer, bench.test.inputs(slice(1)))
    except sytorch.UnsupportedLayerError as error:
        raise UsageError(f"--layer: {error}") from error
    if options.norm != "l2":
        raise UsageError(
            f"--layer {options.layer} is not the last layer: it is repaired with --norm l2, not {options.norm}."
        )


def _metric(bench: Workbench, view: sytorch.LayerView, options: RepairOptions) -> sytorch.KroneckerMetric:
    if options.metric == "identity":
        return sytorch.identity_metric(view)
    return bench.layer_metric(view.part.layer, metric_count(options))


def metric_count(options: RepairOptions) -> int:
    """From how many training images, at most, the metric of a layer other than the last is taken."""
    return options.metric_images or HIDDEN_METRIC_IMAGES


def first_allowance(problem: HiddenLayer) -> float:
    """How much more than the margin is asked for at first, relative to the logits."""
    return ALLOWANCE * 10 * max(1.0, math.ceil(float(problem.view.logits.abs().max())))
