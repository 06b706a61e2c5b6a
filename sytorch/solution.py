"""What a solved program says, and the duals that prove it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sytorch.arrays import Matrix
from sytorch.certificate import Multipliers, relative_gap


@dataclass(frozen=True)
class Effort:
    """What solving took.

    Attributes:
        rows, columns: of the last program that a solver saw.
        rounds: how many programs solvers saw.
        iterations: simplex and active-set iterations of all rounds.
        barrier_iterations: interior-point iterations of all rounds.
        solver: names and versions, in the order of their use.
    """

    rows: int = 0
    columns: int = 0
    rounds: int = 0
    iterations: int = 0
    barrier_iterations: int = 0
    solver: str = ""


@dataclass(frozen=True)
class Solution:
    """The smallest change, with its proof.

    Attributes:
        change: (C, d) float64, the change ``D`` of the weight with that of the bias as its last column.
        objective: the norm of the change in the metric's coordinates.
        lower_bound: no feasible change has a smaller norm.
        multipliers: those that prove ``lower_bound``.
        path: ``decomposed`` or ``whole``.
        effort: counters.
        coordinates: (C, m), the ``x`` whose norm is the objective; None where the change itself is measured.
        pattern: by module name, the multipliers of a fixed activation pattern; empty for the last layer.
        distances: by module name, how far every number stays inside its pattern in the changes that the bound is of.
    """

    change: Matrix = field(repr=False)
    objective: float
    lower_bound: float
    multipliers: Multipliers = field(repr=False)
    path: str
    effort: Effort = Effort()
    coordinates: Matrix | None = field(default=None, repr=False)
    pattern: Mapping[str, Matrix] = field(default_factory=dict, repr=False)
    distances: Mapping[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raise `SolverFailedError` where the objective is below its lower bound."""
        relative_gap(self.objective, self.lower_bound)

    @property
    def gap(self) -> float:
        """``(objective - lower_bound) / objective``."""
        return relative_gap(self.objective, self.lower_bound)

    @property
    def max_abs_change(self) -> float:
        """The largest ``|D|``."""
        return float(np.abs(self.change).max(initial=0.0))
