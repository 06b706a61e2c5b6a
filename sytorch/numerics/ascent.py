"""Accelerated projected gradient for the dual of a quadratic program."""

from __future__ import annotations

from collections.abc import Callable

import torch

POWER_ITERATIONS = 12


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


def ascend(
    gram: torch.Tensor,
    needed: torch.Tensor,
    enough: float,
    limit: int,
    *,
    tick: Callable[[], object] = lambda: None,
) -> tuple[torch.Tensor, int]:
    """Maximise ``needed @ u - u @ gram @ u / 2`` over ``0 <= u``, with restarts.

    Beck and Teboulle 2009; O'Donoghue and Candès 2015.

    Args:
        gram: (R, R), symmetric and positive semidefinite.
        needed: (R,).
        enough: the largest ``needed - gram @ u`` at which to stop.
        limit: of iterations.
        tick: called in each iteration.

    Returns:
        The multipliers ``u``, (R,), and the number of iterations.
    """
    longest = int(gram.diagonal().argmax())  # a start that is orthogonal to the largest eigenvector finds a smaller one
    largest = largest_eigenvalue(lambda vector: gram @ vector, gram[longest], POWER_ITERATIONS)
    rate = 1.0 / (1.1 * max(largest, float(gram[longest, longest])))
    current = ahead = torch.zeros_like(needed)
    momentum = 1.0
    for done in range(limit):
        tick()
        missing = needed - gram @ ahead
        if float(missing.max()) <= enough:
            return ahead, done
        following = (ahead + rate * missing).clamp(min=0.0)
        if float((ahead - following) @ (following - current)) > 0:
            momentum = 1.0
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = (following + (momentum - 1) / next_momentum * (following - current)).clamp(min=0.0)
        current, momentum = following, next_momentum
    return current, limit
