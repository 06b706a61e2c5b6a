"""Applying a change: a new state dict, in which no entry moves by more than the bound as float32 stores it."""

from __future__ import annotations

import torch
from torch import nn

from edits.network.tail import parameters_of
from model_classes.changes import restorable
from sytorch.network import applying
from sytorch.problem.arrays import Matrix


def by_parameter(model: nn.Module, layer: str, change: Matrix) -> dict[str, torch.Tensor]:
    """A layer's change, (outputs, n + 1), by parameter name, float32: of its weight and, the last column, its bias."""
    parts = parameters_of(model.get_submodule(layer), torch.from_numpy(change).float())
    return {f"{layer}.{name}": part for name, part in parts.items()}


def apply_changes(model: nn.Module, changes: dict[str, torch.Tensor], bound: float) -> dict[str, torch.Tensor]:
    """The state dict of the repaired model; the model itself is left alone.

    No entry moves by more than the bound, as float32 stores it.
    """
    state = dict(model.state_dict())
    return state | {name: moved(state[name], change, bound) for name, change in changes.items()}


def moved(before: torch.Tensor, change: torch.Tensor, bound: float) -> torch.Tensor:
    """Float32 weights with a change added, each within the bound of what it was, and such that it can be undone."""
    after = applying.moved(before, change, bound)
    zeroed = restorable(before, after)
    return torch.where((zeroed.double() - before.double()).abs() > bound, after, zeroed)


def changes_of(model: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By how much the parameters of a state dict differ from the model's, float64, without those that do not."""
    before = model.state_dict()
    differing = [
        name for name in before if state[name] is not before[name] and not torch.equal(state[name], before[name])
    ]
    return {name: state[name].double() - before[name].double() for name in differing}
