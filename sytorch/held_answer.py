"""What an optimum is worth, computed from its change and its multipliers apart from the method that found them."""

from __future__ import annotations

import math

import torch

from sytorch.certificate import bound_from
from sytorch.errors import gave_up
from sytorch.held_bounds import ROUNDING
from sytorch.held_dual import Optimum
from sytorch.joint import JointOperator
from sytorch.solution import Effort, Solution

ALMOST = 1e-6


def answer(operator: JointOperator, optimum: Optimum, bound: float, path: str, effort: Effort) -> Solution:
    """The solution, whose change has every margin, held inequality and bound.

    The lower bound is that of all changes that miss the constraints by no more than was granted, as this one may.

    Raises:
        SolverFailedError: the change misses a constraint by more than that, or is smaller than its lower bound.
    """
    constraints, multipliers = operator.constraints, optimum.multipliers
    changes = [
        _within(change, bound * block.view.scales)
        for change, block in zip(optimum.changes, constraints.blocks, strict=True)
    ]
    allowed = (optimum.granted + 2 * constraints.tolerances)[: constraints.shared]
    if not bool((constraints.missing(changes) <= allowed).all()):
        raise gave_up("the change that was found misses a constraint")
    metrics = [each.metric for each in operator.operators]
    value = float(multipliers @ (constraints.required - optimum.granted))
    gradients = operator.gradients(multipliers)
    pairs = zip(metrics, gradients, strict=True)
    low = bound_from(value, math.hypot(*(metric.dual_size(gradient) for metric, gradient in pairs)))
    size = math.hypot(*(metric.size(change) for metric, change in zip(metrics, changes, strict=True)))
    if low > size * (1 + ALMOST) + ALMOST**2:
        raise gave_up("the change that was found is smaller than its lower bound")
    whole = [block.view.layer_change(change) for block, change in zip(constraints.blocks, changes, strict=True)]
    first, *further = (part.clamp(-bound, bound).numpy() for part in whole)
    proof, pattern = constraints.multipliers(multipliers), constraints.pattern(multipliers)
    distances = constraints.distances(optimum.granted)
    return Solution(first, size, low, proof, path, effort, tuple(further), pattern=pattern, distances=distances)


def _within(change: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """A change without what rounding puts beyond the limits of its columns, (k,)."""
    if bool((change.abs() > limits * (1 + 2 * ROUNDING)).any()):
        raise gave_up("the change that was found is beyond its bound")
    return torch.minimum(torch.maximum(change, -limits), limits)
