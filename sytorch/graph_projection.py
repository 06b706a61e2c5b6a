"""The nearest moves to a wish for them and to one for what they do to the rows (Parikh and Boyd 2014, section 3).

Moves and rows are weighed against each other: ``(G + r A^T A) x = rhs`` for each image, with the rows A of
`HeldMoves`. Signs directly behind the layer add the same number to the diagonal for all, so one inverse serves every
image; what else its rows see is a small matrix more (Woodbury's formula).
"""

from __future__ import annotations

import torch

from sytorch.deadline import Deadline
from sytorch.held_moves import HeldMoves


class Blocks:
    """The outputs of each image that move rows behind the first signs, and the products of what they do there."""

    def __init__(self, moves: HeldMoves, deadline: Deadline):
        self.places, self.products = [], []
        for image in range(len(moves.constraints.view.inputs)):
            rows = moves.behind(image, deadline)
            self.places.append(moves.going_on(image))
            self.products.append(rows @ rows.T)


class GraphProjection:
    """Solves the system for all images.

    Args:
        moves: the rows, and G.
        blocks: of the same.
        price: r.
    """

    def __init__(self, moves: HeldMoves, blocks: Blocks, price: float):
        moment, self._places = moves.outputs_moment, blocks.places
        count = len(moment)
        self._diagonal = price * moves.direct**2
        shifted = moment.double() + self._diagonal * torch.eye(count).double()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(shifted))
        self._cores = []
        for places, products in zip(blocks.places, blocks.products, strict=True):
            pixels, units = places // count, places % count
            seen = inverse[units][:, units] * (pixels[:, None] == pixels)
            weighed = price * products.double()
            system = weighed @ seen + torch.eye(len(places)).double()
            self._cores.append(torch.linalg.solve(system, weighed).to(products.dtype))
        self._inverse = inverse.to(moment.dtype)

    def solve(self, wish: torch.Tensor, pulled: torch.Tensor) -> torch.Tensor:
        """For ``rhs = G wish + pulled``, (N, P, m) each; the product with G itself is not needed."""
        first = wish + (pulled - self._diagonal * wish) @ self._inverse
        inner = torch.zeros_like(first).flatten(1)
        for image, (places, core) in enumerate(zip(self._places, self._cores, strict=True)):
            inner[image, places] = core @ first[image].flatten()[places]
        return first - inner.view_as(first) @ self._inverse
