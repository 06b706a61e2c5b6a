"""Repairing a layer other than the last: the pattern behind it held, or steps that linearise anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import sytorch
from edits.options import RepairOptions
from edits.repair import Repair
from edits.workbench import Workbench
from editset_helpers.edit_set import EditSet
from helpers.activations import read_array, write_array
from helpers.errors import NotVerifiedError, UsageError
from helpers.paths import CACHE
from helpers.preprocessing import to_inputs
from model_classes.alexnet import AlexNet
from sytorch.held_constraints import ALLOWANCE

METRIC_IMAGES = 10_000
GRADIENT_IMAGES = 1000
BATCH = 250


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """One part of a network, seen by the images of an edit set.

    Attributes:
        part: what changes.
        view: the layer as the images see it.
        metric: of the layer.
        edit_set: the images.
        options: what is asked.
    """

    part: sytorch.Part
    view: sytorch.LayerView
    metric: sytorch.KroneckerMetric
    edit_set: EditSet
    options: RepairOptions

    def repair(self, model: AlexNet, allowance: float, share: float) -> Repair:
        """Compute the change; ``allowance`` is added to the margin, ``share`` multiplies how far signs are from zero.

        Raises:
            ContradictionError, SolverTimeLimitError, SolverFailedError: see `sytorch.HeldProgram.solve`.
        """
        options, labels = self.options, self.edit_set.labels
        size, bound = options.margin + allowance, options.param_bound
        if options.pattern == "held":
            program = sytorch.hold(self.view, labels, size, self.metric, bound=bound, allowance=share * ALLOWANCE)
            solution = program.solve(options.time_limit)
        else:
            limit = options.time_limit
            moved = sytorch.relinearise(self.view, labels, size, metric=self.metric, bound=bound, time_limit=limit)
            solution = unproved(moved)
        return Repair(self.part.layer, self._parameters(model, torch.from_numpy(solution.change)), solution)

    def check(self, model: AlexNet) -> None:
        """Raise `NotVerifiedError` where the saved network, in float32, has not the pattern that was held."""
        if self.options.pattern != "held":
            return
        head, layer, tail = sytorch.chain_of(model).split(self.part.layer)
        with torch.inference_mode():
            outputs = layer(head(self.edit_set.images))
        if broken := self.view.pattern.broken(tail, outputs):
            raise NotVerifiedError(f"With the saved weights {broken} activations are not what they were held at.")

    def _parameters(self, model: AlexNet, change: torch.Tensor) -> dict[str, torch.Tensor]:
        name = self.part.layer
        weight = model.state_dict()[f"{name}.weight"]
        changes = {f"{name}.weight": change[:, :-1].reshape(weight.shape), f"{name}.bias": change[:, -1]}
        return {key: part.float() for key, part in changes.items()}


def unproved(moved: sytorch.Relinearised) -> sytorch.Solution:
    """A change without a proof, in the form of those that have one: its lower bound is zero."""
    none = sytorch.Multipliers(np.zeros((0, 0)), np.zeros((0, 0)))
    effort = sytorch.Effort(columns=moved.change.numel(), rounds=moved.steps, solver="steps that linearise anew")
    return sytorch.Solution(moved.change.numpy(), moved.size, 0.0, none, "relinearised", effort)


def layer_problem(bench: Workbench, edit_set: EditSet, options: RepairOptions) -> LayerProblem:
    """Look at the layer that the options name, and take its metric from training images, or the cache."""
    part = sytorch.part_named(options.layer)
    with bench.clock.phase("program"):
        view = sytorch.linearise(bench.model, part, edit_set.images)
    with bench.clock.phase("metric"):
        metric = _metric(bench, view, options)
    return LayerProblem(part, view, metric, edit_set, options)


def check_part(bench: Workbench, layer: str, norm: sytorch.NormName) -> None:
    """Raise `UsageError` unless that part of the network can be repaired with that norm."""
    try:
        sytorch.linearise(bench.model, layer, torch.zeros(1, 3, 64, 64))
    except sytorch.UnsupportedLayerError as error:
        raise UsageError(f"--layer: {error}") from error
    if norm is not sytorch.NormName.L2:
        raise UsageError(f"--layer {layer} is not the last layer: it is repaired with --norm l2, not {norm.value}.")


def _metric(bench: Workbench, view: sytorch.LayerView, options: RepairOptions) -> sytorch.KroneckerMetric:
    layer = view.part.layer
    if options.metric == "identity":
        width = len(view.folding.sizes)
        return sytorch.KroneckerMetric(torch.eye(width, dtype=torch.float64))
    count = min(options.metric_images, METRIC_IMAGES)
    path = CACHE / f"layer-metric-right-{bench.weights_hash[:16]}-{bench.training.content_hash[:16]}-{layer}-{count}"
    return _cached(path, lambda: sytorch.kronecker_metric(bench.model, layer, _batches(bench, count), GRADIENT_IMAGES))


def _batches(bench: Workbench, count: int) -> Callable[[], Iterator[torch.Tensor]]:
    chosen = bench.right_training_images(count)

    def run() -> Iterator[torch.Tensor]:
        for start in range(0, len(chosen), BATCH):
            yield to_inputs(bench.training.images[chosen[start : start + BATCH]])

    return run


def _cached(path: Path, make: Callable[[], sytorch.KroneckerMetric]) -> sytorch.KroneckerMetric:
    """Both factors from their files; a damaged one is computed again."""
    files = [path.with_name(f"{path.name}-{part}.npy") for part in ("inputs", "outputs")]
    found = [read_array(file) for file in files]
    if found[0] is None or found[1] is None:
        metric = make()
        outputs = metric.outputs if metric.outputs is not None else torch.zeros(0)
        for file, factor in zip(files, (metric.inputs, outputs), strict=True):
            write_array(file, factor.float().numpy())
        found = [read_array(file) for file in files]
    inputs, outputs = (torch.from_numpy(np.array(array)).double() for array in found)
    return sytorch.KroneckerMetric(inputs, outputs if len(outputs) else None)


def first_allowance(problem: LayerProblem) -> float:
    """How much more than the margin is asked for at first, relative to the logits."""
    return ALLOWANCE * 10 * max(1.0, math.ceil(float(problem.view.logits.abs().max())))
