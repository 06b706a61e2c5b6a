"""How far held inequalities are from being violated before anything changes, those that say nothing left out."""

from __future__ import annotations

import torch

from sytorch.linearise import LayerView
from sytorch.pattern import HeldSigns


def slack_of(view: LayerView) -> dict[int, torch.Tensor]:
    """By position of a held layer, (N, Q); infinite where an inequality is void.

    Void are those of `still_of`, near to zero as they may be, and where only the bias changes all but the least of a
    unit's equal signs, for they move alike.
    """
    pattern, still = view.pattern, still_of(view)
    slack = {place: held.slack(pattern.values[place]) for place, held in pattern.held.items()}
    slack = {place: found.masked_fill(still[place], torch.inf) for place, found in slack.items()}
    signs = pattern.held.get(0)
    if view.part.bias_only and isinstance(signs, HeldSigns):
        slack[0] = _tightest(slack[0], signs.positive)
    return slack


def still_of(view: LayerView) -> dict[int, torch.Tensor]:
    """By position of a held layer, (N, Q): which inequalities hold, and not even a random change moves.

    Those of units that do not change are among them, and all that is behind a layer of which no unit is active.
    """
    pattern, generator = view.pattern, torch.Generator().manual_seed(0)
    shape = (len(view.units), view.inputs.shape[2])
    moves = view.move(torch.randn(shape, generator=generator, dtype=view.inputs.dtype))
    return {place: pattern.holds(place) & (held.lean(moves[place]) == 0) for place, held in pattern.held.items()}


def _tightest(slack: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    kept = torch.full_like(slack, torch.inf)
    for side in (positive, ~positive):
        least, image = slack.masked_fill(~side, torch.inf).min(dim=0, keepdim=True)
        kept.scatter_(0, image, torch.minimum(least, kept.gather(0, image)))
    return kept
