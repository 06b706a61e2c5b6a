"""What a method found, looked at apart from it: no change counts as a solution before this, and no bound as proved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sytorch.certificate.bounds import bound_from, lower_bound, pressure
from sytorch.problem.errors import UNKNOWN, SolverFailedError
from sytorch.problem.norms import NormName
from sytorch.problem.solution import Multipliers, Solution

if TYPE_CHECKING:
    from sytorch.last_layer.program import Program

MISSED = 1e-6  # of the largest requirement
BEYOND = 2e-7  # of the bound, as float32 rounds it


def verified(program: Program, solution: Solution) -> Solution:
    """The solution with its change, objective and lower bound computed anew, in float64.

    Raises:
        SolverFailedError: the change misses a margin or breaks the bound by more than rounding, or the objective is
            below the lower bound.
    """
    margins, x = program.margins, solution.coordinates
    change = solution.change if x is None else program.coordinates.change(x)
    missed = float(margins.shortfall(margins.outputs.inputs @ change.T).max())
    if not missed <= MISSED * float(margins.required.max()):
        raise SolverFailedError(f"The change that was found misses a margin by {missed:.2g}: {UNKNOWN}")
    largest = float(np.abs(change).max())
    if not largest <= program.bound * (1 + BEYOND):
        raise SolverFailedError(f"The change that was found has an entry of {largest:.9g}, beyond its bound: {UNKNOWN}")
    if program.objective.norm is NormName.L2:
        size = program.objective.metric.size(change)
    else:
        size = program.norm.value(change if x is None else x)
    low = _lower_bound(program, solution.multipliers)
    return replace(solution, change=change, objective=size, lower_bound=low)


def _lower_bound(program: Program, multipliers: Multipliers) -> float:
    margins, bound = program.margins, program.bound
    if program.objective.norm is not NormName.L2:
        return lower_bound(program.norm, program.coordinates, margins, bound, multipliers)
    weights, spent = np.maximum(multipliers.margins, 0.0), float(np.abs(multipliers.bounds).sum())
    gradient = pressure(margins, weights) - multipliers.bounds
    value = margins.total(weights) - (bound * spent if spent else 0.0)
    return bound_from(value, program.objective.metric.dual_size(gradient))
