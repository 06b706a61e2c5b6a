"""The power method."""

from __future__ import annotations

from collections.abc import Callable

import torch


def largest_eigenvalue(product: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, iterations: int) -> float:
    """Of a symmetric matrix with few negative products, from below; 1 where it is zero.

    Args:
        product: with the matrix.
        start: (R,).
        iterations: how many products.
    """
    vector, length = start, 1.0
    for _ in range(iterations):
        largest = float(vector.abs().max())  # the norm alone would square what float32 can just hold
        if largest == 0.0:
            return 1.0
        vector = vector / largest
        vector = product(vector / vector.norm())
        length = float(vector.norm())
    return length or 1.0
