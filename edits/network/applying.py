"""Applying a change: a new state dict, in which no entry moves by more than the bound as float32 stores it."""

from __future__ import annotations

import torch
from torch import nn

from model_classes.alexnet import AlexNet
from model_classes.changes import restorable
from sytorch import chain_of
from sytorch.network import applying
from sytorch.problem.arrays import Matrix


def by_parameter(model: nn.Module, layer: str, change: Matrix) -> dict[str, torch.Tensor]:
    """A layer's change, (outputs, n + 1), by parameter name, float32: of its weight and, the last column, its bias."""
    moves, weight = torch.from_numpy(change).float(), model.get_parameter(f"{layer}.weight")
    return {f"{layer}.weight": moves[:, :-1].reshape(weight.shape), f"{layer}.bias": moves[:, -1]}


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
    differing = [name for name in before if not is_same(state[name], before[name])]
    return {name: state[name].double().sub_(before[name]) for name in differing}


def is_same(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether finite weights are equal; those that lie in the same memory are not read."""
    shared = before.data_ptr() == after.data_ptr() and before.shape == after.shape
    return shared or torch.equal(before, after)


def first_changed(model: AlexNet, state: dict[str, torch.Tensor]) -> str:
    """The first layer in which a state dict differs from the model's; the last layer where none does."""
    before, layers = model.state_dict(), chain_of(model).repairable
    changed = {name.rpartition(".")[0] for name in before if not is_same(before[name], state[name])}
    return next((layer for layer in layers if layer in changed), layers[-1])


def added(weights: torch.Tensor, change: torch.Tensor, block: int = 64) -> torch.Tensor:
    """Weights, float32, with a change added, none of which rounding makes larger: a bound on it stays kept."""
    parts = zip(torch.split(weights, block), torch.split(change, block), strict=True)  # which stay in the CPU's cache
    return torch.cat([_added(*part) for part in parts])


def _added(weights: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    after = (weights.double() + change.double()).float()
    beyond = (after.double() - weights.double()).abs() > change.double().abs()
    return restorable(weights, torch.where(beyond, torch.nextafter(after, weights), after))
