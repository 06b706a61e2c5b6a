"""Inner products of constraints that each weigh the outputs for one input."""

from __future__ import annotations

from collections.abc import Callable

import torch

ROWS = 500


def gram_of(
    weights: torch.Tensor,
    places: torch.Tensor,
    kernels: torch.Tensor,
    tick: Callable[[], object] = lambda: None,
) -> torch.Tensor:
    """Inner products, (R, R), of the gradients of ``<weights[r] x inputs[places[r]], D>`` in the inverse metric.

    Args:
        weights: (R, C), how much each output counts.
        places: int64, (R,), whose input.
        kernels: (G, S, S), inner products of the inputs; G is 1, or C where each output has its own.
        tick: called now and then, for it takes a while.
    """
    gram = torch.zeros(len(weights), len(weights), dtype=kernels.dtype)
    for own, kernel in zip(weights.tensor_split(len(kernels), dim=1), kernels, strict=True):
        for rows, part, images in zip(*(torch.split(every, ROWS) for every in (gram, own, places)), strict=True):
            tick()
            rows.add_((part @ own.T).mul_(kernel[images][:, places]))
    return gram
