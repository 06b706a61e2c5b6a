"""Bounds on single entries of a layer's change, as rows that are added where a change breaks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sytorch.arrays import Matrix


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
    """The entries of a change, (m, k), beyond the limits of their columns, (k,), that are not among the known ones."""
    beyond = change.abs() > limits * (1 + 1e-6)
    beyond[known.units, known.columns] = False
    units, columns = torch.nonzero(beyond, as_tuple=True)
    return BoundRows(units, columns, change[units, columns].sign(), limits.expand_as(change)[units, columns])


def bound_multipliers(change: torch.Tensor, rows: BoundRows, values: torch.Tensor) -> Matrix:
    """Multipliers of bounds, (B,), as entries of a matrix like the change, with the sides' signs."""
    bounds = torch.zeros_like(change)
    bounds[rows.units, rows.columns] = rows.sides * values
    return np.asarray(bounds.numpy())
