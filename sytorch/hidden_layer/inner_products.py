"""Inner products of single constraints on a layer's change, each computed when it is first asked for.

A constraint's row is the product of a gradient in the layer's outputs and the layer's inputs, summed over pixels. The
inner product of two rows in the metric is therefore one of whitened gradients, weighted with one of whitened inputs.
"""

from __future__ import annotations

import copy
import functools
import sys

import numpy as np
import torch

from sytorch.hidden_layer.constraints import Constraints
from sytorch.metrics.kronecker import KroneckerMetric
from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import gave_up

BATCH = 256
GROWTH = 1.5  # of the room for rows, which are added a few at a time


class ConstraintRows:
    """Inner products of rows of constraints.

    Args:
        constraints: the rows.
        metric: of the view's part of the layer.
        deadline: looked at for every batch of rows and every image.
    """

    def __init__(self, constraints: Constraints, metric: KroneckerMetric, deadline: Deadline):
        self._constraints, self._metric, self._deadline = constraints, metric, deadline
        view = constraints.view
        self._inputs = metric.whitened_inputs(view.inputs)
        self._places = torch.zeros(0, dtype=torch.int64)
        self._owners = torch.zeros(0, dtype=torch.int64)
        self._gradients = torch.zeros(0, len(view.units), view.inputs.shape[1], dtype=torch.float64)
        self._gram = torch.zeros(0, 0, dtype=torch.float64)  # with room for more rows

    def __len__(self) -> int:
        """How many rows were asked for."""
        return len(self._places)

    def gram(self, chosen: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        """Of rows, (A,) ascending positions without bounds among them, with others, (B,), or each other: (A, B)."""
        rows = self._find(chosen)
        columns = rows if others is None else self._find(others)
        return self._gram[rows[:, None], columns]

    def across(self, chosen: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Of rows as above with products of whitened outputs, (B, m), and inputs, (B, k): (A, B)."""
        found = self._find(chosen)
        seen = self._gradients[found].transpose(1, 2) @ outputs.T
        return (seen * (self._inputs @ inputs.T)[self._owners[found]]).sum(dim=1)

    def _gradients_of(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whitened gradients in the layer's outputs, (A, m, P), and the images that they belong to, (A,)."""
        parts, owners = [], []
        for batch in torch.split(chosen, BATCH):
            self._deadline.check()
            images, gradients = self._constraints.rows(batch)
            parts.append(self._metric.whitened_gradients(gradients))
            owners.append(images)
        return torch.cat(parts), torch.cat(owners)

    def _find(self, chosen: torch.Tensor) -> torch.Tensor:
        """Where rows are kept, (A,), after adding those that are not."""
        new = chosen[~torch.isin(chosen, self._places)]
        if len(new):
            self._add(new)
        order = torch.argsort(self._places)
        return order[torch.searchsorted(self._places[order], chosen)]

    @functools.cached_property
    def _kernel(self) -> torch.Tensor:
        """Of inputs of one pixel, (N, N)."""
        return self._inputs[:, 0] @ self._inputs[:, 0].T

    def _add(self, new: torch.Tensor) -> None:
        gradients, owners = self._gradients_of(new)
        old = len(self._places)
        self._places, self._owners = torch.cat([self._places, new]), torch.cat([self._owners, owners])
        self._gradients = torch.cat([self._gradients, gradients])
        size = len(self._places)
        if size > len(self._gram):
            largest = self._constraints.first_bound
            room = min(max(size, int(GROWTH * len(self._gram))), largest)
            gram = torch.empty(room, room, dtype=torch.float64)
            gram[:old, :old] = self._gram[:old, :old]
            self._gram = gram
        self._gram[:size, old:size] = self._across(gradients, owners)
        self._gram[old:size, :old] = self._gram[:old, old:size].T

    def _across(self, gradients: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
        """Inner products of all rows that there are with some, (S, B)."""
        if self._gradients.shape[2] == 1:
            kernel = self._kernel[self._owners][:, owners]
            return (self._gradients.flatten(1) @ gradients.flatten(1).T).mul_(kernel)
        products = torch.zeros(len(self._owners), len(owners), dtype=torch.float64)
        for image in range(len(self._inputs)):
            self._deadline.check()
            columns = torch.nonzero(owners == image)[:, 0]
            for other in range(len(self._inputs)):
                rows = torch.nonzero(self._owners == other)[:, 0]
                kernel = self._inputs[image] @ self._inputs[other].T
                seen = gradients[columns] @ kernel
                products[rows[:, None], columns] = self._gradients[rows].flatten(1) @ seen.flatten(1).T
        return products


class DualOperator:
    """Products with ``rows M^-1 rows^T``, M the metric: what multipliers do to the constraints.

    Args:
        constraints: the rows.
        metric: of the view's part of the layer.
        rows: of the constraints that are no bounds.
    """

    def __init__(self, constraints: Constraints, metric: KroneckerMetric, rows: ConstraintRows):
        self.constraints, self.metric = constraints, metric
        size = metric.inputs.shape[0]
        units = torch.eye(size, dtype=torch.float64)[constraints.bounds.columns]
        seen = torch.cat([constraints.view.inputs.flatten(0, 1), units])
        self._inputs = metric.whitened_inputs(seen)
        self._kernel = self._inputs @ self._inputs.T if len(seen) <= 2 * size else None
        self._rows, self._limit = rows, sys.maxsize

    def limited(self, rows: int) -> DualOperator:
        """The same, whose `gram` gives up for more rows at a time."""
        few = copy.copy(self)
        few._limit = rows
        return few

    @property
    def required(self) -> torch.Tensor:
        """(R,)."""
        return self.constraints.required

    def gram(self, chosen: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        """The matrix's rows of constraints, (A,) ascending positions, and its columns of others, (B,), or the same.

        Raises:
            SolverFailedError: these are more than the limit.
        """
        if others is not None:
            both = torch.from_numpy(np.union1d(chosen.numpy(), others.numpy()))
            if len(both) and both[-1] < self.constraints.first_bound:
                return self._rows.gram(chosen, others)
            whole = self.gram(both)
            return whole[torch.searchsorted(both, chosen)[:, None], torch.searchsorted(both, others)]
        if len(chosen) > self._limit:
            raise gave_up(f"{len(chosen)} constraints are missed at a time")
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
        rises = self.constraints.apply(view.moved(moved[:count].view(*view.inputs.shape[:2], -1)))
        entries = moved[torch.arange(count, len(moved)), bounds.units]
        return torch.cat([*(rise.flatten() for rise in rises), -bounds.sides * entries])

    def change(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The change ``D``, (m, k), with these multipliers."""
        solved = torch.linalg.solve_triangular(self.metric.inputs, self._inputs, upper=False, left=False)
        change: torch.Tensor = self._raised(multipliers).T @ solved
        return change

    def _raised(self, multipliers: torch.Tensor) -> torch.Tensor:
        """``G^-1`` times the gradients in the layer's outputs, one row for each input and bound."""
        own = self.constraints.constraint_gradients(multipliers).transpose(1, 2).flatten(0, 1)
        bounds = self.constraints.bounds
        ends = torch.zeros(len(bounds.units), own.shape[1], dtype=torch.float64)
        ends[torch.arange(len(ends)), bounds.units] = -bounds.sides * self.constraints.grouped(multipliers)[-1]
        gradients = torch.cat([own, ends])
        return gradients if self.metric.outputs is None else gradients @ self.metric.outputs_inverse
