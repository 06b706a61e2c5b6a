"""How far held inequalities are from being violated before anything changes, those that say nothing left out."""

from __future__ import annotations

import torch

from sytorch.linearise import LayerView
from sytorch.pattern import HeldSigns

ROUNDING = 1e-12


def slack_of(views: tuple[LayerView, ...]) -> dict[int, torch.Tensor]:
    """By position of a held layer, (N, Q); infinite where an inequality is void.

    Void are those that hold and that no change of the parts moves, near to zero as they may be, and where only biases
    change all but the least of a unit's equal signs, for they move alike.
    """
    first, slack = views[0], {}
    movable = _movable(views)
    for position, held in first.pattern.held.items():
        values = first.pattern.values[position]
        found = held.slack(values)
        holds = found >= -ROUNDING * max(1.0, float(values.abs().max()))
        slack[position] = found.masked_fill(holds & ~movable[position], torch.inf)
    signs = first.pattern.held.get(0)
    if first.part.bias_only and isinstance(signs, HeldSigns):
        slack[0] = _tightest(slack[0], signs.positive)
    return slack


def _movable(views: tuple[LayerView, ...]) -> dict[int, torch.Tensor]:
    """By position of a held layer, (N, Q): whether random moves of what changes reach an inequality at all."""
    generator, found = torch.Generator().manual_seed(0), dict[int, torch.Tensor]()
    for view in views:
        shape = (*view.inputs.shape[:2], len(view.units))
        moves = view.moved(torch.randn(shape, generator=generator, dtype=view.inputs.dtype))
        for position, held in view.pattern.held.items():
            reached = held.lean(moves[position]) != 0
            found[position] = reached | found.get(position, torch.zeros_like(reached))
    return found


def _tightest(slack: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    kept = torch.full_like(slack, torch.inf)
    for side in (positive, ~positive):
        least, image = slack.masked_fill(~side, torch.inf).min(dim=0, keepdim=True)
        kept.scatter_(0, image, torch.minimum(least, kept.gather(0, image)))
    return kept
