"""What a method found, looked at apart from it: the change's constraints, size and lower bound."""

from __future__ import annotations

import torch

from sytorch.certificate.bounds import bound_from
from sytorch.hidden_layer.constraints import ROUNDING
from sytorch.hidden_layer.dual import Optimum
from sytorch.hidden_layer.inner_products import DualOperator
from sytorch.problem.errors import gave_up
from sytorch.problem.solution import Effort, Solution

ALMOST = 1e-6


def verified(operator: DualOperator, optimum: Optimum, bound: float, path: str, effort: Effort) -> Solution:
    """The solution, whose change has every margin, inequality of the pattern and bound.

    The lower bound is that of all changes that miss the constraints by no more than the tolerances, as this one may.

    Raises:
        SolverFailedError: the change misses a constraint by more than that, or is smaller than its lower bound.
    """
    constraints, multipliers = operator.constraints, optimum.multipliers
    change = _within(optimum.change, bound * constraints.view.scales)
    allowed = (optimum.tolerances + 2 * constraints.tolerances)[: constraints.first_bound]
    if not bool((constraints.missing(change) <= allowed).all()):
        raise gave_up("the change that was found misses a constraint")
    value = float(multipliers @ (constraints.required - optimum.tolerances))
    dual = operator.metric.dual_size(constraints.gradient(multipliers))
    low = bound_from(value, dual)
    size = operator.metric.size(change)
    if low > size * (1 + ALMOST) + ALMOST**2:
        raise gave_up("the change that was found is smaller than its lower bound")
    whole = constraints.view.layer_change(change).clamp(-bound, bound).numpy()
    proof, pattern = constraints.multipliers(multipliers), constraints.pattern(multipliers)
    distances = constraints.distances(optimum.tolerances)
    sensitivity = float(proof.margins.sum()) / dual if dual else 0.0
    return Solution(
        whole, size, low, proof, path, effort, pattern=pattern, distances=distances, sensitivity=sensitivity
    )


def _within(change: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """A change without what rounding puts beyond the limits of its columns, (k,)."""
    if bool((change.abs() > limits * (1 + 2 * ROUNDING)).any()):
        raise gave_up("the change that was found is beyond its bound")
    return torch.minimum(torch.maximum(change, -limits), limits)
