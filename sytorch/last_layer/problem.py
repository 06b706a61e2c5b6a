"""The last layer's problem as every method gets it: a norm to minimise under margins and a bound."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from sytorch.metrics.last_layer import Coordinates, IdentityMetric, Metric, PerClassMetric
from sytorch.problem.arrays import Mask, Matrix
from sytorch.problem.checks import check_required
from sytorch.problem.margins import Requirements
from sytorch.problem.norms import Norm, NormName, norm
from sytorch.problem.solution import Effort, Multipliers, Solution

FEW = 300  # margins that are missing, for which exact programs take seconds


@dataclass(frozen=True)
class Problem:
    """Minimise a norm of the change ``D`` in a metric, under margins and ``|D| <= bound`` entry by entry.

    A method is a function of a problem and a solver; it returns a `Solution`.

    Attributes:
        norm_name: what is minimised.
        metric: in whose coordinates it is taken.
        margins: the constraints.
        bound: on every ``|D|``; may be infinite.

    Raises:
        InvalidInputError: the margins are NaN or infinite, or of another layer than the metric.
    """

    norm_name: NormName
    metric: Metric
    margins: Requirements
    bound: float

    def __post_init__(self) -> None:
        check_required(self.margins.required)
        self.metric.check(self.margins.classes, self.margins.outputs.inputs.shape[1])

    @functools.cached_property
    def coordinates(self) -> Coordinates:
        """Of the changes that are searched: all of them for ``l2``."""
        metric = self.metric
        if self.norm_name is NormName.L2 or isinstance(metric, PerClassMetric):
            metric = IdentityMetric()
        return metric.coordinates(self.margins.outputs.inputs)

    @functools.cached_property
    def norm(self) -> Norm:
        """That is taken in the coordinates; ``l2`` is taken in the metric."""
        return norm(self.norm_name, self.margins.classes * self.coordinates.rows.shape[1])

    @property
    def admits_any_change(self) -> bool:
        """Whether all changes are searched, not just those of the form that a metric gives the other norms."""
        return self.coordinates.basis is None

    @property
    def missing(self) -> Mask:
        """The constraints that do not hold yet, (N, C), but for rounding."""
        rounding = 1e-12 * max(1.0, float(np.abs(self.margins.outputs.logits).max(initial=0.0)))
        return np.asarray(self.margins.required > rounding)

    @property
    def is_small(self) -> bool:
        """Whether few margins are missing."""
        return int(self.missing.sum()) <= FEW

    def without_bound(self) -> Self:
        """The same for changes of any size."""
        return replace(self, bound=np.inf)

    def divided_by(self, scale: float) -> Self:
        """The same of changes that are smaller by that factor, so that tolerances are relative to it."""
        return replace(
            self, margins=replace(self.margins, required=self.margins.required / scale), bound=self.bound / scale
        )

    @property
    def no_multipliers(self) -> Multipliers:
        """Zeros."""
        shape = self.margins.classes, self.margins.outputs.inputs.shape[1]
        return Multipliers(np.zeros(self.margins.required.shape), np.zeros(shape))

    def solution(self, x: Matrix, multipliers: Multipliers, path: str, effort: Effort) -> Solution:
        """What a method found, at coordinates ``x``, (C, m); `verified` computes objective and lower bound."""
        own = None if self.admits_any_change else x
        return Solution(self.coordinates.change(x), np.inf, 0.0, multipliers, path, effort, coordinates=own)
