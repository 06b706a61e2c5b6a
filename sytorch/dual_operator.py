"""What multipliers of the constraints on a layer's change do to the constraints: products and inner products."""

from __future__ import annotations

import torch

from sytorch.held_constraints import HeldConstraints
from sytorch.held_rows import HeldRows
from sytorch.kronecker_metric import KroneckerMetric


class DualOperator:
    """Products with ``rows M^-1 rows^T``, M the metric: what multipliers do to the constraints.

    Args:
        constraints: the rows.
        metric: of the view's part of the layer.
        rows: of the constraints that are no bounds.
    """

    def __init__(self, constraints: HeldConstraints, metric: KroneckerMetric, rows: HeldRows):
        self.constraints, self.metric = constraints, metric
        size = metric.inputs.shape[0]
        units = torch.eye(size, dtype=torch.float64)[constraints.bounds.columns]
        seen = torch.cat([constraints.view.inputs.flatten(0, 1), units])
        self._inputs = metric.whitened_inputs(seen)
        self._kernel = self._inputs @ self._inputs.T if len(seen) <= 2 * size else None
        self._rows = rows

    @property
    def required(self) -> torch.Tensor:
        """(R,)."""
        return self.constraints.required

    def gram(self, chosen: torch.Tensor) -> torch.Tensor:
        """The matrix's rows and columns of constraints, (A,) ascending positions."""
        bounds = self.constraints.bounds
        first = self.constraints.first_bound
        ends = chosen[chosen >= first] - first
        if not len(ends):
            return self._rows.gram(chosen)
        one_hot = torch.eye(len(self.constraints.view.units), dtype=torch.float64)[bounds.units[ends]]
        outputs = self.metric.whitened_gradients(-bounds.sides[ends, None, None] * one_hot[:, :, None])[:, :, 0]
        inputs = self._inputs[len(self._inputs) - len(bounds.limits) :][ends]
        corner = (outputs @ outputs.T) * (inputs @ inputs.T)
        inner = chosen[chosen < first]
        across = self._rows.across(inner, outputs, inputs)
        return torch.cat([torch.cat([self._rows.gram(inner), across], dim=1), torch.cat([across.T, corner], dim=1)])

    def scores(self, multipliers: torch.Tensor) -> torch.Tensor:
        """(R,) to (R,)."""
        raised = self._raised(multipliers)
        through = self._inputs if self._kernel is None else self._kernel
        moved = through @ (self._inputs.T @ raised if self._kernel is None else raised)
        view, bounds = self.constraints.view, self.constraints.bounds
        count = len(moved) - len(bounds.units)
        leans = self.constraints.lean(view.moved(moved[:count].view(*view.inputs.shape[:2], -1)))
        entries = moved[torch.arange(count, len(moved)), bounds.units]
        return torch.cat([*(lean.flatten() for lean in leans), -bounds.sides * entries])

    def change(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The change ``D``, (m, k), with these multipliers."""
        solved = torch.linalg.solve_triangular(self.metric.inputs, self._inputs, upper=False, left=False)
        change: torch.Tensor = self._raised(multipliers).T @ solved
        return change

    def _raised(self, multipliers: torch.Tensor) -> torch.Tensor:
        """``G^-1`` times the gradients in the layer's outputs, one row for each input and bound."""
        pressure = self.constraints.pressure(multipliers).transpose(1, 2).flatten(0, 1)
        bounds = self.constraints.bounds
        ends = torch.zeros(len(bounds.units), pressure.shape[1], dtype=torch.float64)
        ends[torch.arange(len(ends)), bounds.units] = -bounds.sides * self.constraints.grouped(multipliers)[-1]
        gradients = torch.cat([pressure, ends])
        return gradients if self.metric.outputs is None else gradients @ self.metric.outputs_inverse
