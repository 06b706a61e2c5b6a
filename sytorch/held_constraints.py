"""All constraints on a layer's change with the patterns held, as products with the constraint matrix and its transpose.

Margins of the logits, the signs and winners behind the layer, and bounds on single entries of the change. The matrix is
never formed: its products are passes through the layers behind.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch

from sytorch.constraints import Margins
from sytorch.held_bounds import BoundRows
from sytorch.linearise import LayerView
from sytorch.pattern import WINNERS_ROUNDING, HeldSigns

ALLOWANCE = 1e-5
ROOM, SIGN_ROOM = 1e-3, 20.0


@dataclass(frozen=True, eq=False)
class HeldConstraints:
    """Constraints on a change ``D``, (m, k), of the layer of a view: ``<row, D> >= required`` for each of R rows.

    The order of rows is: margins (N, C), then held inequalities by position, (N, Q) each, then bounds (B,).

    Attributes:
        view: the layer.
        margins: of the logits.
        slack: by position of a held layer, the slack at ``D = 0``, infinite where an inequality is void; empty where
            patterns are not held.
        bounds: on entries of the change.
        allowance: how far from zero signs are held, relative to the largest number the held layer gets.
    """

    view: LayerView
    margins: Margins
    slack: dict[int, torch.Tensor]
    bounds: BoundRows
    allowance: float = ALLOWANCE

    @property
    def count(self) -> int:
        """How many rows are not void."""
        held = sum(int(torch.isfinite(slack).sum()) for slack in self.slack.values())
        return self.margins.required.size + held + len(self.bounds.limits)

    @functools.cached_property
    def required(self) -> torch.Tensor:
        """(R,); void rows, those of an image's own class among them, require nothing."""
        margins = torch.from_numpy(self.margins.required)
        parts = [margins.masked_fill(~torch.isfinite(margins), 0.0)]
        for position, slack in self.slack.items():
            parts.append((self.distance(position) - slack).masked_fill(torch.isinf(slack), -1.0))
        return torch.cat([*(part.flatten() for part in parts), -self.bounds.limits])

    @functools.cached_property
    def tolerances(self) -> torch.Tensor:
        """(R,): by how much each row may be missed, far below what rounding to float32 does."""
        parts = [torch.full(self.margins.required.shape, 1e-7).double()]
        for position, slack in self.slack.items():
            parts.append(torch.full_like(slack, 1e-2 * ALLOWANCE * self._scale(position)))
        return torch.cat([*(part.flatten() for part in parts), 5e-7 * self.bounds.limits])

    @functools.cached_property
    def room(self) -> torch.Tensor:
        """(R,): by how much more than what is required methods ask for that end nearby; nothing more of winners."""
        margins = torch.from_numpy(self.margins.required)
        most = margins.masked_fill(~torch.isfinite(margins), 0.0).clamp(min=0.0).max()
        parts = [(ROOM * most).expand(margins.shape)]
        parts += [torch.full_like(slack, SIGN_ROOM * self.distance(place)) for place, slack in self.slack.items()]
        return torch.cat([*(part.flatten() for part in parts), torch.zeros_like(self.bounds.limits)])

    @functools.cached_property
    def granted(self) -> torch.Tensor:
        """(R,): by how much rows may be missed in the end: half of how far from zero signs are held, and rounding."""
        parts = [torch.full(self.margins.required.shape, 1e-7).double()]
        for position, slack in self.slack.items():
            enough = max(0.5 * self.distance(position), 0.5 * WINNERS_ROUNDING * self._scale(position))
            parts.append(torch.full_like(slack, enough))
        return torch.cat([*(part.flatten() for part in parts), torch.zeros_like(self.bounds.limits)])

    def distance(self, position: int) -> float:
        """How far beyond zero a held inequality stays; winners only stay as large as the others."""
        if not isinstance(self.view.pattern.held[position], HeldSigns):
            return 0.0
        return self.allowance * self._scale(position)

    def with_bounds(self, more: BoundRows) -> HeldConstraints:
        """The same and bounds on more entries, behind those there are."""
        return replace(self, bounds=self.bounds.joined(more))

    def groups(self) -> list[torch.Size]:
        """The shapes of the parts that the rows consist of."""
        shapes = [torch.Size(self.margins.required.shape)] + [slack.shape for slack in self.slack.values()]
        return [*shapes, self.bounds.limits.shape]

    def parts(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The parts of numbers by row, (R,), in their shapes."""
        return in_shapes(rows, self.groups())

    def in_want(self, multipliers: torch.Tensor) -> tuple[int, ...]:
        """The images that multipliers weigh in a margin, or in a held inequality that does not hold yet, ascending."""
        weighty = (multipliers > 0).double()
        margins, *held, _ = self.parts(weighty)
        for part, slack in zip(held, self.slack.values(), strict=True):
            margins = margins + (part * (slack < 0)).sum(dim=1, keepdim=True)
        return tuple(torch.nonzero(margins.sum(dim=1))[:, 0].tolist())

    def pressure(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The gradients in the layer's outputs, (N, m, P), of weighted margins and held inequalities."""
        cotangents: dict[int, torch.Tensor] = {}
        for place, part in enumerate(self.parts(multipliers)[:-1]):
            cotangents |= self._cotangent(place, part, self.view.images)
        return self.view.gradients(cotangents, self.view.images)

    def lean(self, moves: dict[int, torch.Tensor], images: torch.Tensor | None = None) -> list[torch.Tensor]:
        """By how much margins and held inequalities rise with what is behind the layer.

        Args:
            moves: as `LayerView.moved` gives them.
            images: (R,), whose rows; None for one move of each image.

        Returns:
            (R, C) and, for each held layer, (R, Q).
        """
        images = self.view.images if images is None else images
        logits, own = moves[self.view.pattern.end], torch.from_numpy(self.margins.labels)[images, None]
        leans = [(logits.gather(1, own) - logits).scatter(1, own, 0.0)]
        for position, slack in self.slack.items():
            lean = self.view.pattern.held[position].of(images).lean(moves[position])
            leans.append(lean.masked_fill(torch.isinf(slack[images]), 0.0))
        return leans

    def rows(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The images of rows that are no bounds, (A,) ascending positions, and gradients in the layer's outputs.

        Returns:
            (A,) and (A, m, P).
        """
        images, gradients, first = [], [], 0
        for place, shape in enumerate(self.groups()[:-1]):
            here = chosen[(chosen >= first) & (chosen < first + shape.numel())] - first
            owners, columns = here // shape[1], here % shape[1]
            one_hot = torch.zeros(len(here), shape[1], dtype=torch.float64).scatter_(1, columns[:, None], 1.0)
            images.append(owners)
            gradients.append(self.view.gradients(self._cotangent(place, one_hot, owners), owners))
            first += shape.numel()
        return torch.cat(images), torch.cat(gradients)

    def _cotangent(self, place: int, multipliers: torch.Tensor, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """What multipliers, (R, Q), of one group's constraints on images, (R,), count of what moves."""
        if place:
            position, slack = list(self.slack.items())[place - 1]
            said = multipliers.masked_fill(torch.isinf(slack[images]), 0.0)
            return {position: self.view.pattern.held[position].of(images).spread(said)}
        own = torch.from_numpy(self.margins.labels)[images, None]
        weights = -multipliers.scatter(1, own, 0.0)
        return {self.view.pattern.end: weights.scatter_add(1, own, -weights.sum(dim=1, keepdim=True))}

    def gradient(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The gradient in ``D``, (m, k), of all weighted constraints."""
        pressure = self.pressure(multipliers)
        total = pressure.transpose(0, 1).flatten(1) @ self.view.inputs.flatten(0, 1)
        weights = -self.bounds.sides * self.parts(multipliers)[-1]
        return total.index_put_((self.bounds.units, self.bounds.columns), weights, accumulate=True)

    def _scale(self, position: int) -> float:
        return max(1.0, float(self.view.pattern.values[position].abs().max()))


def in_shapes(rows: torch.Tensor, shapes: list[torch.Size]) -> list[torch.Tensor]:
    """Numbers by row, (R,), as the groups that they come in."""
    pieces = torch.split(rows, [shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
