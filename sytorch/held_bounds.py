"""Bounds on single entries of a layer's change, as rows that are added where a change breaks them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ROUNDING = 2e-8


@dataclass(frozen=True, eq=False)
class BoundRows:
    """Entries of the change that may not pass their bound: ``side * D[unit, column] <= limit``, (B,) each."""

    units: torch.Tensor
    columns: torch.Tensor
    sides: torch.Tensor
    limits: torch.Tensor

    def joined(self, more: BoundRows) -> BoundRows:
        """These and others."""
        return BoundRows(
            torch.cat([self.units, more.units]),
            torch.cat([self.columns, more.columns]),
            torch.cat([self.sides, more.sides]),
            torch.cat([self.limits, more.limits]),
        )


def no_bounds() -> BoundRows:
    """None."""
    nothing = torch.zeros(0, dtype=torch.int64)
    return BoundRows(nothing, nothing, nothing.double(), nothing.double())


def broken_bounds(change: torch.Tensor, limits: torch.Tensor, known: BoundRows) -> BoundRows:
    """The sides on which a change, (m, k), is beyond the limits of its columns, (k,), the known ones left out."""
    beyond = torch.stack([sign * change > limits * (1 + ROUNDING) for sign in (-1.0, 1.0)])
    beyond[(known.sides > 0).long(), known.units, known.columns] = False
    upper, units, columns = torch.nonzero(beyond, as_tuple=True)
    return BoundRows(units, columns, 2.0 * upper.double() - 1.0, limits.expand_as(change)[units, columns])
