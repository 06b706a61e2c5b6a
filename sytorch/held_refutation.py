"""Proofs that no change within a bound meets the constraints (Farkas' lemma), computed from the rows in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sytorch.arrays import Indices, Matrix
from sytorch.certificate import Multipliers, bound_from
from sytorch.errors import Contradiction, ContradictionError
from sytorch.joint import JointOperator

ROUNDING = 1e-10
ANY_CHANGE = 1e6  # a larger change of a weight is none: float arithmetic ends there, and so does every proof


def refute(operator: JointOperator, bound: float, multipliers: torch.Tensor) -> None:
    """Raise where multipliers prove that, of signs that are only to hold, at whatever distance from zero.

    A change within a bound raises weighted constraints by at most the bound times the L1 norm of their gradient, which
    is what the multipliers of the bounds are then.

    Args:
        operator: the constraints.
        bound: on every entry of the weights' changes; where there is none, it is proved for those up to `ANY_CHANGE`.
        multipliers: (R,), of which negative ones count as zero; those of bounds are not looked at.

    Raises:
        ContradictionError: they do; it names the images that they weigh.
    """
    constraints, free = operator.constraints, multipliers.clamp(min=0.0)
    free[constraints.shared :] = 0.0
    asked = free * constraints.asked
    total = float(asked.sum())
    if not total > ROUNDING * float(asked.abs().sum()):  # nor of multipliers that ran away to NaN
        return
    blocks, gradients = constraints.blocks, operator.gradients(free)
    limits = sum(float((part.abs() @ block.view.scales).sum()) for part, block in zip(gradients, blocks, strict=True))
    refuted = bound_from(total, limits)
    if refuted > min(bound, ANY_CHANGE) * (1 + ROUNDING):
        bounds = (block.view.layer_change(part).numpy() for part, block in zip(gradients, blocks, strict=True))
        first, *further = bounds
        proof = Multipliers(constraints.multipliers(free).margins, first, tuple(further))
        raise ContradictionError(
            Contradiction(
                blocks[0].in_want(constraints.split(free)[0]),
                refuted,
                multipliers=proof,
                pattern=constraints.pattern(free),
                proved_for_all_changes=True,
            )
        )


def of_all_images(found: Contradiction, chosen: Indices, count: int) -> Contradiction:
    """A contradiction of chosen images, (A,) ascending, as one of ``count`` images: the others weigh nothing."""

    def spread(part: Matrix) -> Matrix:
        whole = np.zeros((count, part.shape[1]))
        whole[chosen] = part
        return whole

    return replace(
        found,
        images=tuple(int(chosen[image]) for image in found.images),
        multipliers=replace(found.multipliers, margins=spread(found.multipliers.margins)),
        pattern={name: spread(part) for name, part in found.pattern.items()},
    )
