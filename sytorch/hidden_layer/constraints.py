"""All constraints on a layer's change with fixed activation patterns: products with their matrix and its transpose.

Margins of the logits, the signs and winners behind the layer, and bounds on single entries of the change. The matrix is
never formed: its products are passes through the layers behind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from sytorch.network.activation_pattern import WINNERS_ROUNDING, FixedSigns
from sytorch.network.layer_view import LayerView
from sytorch.problem.arrays import Matrix
from sytorch.problem.margins import Requirements
from sytorch.problem.solution import Multipliers

ROUNDING = 2e-8
ALLOWANCE = 1e-5
EXTRA_SLACK, SIGN_EXTRA_SLACK = 1e-3, 20.0


@dataclass(frozen=True, eq=False)
class BoundRows:
    """Entries of the change that may not pass their bound: ``side * D[unit, column] <= limit``, (B,) each."""

    units: torch.Tensor
    columns: torch.Tensor
    sides: torch.Tensor
    limits: torch.Tensor

    def joined(self, more: BoundRows) -> BoundRows:
        """These and others."""
        return BoundRows(
            torch.cat([self.units, more.units]),
            torch.cat([self.columns, more.columns]),
            torch.cat([self.sides, more.sides]),
            torch.cat([self.limits, more.limits]),
        )


def no_bounds() -> BoundRows:
    """None."""
    nothing = torch.zeros(0, dtype=torch.int64)
    return BoundRows(nothing, nothing, nothing.double(), nothing.double())


def broken_bounds(change: torch.Tensor, limits: torch.Tensor, known: BoundRows) -> BoundRows:
    """The sides on which a change, (m, k), is beyond the limits of its columns, (k,), the known ones left out."""
    beyond = torch.stack([sign * change > limits * (1 + ROUNDING) for sign in (-1.0, 1.0)])
    beyond[(known.sides > 0).long(), known.units, known.columns] = False
    upper, units, columns = torch.nonzero(beyond, as_tuple=True)
    return BoundRows(units, columns, 2.0 * upper.double() - 1.0, limits.expand_as(change)[units, columns])


def slack_of(view: LayerView) -> dict[int, torch.Tensor]:
    """Of the pattern's inequalities, by position of their layer, (N, Q); infinite where one is void.

    Void are those of `still_of`, near to zero as they may be, and where only the bias changes all but the least of a
    unit's equal signs, for they move alike.
    """
    pattern, still = view.pattern, still_of(view)
    slack = {place: fixed.slack(pattern.values[place]) for place, fixed in pattern.fixed.items()}
    slack = {place: found.masked_fill(still[place], torch.inf) for place, found in slack.items()}
    signs = pattern.fixed.get(0)
    if view.part.bias_only and isinstance(signs, FixedSigns):
        slack[0] = _tightest(slack[0], signs.positive)
    return slack


def still_of(view: LayerView) -> dict[int, torch.Tensor]:
    """By position of a layer, (N, Q): which of the pattern's inequalities hold, and not even a random change moves.

    Those of units that do not change are among them, and all that is behind a layer of which no unit is active.
    """
    pattern, generator = view.pattern, torch.Generator().manual_seed(0)
    shape = (len(view.units), view.inputs.shape[2])
    moves = view.move(torch.randn(shape, generator=generator, dtype=view.inputs.dtype))
    return {place: pattern.holds(place) & (fixed.apply(moves[place]) == 0) for place, fixed in pattern.fixed.items()}


def _tightest(slack: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    kept = torch.full_like(slack, torch.inf)
    for side in (positive, ~positive):
        least, image = slack.masked_fill(~side, torch.inf).min(dim=0, keepdim=True)
        kept.scatter_(0, image, torch.minimum(least, kept.gather(0, image)))
    return kept


@dataclass(frozen=True, eq=False)
class Constraints:
    """Constraints on a change ``D``, (m, k), of the layer of a view: ``<row, D> >= required`` for each of R rows.

    The order of rows is: margins (N, C), then the pattern's inequalities by position, (N, Q) each, then bounds (B,).

    Attributes:
        view: the layer.
        margins: of the logits.
        slack: by position of a layer of the pattern, the slack at ``D = 0``, infinite where an inequality is void;
            empty where patterns are not fixed.
        bounds: on entries of the change.
        allowance: how far from zero numbers are to stay, relative to the largest that their ReLU gets.
    """

    view: LayerView
    margins: Requirements
    slack: dict[int, torch.Tensor]
    bounds: BoundRows
    allowance: float = ALLOWANCE

    @property
    def count(self) -> int:
        """How many rows are not void."""
        fixed = sum(int(torch.isfinite(slack).sum()) for slack in self.slack.values())
        return self.margins.required.size + fixed + len(self.bounds.limits)

    @functools.cached_property
    def asked(self) -> torch.Tensor:
        """(R,): what the margins and the bounds require, and of the pattern that it holds; of void rows -1."""
        margins = torch.from_numpy(self.margins.required)
        parts = [margins, *(-slack for slack in self.slack.values())]
        rows = torch.cat([*(part.flatten() for part in parts), -self.bounds.limits])
        return rows.masked_fill(self._void, -1.0)

    @functools.cached_property
    def required(self) -> torch.Tensor:
        """(R,): the same with numbers kept at a distance from zero."""
        return self.asked + self._each(0.0, self.distance, 0.0).masked_fill(self._void, 0.0)

    @functools.cached_property
    def tolerances(self) -> torch.Tensor:
        """(R,): by how much each row may be missed, far below what rounding to float32 does."""
        return self._each(1e-7, lambda place: 1e-2 * ALLOWANCE * self._scale(place), 0.5 * ROUNDING)

    @functools.cached_property
    def extra_slack(self) -> torch.Tensor:
        """(R,): by how much more than what is required methods ask for that end nearby; nothing more of winners."""
        margins = torch.from_numpy(self.margins.required)
        most = float(margins.masked_fill(~torch.isfinite(margins), 0.0).clamp(min=0.0).max())
        slack = self._each(EXTRA_SLACK * most, lambda place: SIGN_EXTRA_SLACK * self.distance(place), 0.0)
        return slack.masked_fill(self._void, 0.0)

    @functools.cached_property
    def final_tolerances(self) -> torch.Tensor:
        """(R,): by how much rows may be missed in the end: half of how far from zero numbers are kept, and rounding."""

        def enough(position: int) -> float:
            return max(0.5 * self.distance(position), 0.5 * WINNERS_ROUNDING * self._scale(position))

        return self._each(1e-7, enough, 0.0)

    def distance(self, position: int) -> float:
        """How far beyond zero a ReLU's numbers stay; winners only stay as large as the others."""
        if not isinstance(self.view.pattern.fixed[position], FixedSigns):
            return 0.0
        return self.allowance * self._scale(position)

    @property
    def first_bound(self) -> int:
        """The position of the first row that is a bound; before it are margins and the pattern's inequalities."""
        return len(self.required) - len(self.bounds.limits)

    def with_bounds(self, more: BoundRows) -> Constraints:
        """The same and bounds on more entries, behind those there are."""
        return replace(self, bounds=self.bounds.joined(more))

    def groups(self) -> list[torch.Size]:
        """The shapes of the groups that the rows consist of."""
        shapes = [torch.Size(self.margins.required.shape)] + [slack.shape for slack in self.slack.values()]
        return [*shapes, self.bounds.limits.shape]

    def grouped(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Numbers by row, (R,), as the groups that they come in."""
        shapes = self.groups()
        pieces = torch.split(rows, [shape.numel() for shape in shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def missing(self, change: torch.Tensor) -> torch.Tensor:
        """By how much a change, (m, k), misses each row that is no bound, from the rows themselves."""
        moved = torch.cat([rise.flatten() for rise in self.apply(self.view.move(change))])
        return self.required[: self.first_bound] - moved

    def multipliers(self, rows: torch.Tensor) -> Multipliers:
        """Those, (R,), of margins and bounds, the latter over all of the layer's weights.

        Copies of an input share a bound here; there each copy has its share, so that the sums over weights are the
        same.
        """
        margins, *_, bounds = self.grouped(rows)
        return Multipliers(margins.clone().numpy(), self.view.layer_change(self.bound_multipliers(bounds)).numpy())

    def pattern(self, rows: torch.Tensor) -> dict[str, Matrix]:
        """Multipliers, (R,), of the pattern's inequalities, (N, Q) by name of their module.

        A ReLU has one for each number that it gets, of ``sign * number >= distance``, see `distance`. A max-pool has
        one for each member of each window, of ``winner - member >= 0``: by channel, by place in the window and by
        window, both row by row; those of winners and of members outside the map are zero.
        """
        names, (_, *fixed, _) = self.view.pattern.tail.names, self.grouped(rows)
        return {names[place]: part.clone().numpy() for place, part in zip(self.slack, fixed, strict=True)}

    def distances(self, tolerances: torch.Tensor) -> dict[str, float]:
        """How far the pattern's inequalities are to stay from being violated, by name, less the tolerances, (R,)."""
        names, (_, *fixed, _) = self.view.pattern.tail.names, self.grouped(tolerances)
        pairs = zip(self.slack, fixed, strict=True)
        return {names[place]: self.distance(place) - float(part.max()) for place, part in pairs}

    def in_want(self, multipliers: torch.Tensor) -> tuple[int, ...]:
        """The images that multipliers weigh in a margin, or in an inequality of the pattern that does not hold yet."""
        weighty = (multipliers > 0).double()
        margins, *fixed, _ = self.grouped(weighty)
        for part, slack in zip(fixed, self.slack.values(), strict=True):
            margins = margins + (part * (slack < 0)).sum(dim=1, keepdim=True)
        return tuple(torch.nonzero(margins.sum(dim=1))[:, 0].tolist())

    def constraint_gradients(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The gradients in the layer's outputs, (N, m, P), of weighted margins and inequalities of the pattern."""
        cotangents: dict[int, torch.Tensor] = {}
        for place, part in enumerate(self.grouped(multipliers)[:-1]):
            cotangents |= self._cotangent(place, part, self.view.images)
        return self.view.gradients(cotangents, self.view.images)

    def apply(self, moves: dict[int, torch.Tensor], images: torch.Tensor | None = None) -> list[torch.Tensor]:
        """By how much margins and the pattern's inequalities rise with what is behind the layer.

        Args:
            moves: as `LayerView.moved` gives them.
            images: (R,), whose rows; None for one move of each image.

        Returns:
            (R, C) and, for each layer of the pattern, (R, Q).
        """
        images = self.view.images if images is None else images
        rise = self.margins.rise(moves[self.view.pattern.end], images)
        rises = [rise.masked_fill(self._void_margins[images], 0.0)]
        for position, slack in self.slack.items():
            rise = self.view.pattern.fixed[position].of(images).apply(moves[position])
            rises.append(rise.masked_fill(torch.isinf(slack[images]), 0.0))
        return rises

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
            return {position: self.view.pattern.fixed[position].of(images).adjoint(said)}
        weights = self.margins.combine(multipliers.detach().numpy(), images.numpy())
        return {self.view.pattern.end: torch.from_numpy(weights)}

    def bound_multipliers(self, values: torch.Tensor) -> torch.Tensor:
        """Multipliers of bounds, (B,), as a matrix like ``D``, with the sides' signs."""
        bounds, shape = self.bounds, (len(self.view.units), self.view.inputs.shape[2])
        none = torch.zeros(shape, dtype=values.dtype)
        return none.index_put_((bounds.units, bounds.columns), bounds.sides * values, accumulate=True)

    def gradient(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The gradient in ``D``, (m, k), of all weighted constraints."""
        gradients = self.constraint_gradients(multipliers)
        total = gradients.transpose(0, 1).flatten(1) @ self.view.inputs.flatten(0, 1)
        return total - self.bound_multipliers(self.grouped(multipliers)[-1])

    @property
    def _void(self) -> torch.Tensor:
        """(R,), which rows say nothing."""
        parts = [self._void_margins, *(torch.isinf(slack) for slack in self.slack.values())]
        return torch.cat([*(part.flatten() for part in parts), torch.zeros_like(self.bounds.limits, dtype=torch.bool)])

    @property
    def _void_margins(self) -> torch.Tensor:
        """(N, C), which margins require nothing, those of the own class among them."""
        return ~torch.isfinite(torch.from_numpy(self.margins.required))

    def _each(self, margins: float, fixed: Callable[[int], float], bounds: float) -> torch.Tensor:
        """(R,), a number for each group of rows; those of bounds are relative to their limits."""
        parts = [torch.full(self.margins.required.shape, margins, dtype=torch.float64)]
        parts += [torch.full_like(slack, fixed(position)) for position, slack in self.slack.items()]
        return torch.cat([*(part.flatten() for part in parts), bounds * self.bounds.limits])

    def _scale(self, position: int) -> float:
        return max(1.0, float(self.view.pattern.values[position].abs().max()))
