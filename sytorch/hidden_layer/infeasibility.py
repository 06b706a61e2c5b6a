"""Proofs that no change within a bound meets the constraints (Farkas' lemma), computed from the rows in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sytorch.certificate.bounds import bound_from
from sytorch.hidden_layer.constraints import Constraints
from sytorch.problem.arrays import Indices, Matrix
from sytorch.problem.errors import Contradiction, ContradictionError
from sytorch.problem.solution import Multipliers

ROUNDING = 1e-10
ANY_CHANGE = 1e6  # a larger change of a weight is none: float arithmetic ends there, and so does every proof


def refute(constraints: Constraints, bound: float, multipliers: torch.Tensor) -> None:
    """Raise where multipliers prove that, of signs that are only to hold, at whatever distance from zero.

    A change within a bound raises weighted constraints by at most the bound times the L1 norm of their gradient, which
    is what the multipliers of the bounds are then.

    Args:
        constraints: with the activation patterns fixed.
        bound: on every entry of the weights' change; where there is none, it is proved for those up to `ANY_CHANGE`.
        multipliers: (R,), of which negative ones count as zero; those of bounds are not looked at.

    Raises:
        ContradictionError: they do; it names the images that they weigh.
    """
    free = _free(constraints, multipliers)
    total = _total(free * constraints.asked)
    if not total > 0:
        return
    gradient = constraints.gradient(free)
    refuted = _bound(constraints, total, gradient)
    if refuted > min(bound, ANY_CHANGE) * (1 + ROUNDING):
        proof = Multipliers(constraints.multipliers(free).margins, constraints.view.layer_change(gradient).numpy())
        raise ContradictionError(
            Contradiction(
                constraints.in_want(free),
                refuted if np.isinf(refuted) else min(refuted, ANY_CHANGE),  # beyond it digits are rounding
                multipliers=proof,
                pattern=constraints.pattern(free),
                proved_for_all_changes=True,
            )
        )


def refutes_distance(constraints: Constraints, bound: float, multipliers: torch.Tensor) -> bool:
    """Whether multipliers, (R,), prove that no change keeps signs at their distance from zero, besides the margins."""
    free = _free(constraints, multipliers)
    total = _total(free * constraints.required)
    return _bound(constraints, total, constraints.gradient(free)) > min(bound, ANY_CHANGE) * (1 + ROUNDING)


def _free(constraints: Constraints, multipliers: torch.Tensor) -> torch.Tensor:
    free = multipliers.clamp(min=0.0)
    free[constraints.first_bound :] = 0.0
    return free


def _total(asked: torch.Tensor) -> float:
    """What weighted rows, (R,), ask for; zero where that is rounding, or of multipliers that ran away to NaN."""
    total = float(asked.sum())
    return total if total > ROUNDING * float(asked.abs().sum()) else 0.0


def _bound(constraints: Constraints, total: float, gradient: torch.Tensor) -> float:
    """The bound within which a gradient, (m, k), of weighted rows gives no more than they ask for."""
    return bound_from(total, float((gradient.abs() @ constraints.view.scales).sum()))


def of_all_images(found: Contradiction, chosen: Indices, count: int) -> Contradiction:
    """A contradiction of chosen images, (A,) ascending, as one of ``count`` images: the others weigh nothing."""

    def scattered(part: Matrix) -> Matrix:
        whole = np.zeros((count, part.shape[1]))
        whole[chosen] = part
        return whole

    return replace(
        found,
        images=tuple(int(chosen[image]) for image in found.images),
        multipliers=replace(found.multipliers, margins=scattered(found.multipliers.margins)),
        pattern={name: scattered(part) for name, part in found.pattern.items()},
    )
