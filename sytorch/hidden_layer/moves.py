"""A program with a fixed activation pattern in the moves of the layer's outputs rather than in its weights.

A change ``D`` moves the output at input ``x`` by ``D x``. Of all changes that make given moves ``V``, (J, m) for J
inputs, the least has the norm ``<V G, K^-1 V>^(1/2)``, where ``K``, (J, J), are the inputs' inner products in ``A^-1``:
far fewer unknowns than weights. Here each input's moves are in units of its length, which makes K's diagonal 1, and
each row of constraints is in units of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch

from sytorch.hidden_layer.constraints import Constraints
from sytorch.metrics.kronecker import KroneckerMetric
from sytorch.network.activation_pattern import FixedSigns
from sytorch.problem.deadline import Deadline

BATCH = 512


@dataclass(frozen=True, eq=False)
class Moves:
    """Constraints on the moves, (N, P, m), of the outputs that change.

    Attributes:
        constraints: without bounds on entries.
        metric: of the view's part of the layer.
        typical: (R,), the typical length of each image's rows of each kind, in the metric.
    """

    constraints: Constraints
    metric: KroneckerMetric
    typical: torch.Tensor

    @functools.cached_property
    def outputs_moment(self) -> torch.Tensor:
        """G, (m, m)."""
        factor, view = self.metric.outputs, self.constraints.view
        return torch.eye(len(view.units), dtype=view.inputs.dtype) if factor is None else factor @ factor.T

    @functools.cached_property
    def kernel(self) -> torch.Tensor:
        """K, (J, J)."""
        lengths = self._lengths.flatten()
        return self._products / lengths[:, None] / lengths

    @functools.cached_property
    def required(self) -> torch.Tensor:
        """(R,), of rows in their units."""
        return self.per_unit(self.constraints.required)

    @functools.cached_property
    def direct(self) -> float:
        """What a row of a sign directly behind the layer is to its output; 0 where not every output has one."""
        view, slack = self.constraints.view, self.constraints.slack.get(0)
        if slack is None or not isinstance(view.pattern.fixed[0], FixedSigns):
            return 0.0
        if torch.isinf(slack.view(len(slack), view.shape[0], -1)[:, view.units]).any():
            return 0.0
        factor = self.metric.outputs
        return 1.0 if factor is None else float(self.metric.outputs_inverse.diagonal().mean().rsqrt())

    @property
    def is_shallow(self) -> bool:
        """Whether the pattern is that of the layer's own outputs alone, whose rows hardly depend on each other."""
        return bool(self.direct) and len(self.constraints.slack) == 1

    def to(self, dtype: torch.dtype) -> Moves:
        """The same in another floating-point type."""
        constraints = replace(self.constraints, view=self.constraints.view.to(dtype))
        return Moves(constraints, self.metric.to(dtype), self.typical.to(dtype))

    def rows(self, moves: torch.Tensor) -> torch.Tensor:
        """By how much moves raise each row, (R,)."""
        view = self.constraints.view
        rises = self.constraints.apply(view.moved(moves * self._lengths[:, :, None]))
        return torch.cat([rise.flatten() for rise in rises]) / self._units

    def pull(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The transpose of `rows`: (R,) to (N, P, m)."""
        start, rows = self._graph
        (pulled,) = torch.autograd.grad(rows, start, multipliers, retain_graph=True)
        return pulled

    def per_unit(self, values: torch.Tensor) -> torch.Tensor:
        """What rows require in their units, (R,); or multipliers of rows in their units as those of the constraints."""
        return values / self._units

    def missing(self, moves: torch.Tensor) -> torch.Tensor:
        """By how much moves miss each constraint, (R,), in the constraints' own units."""
        return (self.required - self.rows(moves)) * self._units

    def change(self, weights: torch.Tensor) -> torch.Tensor:
        """The least change, (m, k), whose moves are ``K @ weights``, for weights (J, m)."""
        lengths = self._lengths.flatten()[:, None]
        change: torch.Tensor = (weights / lengths).T @ self.metric.solved_inputs(self.constraints.view.inputs)
        return change

    def going_on(self, image: int) -> torch.Tensor:
        """Which of an image's outputs move more than their own sign: ascending positions in (P, m) flattened."""
        view = self.constraints.view
        count, pixels = len(view.units), view.inputs.shape[1]
        first = view.pattern.fixed.get(0)
        if not self.direct or not isinstance(first, FixedSigns):
            return torch.arange(count * pixels)
        positive = first.positive[image].view(-1, pixels)[view.units]
        return torch.nonzero(positive.T.flatten())[:, 0]

    def behind(self, image: int, deadline: Deadline) -> torch.Tensor:
        """How an image's rows, those of signs directly behind the layer left out, rise with each of these outputs.

        Returns:
            (A, R').
        """
        view, places = self.constraints.view, self.going_on(image)
        count, pixels = len(view.units), view.inputs.shape[1]
        found = []
        for batch in torch.split(places, BATCH):
            deadline.check()
            one_hot = torch.zeros(len(batch), count * pixels, dtype=view.inputs.dtype).scatter_(1, batch[:, None], 1.0)
            images = torch.full((len(batch),), image)
            moves = one_hot.view(-1, pixels, count) * self._lengths[image][:, None]
            rises = self.constraints.apply(view.moved(moves, images), images)
            pairs = zip(rises, self.constraints.grouped(self._units), strict=False)
            scaled = [rise / units[image] for rise, units in pairs]
            found.append(torch.cat([part for place, part in enumerate(scaled) if not (self.direct and place == 1)], 1))
        return torch.cat(found)

    @functools.cached_property
    def _graph(self) -> tuple[torch.Tensor, torch.Tensor]:
        view = self.constraints.view
        start = torch.zeros(*view.inputs.shape[:2], len(view.units), dtype=view.inputs.dtype, requires_grad=True)
        with torch.enable_grad():
            return start, self.rows(start)

    @functools.cached_property
    def _products(self) -> torch.Tensor:
        inputs = self.metric.whitened_inputs(self.constraints.view.inputs).flatten(0, 1)
        return inputs @ inputs.T

    @functools.cached_property
    def _lengths(self) -> torch.Tensor:
        """(N, P), of the inputs."""
        return self._products.diagonal().sqrt().view(self.constraints.view.inputs.shape[:2])

    @functools.cached_property
    def _units(self) -> torch.Tensor:
        """(R,), the lengths of rows; signs directly behind the layer have one that makes all alike to its outputs."""
        parts = self.constraints.grouped(self.typical)
        if self.direct:
            shape = (len(self._lengths), self.constraints.view.shape[0], self._lengths.shape[1])
            parts[1] = (self._lengths[:, None] / self.direct).expand(shape)
        return torch.cat([part.flatten() for part in parts])
