"""Proofs that no change within a bound meets the constraints (Farkas' lemma)."""

from __future__ import annotations

import numpy as np
import torch

from sytorch.certificate import Multipliers, bound_from
from sytorch.errors import Contradiction, ContradictionError
from sytorch.joint import JointOperator


def refute(operator: JointOperator, bound: float, multipliers: torch.Tensor) -> None:
    """Raise where multipliers prove that.

    Args:
        operator: the constraints.
        bound: on every entry of the weights' changes.
        multipliers: (R,), none negative; those of bounds are not looked at.

    Raises:
        ContradictionError: they do; it names the images that they weigh.
    """
    constraints, free = operator.constraints, multipliers.clone()
    free[constraints.shared :] = 0.0
    total = float(free @ constraints.required)
    if not (np.isfinite(bound) and total > 0):
        return
    pairs = zip(operator.gradients(free), constraints.blocks, strict=True)
    limits = sum(float((gradient.abs() * block.view.scales).sum()) for gradient, block in pairs)
    if bound_from(total, limits) > bound * (1 + 1e-6):
        images = constraints.blocks[0].in_want(constraints.split(free)[0])
        margins, *_ = constraints.blocks[0].parts(constraints.split(free)[0])
        proof = Multipliers(margins.numpy(), np.zeros((0, 0)))
        refuted = bound_from(total, limits)
        raise ContradictionError(Contradiction(images, refuted, multipliers=proof, proved_for_all_changes=True))
