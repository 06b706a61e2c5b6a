"""The rows of the quadratic program in the multipliers: violated margins, and bounds that are broken.

A change that minimises ``||D M^(1/2)||`` is ``D = W @ X @ M^-1``: one input ``X`` for each working constraint, an edit
image's for a margin and a unit vector for a bound on ``|D|``, with the multipliers in ``W``. Nothing is lost by that
form (it is the stationarity condition), so unlike the other norms' coordinates it is exact over all changes. With an
``M`` for each class, each row of ``D`` has that form by its own; below, G is 1, or C where each class has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sytorch.last_layer.problem import Problem
from sytorch.last_layer.shortfall import FEASIBILITY, beyond, most_missed
from sytorch.problem.arrays import Indices, Mask, Matrix, Stack, Vector
from sytorch.problem.solution import Multipliers

ROWS = 500
FIRST_ROWS = 3  # of each image; the others enter when violated


def gram_of(
    weights: torch.Tensor,
    places: torch.Tensor,
    kernels: torch.Tensor,
    tick: Callable[[], object] = lambda: None,
) -> torch.Tensor:
    """Inner products, (R, R), of the gradients of ``<weights[r] x inputs[places[r]], D>`` in the inverse metric.

    Args:
        weights: (R, C), how much each output counts.
        places: int64, (R,), whose input.
        kernels: (G, S, S), inner products of the inputs; G is 1, or C where each output has its own.
        tick: called now and then, for it takes a while.
    """
    gram = torch.zeros(len(weights), len(weights), dtype=kernels.dtype)
    for own, kernel in zip(weights.tensor_split(len(kernels), dim=1), kernels, strict=True):
        for rows, part, images in zip(*(torch.split(every, ROWS) for every in (gram, own, places)), strict=True):
            tick()
            rows.add_((part @ own.T).mul_(kernel[images][:, places]))
    return gram


@dataclass(frozen=True)
class WorkingConstraints:
    """The constraints ``<weights[r] x inputs[places[r]], D> >= rhs[r]`` that are worked with.

    Attributes:
        weights: (R, C), how much each output counts.
        places: (R,), whose input.
        solved: (G, S, d), ``M^-1`` of the inputs.
        kernel: (G, S, S), inner products of the inputs in the inverse metric.
        rhs: (R,).
    """

    weights: Matrix
    places: Indices
    solved: Stack
    kernel: Stack
    rhs: Vector

    def gram(self, tick: Callable[[], object]) -> Matrix:
        """Inner products of the constraints' gradients in the inverse metric, (R, R); ``tick`` is called meanwhile."""
        weights, places, kernel = map(torch.from_numpy, (self.weights, self.places, self.kernel))
        return np.asarray(gram_of(weights, places, kernel, tick).numpy())

    def change(self, multipliers: Vector) -> Matrix:
        """The change ``D``, (C, d)."""
        summed = np.zeros((self.solved.shape[1], self.weights.shape[1]))
        np.add.at(summed, self.places, self.weights * multipliers[:, None])
        pairs = zip(np.array_split(summed, len(self.solved), axis=1), self.solved, strict=True)
        return np.concatenate([part.T @ solved for part, solved in pairs])


class WorkingRows:
    """Masks of the working rows, and what the inputs are in the inverse metric, computed once each.

    The inputs are those of the images, then a unit vector for each feature of which a bound was broken.
    """

    def __init__(self, problem: Problem):
        margins = problem.margins
        self.problem, self.metric, self.margins, self.bound = problem, problem.metric, margins, problem.bound
        least = np.sort(margins.required, axis=1)[:, -min(FIRST_ROWS, margins.required.shape[1]), None]
        missed = (margins.required > FEASIBILITY) & (margins.required >= least)
        self.margin_rows: Mask = most_missed(missed, margins.required)
        self.bound_rows: Mask = np.zeros((2, margins.classes, margins.outputs.inputs.shape[1]), dtype=bool)
        inputs = margins.outputs.inputs
        self._features: list[int] = []
        self._solved = self.metric.solved(inputs)
        self._kernel = inputs @ self._solved.transpose(0, 2, 1)

    def constraints(self) -> WorkingConstraints:
        """What the rows ask for."""
        images, constraints = np.nonzero(self.margin_rows)
        sides, rows, features = np.nonzero(self.bound_rows)
        self._add_units(sorted(set(features.tolist()) - set(self._features)))
        units = [len(self.margins.required) + self._features.index(feature) for feature in features.tolist()]
        one_hot = np.eye(self.margins.classes)
        outward = np.where(sides == 0, -1.0, 1.0)[:, None]
        return WorkingConstraints(
            weights=np.vstack([self.margins.weights_of(images, constraints), outward * one_hot[rows]]),
            places=np.concatenate([images, np.array(units, dtype=np.int64)]),
            solved=self._solved,
            kernel=self._kernel,
            rhs=np.concatenate([self.margins.required[self.margin_rows], np.full(len(sides), -self.bound)]),
        )

    def _add_units(self, features: list[int]) -> None:
        """Extend the kernel; with a unit vector its inner products are entries of what is solved already."""
        if not features:
            return
        solved = self.metric.solved(np.eye(self._solved.shape[2])[features])
        across = self._solved[:, :, features]
        self._kernel = np.block([[self._kernel, across], [across.transpose(0, 2, 1), solved[:, :, features]]])
        self._solved = np.concatenate([self._solved, solved], axis=1)
        self._features += features

    def gradients(self, constraints: WorkingConstraints) -> Matrix:
        """The constraints' gradients in whitened inputs, (R, C * d); their inner products are those of `gram`."""
        units = np.eye(self._solved.shape[2])[self._features]
        whitened = self.metric.whitened(np.vstack([self.margins.outputs.inputs, units]))
        classes = range(constraints.weights.shape[1])
        blocks = np.broadcast_to(whitened, (len(classes), *whitened.shape[1:]))
        return np.hstack([constraints.weights[:, [c]] * blocks[c][constraints.places] for c in classes])

    def raised(self, change: Matrix) -> Vector:
        """By how much a change raises the working constraints, (R,)."""
        moved = self.margins.at(self.margins.outputs.inputs @ change.T)
        return np.concatenate([moved[self.margin_rows], np.stack([-change, change])[self.bound_rows]])

    def add_violated(self, change: Matrix) -> bool:
        """Add what a change misses or breaks; returns whether there was anything new."""
        before = self.margin_rows.sum() + self.bound_rows.sum()
        movement = self.margins.outputs.inputs @ change.T
        shortfall = self.margins.shortfall(movement)
        self.margin_rows |= most_missed((shortfall > FEASIBILITY) & ~self.margin_rows, shortfall)
        self.bound_rows |= beyond(change, self.bound)
        return bool(self.margin_rows.sum() + self.bound_rows.sum() > before)

    def values(self, multipliers: Multipliers) -> Vector:
        """The multipliers of the working rows, (R,)."""
        sides = np.stack([np.maximum(multipliers.bounds, 0.0), np.maximum(-multipliers.bounds, 0.0)])
        return np.concatenate([multipliers.margins[self.margin_rows], sides[self.bound_rows]])

    def multipliers(self, values: Vector) -> Multipliers:
        """The multipliers of the whole program, of those of the working rows, (R,)."""
        return Multipliers.of_rows(self.margin_rows, self.bound_rows, values)
