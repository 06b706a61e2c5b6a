"""The ascent on a quadratic program solved by hand, and its power iteration at every scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sytorch.numerics.ascent import ascend, largest_eigenvalue


def test_the_ascent_solves_a_quadratic_by_hand() -> None:
    """max 2a + b/2 - (2a^2 + b^2)/2 - ab over a, b >= 0: a = 1 alone; the slope of b is -1/2 there."""
    gram, needed = torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([2.0, 0.5])
    values, _ = ascend(gram, needed, -np.inf, 5000)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_the_largest_eigenvalue_does_not_depend_on_the_scale(scale: float) -> None:
    """float32 holds no squares of 1e20; the ascent diverged on a network that stretched its gradients so far."""
    matrix = scale * torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert largest_eigenvalue(lambda vector: matrix @ vector, matrix[0], 20) == pytest.approx(3 * scale, rel=1e-5)
    assert largest_eigenvalue(lambda vector: 0 * matrix @ vector, matrix[0], 20) == 1.0
