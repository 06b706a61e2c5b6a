"""``l1`` under margins and a bound as a saddle point, and one step of its primal-dual hybrid gradient, in float32."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from sytorch.last_layer.problem import Problem
from sytorch.metrics.last_layer import Coordinates
from sytorch.problem.arrays import Matrix
from sytorch.problem.solution import Multipliers

POWER_ITERATIONS = 20


@dataclass(frozen=True, eq=False)
class State:
    """A point of the iteration.

    Attributes:
        x: (m, C) coordinates.
        margins: (N, C) multipliers of the margins.
        bounds: (F, C) multipliers of the watched features' bound, positive where ``D`` is at its upper bound.
    """

    x: torch.Tensor
    margins: torch.Tensor
    bounds: torch.Tensor

    def combined(self, other: State, share: float) -> State:
        """``self + share * (other - self)``."""
        pairs = zip((self.x, self.margins, self.bounds), (other.x, other.margins, other.bounds), strict=True)
        return State(*(torch.lerp(mine, theirs, share) for mine, theirs in pairs))

    def distances(self, other: State) -> tuple[float, float]:
        """How far the coordinates and the multipliers are from another state's."""
        duals = torch.cat([self.margins - other.margins, self.bounds - other.bounds])
        return float((self.x - other.x).norm()), float(duals.norm())


class Saddle:
    """``min max |x|_1 + <u, required - margins(x)> + <s, D_F(x)> - bound |s|_1`` with ``u >= 0``.

    ``F`` are the features of the layer whose bound is watched; their rows are scaled to the size of the images' rows,
    and so are their multipliers.

    Args:
        problem: of which ``l1``, margins and coordinates are taken.
        bound: in place of its own.
        features: F.
    """

    def __init__(self, problem: Problem, bound: float, features: list[int]):
        coordinates, margins = problem.coordinates, problem.margins
        self.rows = torch.from_numpy(coordinates.rows).float()
        self.labels = torch.from_numpy(margins.labels)[:, None]
        self.counted = torch.from_numpy(np.isfinite(margins.required)).float()
        self.required = torch.from_numpy(np.where(np.isfinite(margins.required), margins.required, 0.0)).float()
        self.features = features
        columns = _feature_columns(coordinates, features)
        self.scale = float(np.linalg.norm(coordinates.rows) / len(coordinates.rows) ** 0.5)
        sizes = np.maximum(np.linalg.norm(columns, axis=0), np.finfo(np.float32).tiny)
        self.scales = torch.from_numpy(self.scale / sizes).float()[:, None]
        self.columns = torch.from_numpy(columns).float() * self.scales.T
        self.bound = self.scales * bound
        self.size = 1.02 * self._operator_norm()

    def origin(self) -> State:
        """No change, and multipliers of zero."""
        classes = self.required.shape[1]
        return State(
            torch.zeros(self.rows.shape[1], classes),
            torch.zeros_like(self.required),
            torch.zeros(len(self.features), classes),
        )

    def step(self, state: State, balance: float) -> State:
        """One iteration; ``balance`` is the ratio of the primal to the dual step."""
        primal, dual = balance / self.size, 1 / (balance * self.size)
        moved = state.x + primal * self.slope(state)
        x = moved.sign() * (moved.abs() - primal).clamp(min=0.0)
        ahead = 2 * x - state.x
        margins = (state.margins + dual * self.shortfall(ahead)).clamp(min=0.0)
        pushed = state.bounds + dual * (self.columns.T @ ahead)
        bounds = pushed.sign() * (pushed.abs() - dual * self.bound).clamp(min=0.0)
        return State(x, margins, bounds)

    def slope(self, state: State) -> torch.Tensor:
        """The gradient of the weighted constraints in the coordinates, (m, C)."""
        weights = (-state.margins).scatter_add(1, self.labels, state.margins.sum(dim=1, keepdim=True))
        return self.rows.T @ weights - self.columns @ state.bounds

    def shortfall(self, x: torch.Tensor) -> torch.Tensor:
        """By how much each margin is missed, (N, C); zero at the own class."""
        logits = self.rows @ x
        return (self.required - logits.gather(1, self.labels) + logits) * self.counted

    def multipliers(self, state: State, width: int) -> Multipliers:
        """The multipliers of the whole program, whose layer has ``width`` inputs."""
        bounds = np.zeros((self.required.shape[1], width))
        bounds[:, self.features] = (state.bounds * self.scales).double().numpy().T
        return Multipliers(state.margins.double().numpy(), bounds)

    def error(self, state: State) -> float:
        """What is left: the largest missed margin, and the gap relative to the objective."""
        objective = float(state.x.abs().sum())
        total = float((self.required * state.margins).sum() - (self.bound * state.bounds.abs()).sum())
        low = total / max(float(self.slope(state).abs().max()), 1.0)
        return max(float(self.shortfall(state.x).max()), 0.0) + max(objective - low, 0.0) / max(objective, 1e-9)

    def _operator_norm(self) -> float:
        state = replace(self.origin(), margins=self.counted.clone())
        size = 1.0
        for _ in range(POWER_ITERATIONS):
            x = self.slope(state)
            moved = (self.required - self.shortfall(x)) * self.counted
            size = float(x.norm())
            state = State(x, moved / size, -(self.columns.T @ x) / size)
            length = float(torch.cat([state.margins, state.bounds]).norm())
            state = replace(state, margins=state.margins / length, bounds=state.bounds / length)
        return size


def _feature_columns(coordinates: Coordinates, features: list[int]) -> Matrix:
    basis = np.eye(coordinates.rows.shape[1]) if coordinates.basis is None else coordinates.basis
    return basis[:, features]
