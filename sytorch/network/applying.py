"""Applying a change to a copy of a module; the module itself is left as it was."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sytorch.problem.checks import checked_bound
from sytorch.problem.errors import InvalidInputError, UnsupportedLayerError


def apply(
    model: nn.Module, layer: str, change: NDArray[np.floating] | torch.Tensor, bound: float = np.inf
) -> nn.Module:
    """A copy of a module with a layer's change added.

    Args:
        model: of any floating-point type.
        layer: a linear layer or a convolution with a bias.
        change: (outputs, n + 1), of the weight and, as the last column, the bias.
        bound: no entry moves by more, as the model's type stores it.

    Raises:
        InvalidInputError: the change is of another layer or not finite, or the bound is not positive.
        UnsupportedLayerError: there is no such layer.
    """
    bound, changed = checked_bound(bound), copy.deepcopy(model)
    module = dict(changed.named_modules()).get(layer)
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not (isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor)):
        raise UnsupportedLayerError(f"There is no layer {layer!r} with a weight and a bias.")
    moves = torch.as_tensor(change)
    if moves.shape != (len(weight), weight[0].numel() + 1) or not torch.isfinite(moves).all():
        raise InvalidInputError(f"A change of {layer!r} must be finite, {(len(weight), weight[0].numel() + 1)}.")
    with torch.no_grad():
        weight.copy_(moved(weight, moves[:, :-1].reshape(weight.shape), bound))
        bias.copy_(moved(bias, moves[:, -1], bound))
    return changed


def moved(before: torch.Tensor, change: torch.Tensor, bound: float) -> torch.Tensor:
    """Weights with a change added, each within the bound of what it was, in their own type.

    The sum is clipped in float64, which holds the bound; rounding it then passes the bound by half of the spacing of
    numbers there at most, so the neighbouring number is within it.
    """
    after = (before.double() + change.double().clamp(-bound, bound)).to(before.dtype)
    beyond = (after.double() - before.double()).abs() > bound
    return torch.where(beyond, torch.nextafter(after, before), after)
