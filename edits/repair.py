"""Computing a repair and applying it: two functions, and the first leaves the model as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import sytorch
from edits.options import RepairOptions
from sytorch.arrays import Vector

ALLOWANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Repair:
    """A change of one layer that gives every edit image its margin.

    Attributes:
        layer: the layer's name.
        changes: by parameter name, float32: what is added to the weight, (C, n), and to the bias, (C,).
        solution: the program's answer, with its proof.
    """

    layer: str
    changes: dict[str, torch.Tensor]
    solution: sytorch.Solution


def compute_repair(
    outputs: sytorch.AffineOutputs,
    labels: torch.Tensor,
    options: RepairOptions,
    metric: sytorch.Metric,
    *,
    solver: sytorch.Solver,
    allowance: float,
    floors: Vector | None = None,
    time_limit: float | sytorch.Deadline | None = None,
) -> Repair:
    """Find the smallest change of the layer; nothing is changed.

    Args:
        outputs: of the edit images, with the layer symbolic, and of images to keep right.
        labels: int64, (N,).
        options: what is minimised, and under which margin and bound.
        metric: where it is minimised.
        solver: who solves.
        allowance: how much larger a margin the program asks for, so that rounding to float32 does not lose it.
        floors: (K,), the leads, at most zero, that are asked of the last K images instead of the margin.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        ContradictionError, SolverTimeLimitError, LicenceError, SolverFailedError: see `sytorch.Program.solve`.
    """
    sizes = np.full(len(labels), options.margin + allowance)
    if floors is not None:
        sizes[len(labels) - len(floors) :] = floors + allowance * (floors == 0)
    margins = sytorch.margin(outputs, labels.numpy(), sizes)
    program = sytorch.minimise(options.norm, metric).subject_to(margins, options.param_bound)
    solution = program.solve(solver, time_limit, options.whole_program)
    change = torch.from_numpy(solution.change)
    parts = {f"{options.layer}.weight": change[:, :-1], f"{options.layer}.bias": change[:, -1]}
    return Repair(options.layer, {name: part.float() for name, part in parts.items()}, solution)


def apply_changes(model: nn.Module, changes: dict[str, torch.Tensor], bound: float) -> dict[str, torch.Tensor]:
    """The state dict of the repaired model; the model itself is left alone.

    An entry that rounding puts beyond the bound is moved to the neighbouring float32 within it.
    """
    state = dict(model.state_dict())
    for name, change in changes.items():
        before = state[name]
        after = (before.double() + change.double()).float()
        beyond = (after.double() - before.double()).abs() > bound
        state[name] = torch.where(beyond, torch.nextafter(after, before), after)
    return state


def changes_of(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By how much the parameters of a state dict differ from the model's, float64, without those that do not."""
    before = model.state_dict()
    differing = [
        name for name in before if state[name] is not before[name] and not torch.equal(state[name], before[name])
    ]
    return {name: state[name].double() - before[name].double() for name in differing}


def rounding_allowance(outputs: sytorch.AffineOutputs) -> float:
    """A margin that float32 arithmetic does not use up: relative to the logits it is computed from."""
    return ALLOWANCE * max(1.0, float(np.abs(outputs.logits).max()))
