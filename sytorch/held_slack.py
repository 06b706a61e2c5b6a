"""How far held inequalities are from being violated before anything changes, those that say nothing left out."""

from __future__ import annotations

import torch

from sytorch.linearise import LayerView
from sytorch.pattern import HeldSigns


def slack_of(view: LayerView) -> dict[int, torch.Tensor]:
    """By position of a held layer, (N, Q); infinite where an inequality is void.

    Of the signs directly behind the layer, void are those of units that do not change, for they cannot move, near to
    zero as they may be, and where only biases change all but the least of a unit's equal signs, for they move alike.
    """
    held, values = view.pattern.held, view.pattern.values
    slack = {position: part.slack(values[position]) for position, part in held.items()}
    first = held.get(0)
    if isinstance(first, HeldSigns):
        slack[0] = _of_changing(view, slack[0])
        if view.part.bias_only:
            slack[0] = _tightest(slack[0], first.positive)
    return slack


def _of_changing(view: LayerView, slack: torch.Tensor) -> torch.Tensor:
    still = torch.ones(view.shape[0], dtype=torch.bool)
    still[view.units] = False
    by_unit = slack.view(len(slack), view.shape[0], -1)
    return by_unit.masked_fill(still[:, None], torch.inf).view_as(slack)


def _tightest(slack: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    kept = torch.full_like(slack, torch.inf)
    for side in (positive, ~positive):
        least, image = slack.masked_fill(~side, torch.inf).min(dim=0, keepdim=True)
        kept.scatter_(0, image, torch.minimum(least, kept.gather(0, image)))
    return kept
