"""Computing a repair and applying it: two functions, and the first leaves the model as it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import sytorch
from edits.options import RepairOptions

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
    margins: sytorch.Margins,
    options: RepairOptions,
    metric: sytorch.Metric,
    *,
    solver: sytorch.Solver,
    time_limit: float | sytorch.Deadline | None = None,
) -> Repair:
    """Find the smallest change of the layer; nothing is changed.

    Args:
        margins: the constraints.
        options: what is minimised, and under which bound.
        metric: where it is minimised.
        solver: who solves.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        ContradictionError, SolverTimeLimitError, LicenceError, SolverFailedError: see `sytorch.Program.solve`.
    """
    program = sytorch.minimise(options.norm, metric).subject_to(margins, options.param_bound)
    solution = program.solve(solver, time_limit, options.whole_program)
    change = torch.from_numpy(solution.change)
    parts = {f"{options.layer}.weight": change[:, :-1], f"{options.layer}.bias": change[:, -1]}
    return Repair(options.layer, {name: part.float() for name, part in parts.items()}, solution)


def apply_changes(model: nn.Module, changes: dict[str, torch.Tensor], bound: float) -> dict[str, torch.Tensor]:
    """The state dict of the repaired model; the model itself is left alone.

    No entry moves by more than the bound, as float32 stores it.
    """
    state = dict(model.state_dict())
    return state | {name: moved(state[name], change, bound) for name, change in changes.items()}


def moved(before: torch.Tensor, change: torch.Tensor, bound: float) -> torch.Tensor:
    """Float32 weights with a change added, each within the bound of what it was.

    The sum is clipped in float64, which holds the bound; rounding it to float32 then passes the bound by half of the
    spacing of numbers there at most, so the neighbouring number is within it.
    """
    after = (before.double() + change.double().clamp(-bound, bound)).float()
    beyond = (after.double() - before.double()).abs() > bound
    return torch.where(beyond, torch.nextafter(after, before), after)


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
