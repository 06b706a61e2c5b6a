"""Inner products of single constraints on a layer's change, each computed when it is first asked for.

A constraint's row is the product of a gradient in the layer's outputs and the layer's inputs, summed over pixels. The
inner product of two rows in the metric is therefore one of whitened gradients, weighted with one of whitened inputs.
"""

from __future__ import annotations

import torch

from sytorch.deadline import Deadline
from sytorch.held_constraints import HeldConstraints
from sytorch.kronecker_metric import KroneckerMetric

BATCH = 256


class HeldRows:
    """Inner products of rows of constraints.

    Args:
        constraints: the rows.
        metric: of the view's part of the layer.
        deadline: looked at for every batch of rows and every image.
    """

    def __init__(self, constraints: HeldConstraints, metric: KroneckerMetric, deadline: Deadline):
        self._constraints, self._metric, self._deadline = constraints, metric, deadline
        view = constraints.view
        self._inputs = metric.whitened_inputs(view.inputs)
        self._places = torch.zeros(0, dtype=torch.int64)
        self._owners = torch.zeros(0, dtype=torch.int64)
        self._gradients = torch.zeros(0, len(view.units), view.inputs.shape[1], dtype=torch.float64)
        self._gram = torch.zeros(0, 0, dtype=torch.float64)

    def __len__(self) -> int:
        """How many rows were asked for."""
        return len(self._places)

    def gram(self, chosen: torch.Tensor) -> torch.Tensor:
        """Of rows, (A,) ascending positions without bounds among them, (A, A)."""
        found = self._find(chosen)
        return self._gram[found][:, found]

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

    def _add(self, new: torch.Tensor) -> None:
        gradients, owners = self._gradients_of(new)
        old = len(self._places)
        self._places, self._owners = torch.cat([self._places, new]), torch.cat([self._owners, owners])
        self._gradients = torch.cat([self._gradients, gradients])
        gram = torch.zeros(len(self._places), len(self._places), dtype=torch.float64)
        gram[:old, :old] = self._gram
        gram[:, old:] = self._across(gradients, owners)
        gram[old:, :old] = gram[:old, old:].T
        self._gram = gram

    def _across(self, gradients: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
        """Inner products of all rows that there are with some, (S, B)."""
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
