"""What a solved program says, and the duals that prove it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sytorch.problem.arrays import Mask, Matrix, Vector
from sytorch.problem.errors import SolverFailedError

LITTLE = 5e-5  # of a lower bound
AGREE = 1e-6


@dataclass(frozen=True)
class Multipliers:
    """Dual values of a program.

    Attributes:
        margins: (N, C), not negative, of the margin constraints.
        bounds: (C, d), of the bound on ``|D|``: positive for ``D <= bound``, negative for ``D >= -bound``.
    """

    margins: Matrix
    bounds: Matrix

    @classmethod
    def none(cls) -> Multipliers:
        """Those of a change of which nothing is proved."""
        return cls(np.zeros((0, 0)), np.zeros((0, 0)))

    @classmethod
    def of_rows(cls, margin_rows: Mask, bound_rows: Mask, values: Vector) -> Multipliers:
        """From those of a program's rows, (R,): first of some margins, (N, C), then of both sides, (2, C, d)."""
        count, size = int(margin_rows.sum()), int(bound_rows.sum())
        margins, sides = np.zeros(margin_rows.shape), np.zeros(bound_rows.shape)
        margins[margin_rows], sides[bound_rows] = values[:count], values[count : count + size]
        return cls(margins, sides[0] - sides[1])


@dataclass(frozen=True)
class Effort:
    """What solving took.

    Attributes:
        rows, columns: of the last program that a solver saw.
        programs: how many solvers saw, or how many steps were taken.
        iterations: simplex and active-set iterations of all programs.
        barrier_iterations: interior-point iterations of all programs.
        solver: names and versions, in the order of their use.
    """

    rows: int = 0
    columns: int = 0
    programs: int = 0
    iterations: int = 0
    barrier_iterations: int = 0
    solver: str = ""


@dataclass(frozen=True)
class Solution:
    """The smallest change, with its proof.

    Attributes:
        change: (C, d) float64, the change ``D`` of the weight with that of the bias as its last column.
        objective: the norm of the change in the metric's coordinates.
        lower_bound: no feasible change has a smaller norm; never above the objective.
        multipliers: those that prove ``lower_bound``.
        path: ``decomposed`` or ``whole``; of another layer than the last ``fixed`` (its pattern) or ``relinearised``.
        effort: counters.
        coordinates: (C, m), the ``x`` whose norm is the objective; None where the change itself is measured.
        pattern: by module name, the multipliers of a fixed activation pattern; empty for the last layer.
        distances: by module name, how far every number stays inside its pattern in the changes that the bound is of.
        sensitivity: by how much the lower bound falls where every margin asks for one less.
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
    sensitivity: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        """A bound above the objective by rounding is the objective; by more, `SolverFailedError` is raised."""
        relative_gap(self.objective, self.lower_bound)
        object.__setattr__(self, "lower_bound", min(self.lower_bound, self.objective))

    @property
    def gap(self) -> float:
        """``(objective - lower_bound) / objective``."""
        return relative_gap(self.objective, self.lower_bound)

    def certain_bound(self, rounding: float) -> float:
        """The lower bound, less what another computation of the margins, by so much apart, may take of it.

        Where that is little it is the lower bound itself, for checkers allow so much.
        """
        kept_back = rounding * self.sensitivity
        return self.lower_bound if kept_back <= LITTLE * self.lower_bound else max(0.0, self.lower_bound - kept_back)

    @property
    def max_abs_change(self) -> float:
        """The largest ``|D|``."""
        return float(np.abs(self.change).max(initial=0.0))


def relative_gap(objective: float, bound: float) -> float:
    """How far the objective may be above the optimum, relative to the objective.

    Raises:
        SolverFailedError: the objective is below the bound by more than rounding, so that one of them is wrong.
    """
    if not objective >= bound * (1 - AGREE):  # nor where one is no number
        raise SolverFailedError(f"The objective {objective:.9g} is below its lower bound {bound:.9g}: precision ended.")
    return max(objective - bound, 0.0) / objective if objective > 0.0 else 0.0
