"""The activation pattern of N images behind a layer: with it fixed, everything there is affine.

A ReLU is fixed by its signs, a max-pool by the member of each window that wins. Each is a set of inequalities on what
the layer gets: ``values[first] * sign >= 0`` for a sign, ``values[first] - values[second] >= 0`` for a winner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from sytorch.network.chain import Chain

ROUNDING, WINNERS_ROUNDING = 1e-12, 1e-6


@dataclass(frozen=True, eq=False)
class FixedSigns:
    """A ReLU: one inequality for each of its inputs.

    Attributes:
        positive: (N, Q) bool, where the input is above zero.
        shape: of one image's input.
    """

    positive: torch.Tensor
    shape: torch.Size

    def of(self, images: torch.Tensor) -> FixedSigns:
        """The signs of chosen images, (R,)."""
        return FixedSigns(self.positive[images], self.shape)

    def forward(self, moves: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """How the outputs of images, (R,), move when the inputs do, (R, ...)."""
        return moves * self.positive[images].view_as(moves)

    def slack(self, values: torch.Tensor) -> torch.Tensor:
        """How far each inequality is from being violated, (N, Q), at inputs (N, ...)."""
        flat = values.flatten(1)
        return torch.where(self.positive, flat, -flat)

    def apply(self, moves: torch.Tensor) -> torch.Tensor:
        """How the slack moves, (N, Q), when the inputs do, (N, ...)."""
        return self.slack(moves)

    def adjoint(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The transpose of `apply`: multipliers, (N, Q), to the inputs' shape."""
        return self.slack(multipliers).view(-1, *self.shape)

    def by_unit(self, chosen: torch.Tensor) -> torch.Tensor:
        """Which units have one of the chosen inequalities, (N, Q) bool: here each has one."""
        return chosen


@dataclass(frozen=True, eq=False)
class FixedWinners:
    """A max-pool: one inequality for each member of each window, the winner's own being void.

    Attributes:
        winners: (N, channels, L), position of each window's winner in its map.
        members: (K, L), positions of each window's members; -1 outside the map.
        shape: of one image's input.
        output_shape: of one image's output.
    """

    winners: torch.Tensor
    members: torch.Tensor
    shape: torch.Size
    output_shape: torch.Size

    def of(self, images: torch.Tensor) -> FixedWinners:
        """The winners of chosen images, (R,)."""
        return FixedWinners(self.winners[images], self.members, self.shape, self.output_shape)

    def forward(self, moves: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """How the outputs of images, (R,), move when the inputs do, (R, ...)."""
        return moves.flatten(2).gather(2, self.winners[images]).view(-1, *self.output_shape)

    def slack(self, values: torch.Tensor) -> torch.Tensor:
        """How far each inequality is from being violated, (N, channels * K * L); infinite where it is void."""
        return self.apply(values).masked_fill(self._void.flatten(1), torch.inf)

    def apply(self, moves: torch.Tensor) -> torch.Tensor:
        """How the slack moves, (N, channels * K * L), when the inputs do, (N, ...)."""
        flat = moves.flatten(2)
        differences = flat.gather(2, self.winners)[:, :, None] - flat[:, :, self.members.clamp(min=0)]
        return differences.masked_fill(self._void, 0.0).flatten(1)

    def adjoint(self, multipliers: torch.Tensor) -> torch.Tensor:
        """The transpose of `apply`: multipliers, (N, channels * K * L), to the inputs' shape."""
        weights = multipliers.view(self._void.shape).masked_fill(self._void, 0.0)
        maps = torch.zeros(len(weights), self.shape[0], self.shape[1] * self.shape[2], dtype=weights.dtype)
        maps.scatter_add_(2, self.winners, weights.sum(dim=2))
        places = self.members.clamp(min=0).flatten().expand(*maps.shape[:2], -1)
        return maps.scatter_add_(2, places, -weights.flatten(2)).view(-1, *self.shape)

    def by_unit(self, chosen: torch.Tensor) -> torch.Tensor:
        """Which windows have one of the chosen inequalities, (N, channels * L) bool."""
        return chosen.view(self._void.shape).any(dim=2).flatten(1)

    @property
    def _void(self) -> torch.Tensor:
        return (self.members < 0) | (self.members == self.winners[:, :, None])


FixedLayer = FixedSigns | FixedWinners


@dataclass(frozen=True, eq=False)
class Pattern:
    """The tail behind a layer with the pattern of N images fixed.

    Attributes:
        tail: the layers, in float64.
        fixed: by position in the tail, its ReLUs and max-pools.
        values: by position in the tail, what such a layer gets, float64 (N, ...).
        logits: (N, C) float64, those of the pattern's affine functions.
    """

    tail: Chain
    fixed: dict[int, FixedLayer]
    values: dict[int, torch.Tensor]
    logits: torch.Tensor

    def to(self, dtype: torch.dtype) -> Pattern:
        """The same in another floating-point type."""
        values = {position: value.to(dtype) for position, value in self.values.items()}
        return replace(self, tail=self.tail.to(dtype), values=values, logits=self.logits.to(dtype))

    def move(self, moves: torch.Tensor, images: torch.Tensor) -> dict[int, torch.Tensor]:
        """How everything behind the layer moves when its outputs do.

        Args:
            moves: (R, ...), of its outputs.
            images: (R,), whose pattern each row has.

        Returns:
            By position in the tail, how what the pattern's layers get moves; `end` for the logits.
        """
        seen: dict[int, torch.Tensor] = {}
        for position, layer in enumerate(self.tail.layers):
            if position in self.fixed:
                seen[position] = moves
                moves = self.fixed[position].forward(moves, images)
            else:
                moves = _linear_part(layer, moves)
        return seen | {self.end: moves}

    def pull_back(self, cotangents: dict[int, torch.Tensor], images: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The gradients in the layer's outputs, (R, *shape), of sums of what `move` returns.

        Args:
            cotangents: by position, (R, ...): how much each move counts.
            images: (R,).
            shape: of one image's outputs of the layer.
        """
        until = Chain(self.tail.names, self.tail.layers[: max(cotangents) + 1])
        last = replace(self, tail=until, values={})
        start = torch.zeros(len(images), *shape, dtype=self.logits.dtype, requires_grad=True)
        with torch.enable_grad():
            moves = (last if self.end not in cotangents else self).move(start, images)
        positions = [position for position in cotangents if moves[position].requires_grad]
        if not positions:
            return torch.zeros_like(start)
        (gradient,) = torch.autograd.grad(
            [moves[position] for position in positions], start, [cotangents[position] for position in positions]
        )
        return gradient

    def forced(self, outputs: torch.Tensor, images: torch.Tensor) -> Pattern:
        """The affine functions that these images' patterns make of the tail, at other outputs of the layer.

        Where the tail itself has another pattern there, slack is negative.

        Args:
            outputs: of the layer, float64 (R, ...).
            images: (R,), whose pattern each row is given.
        """
        fixed = {position: fixed.of(images) for position, fixed in self.fixed.items()}
        seen, values, rows = {}, outputs, torch.arange(len(outputs))
        with torch.no_grad():
            for position, layer in enumerate(self.tail.layers):
                if position in fixed:
                    seen[position] = values
                    values = fixed[position].forward(values, rows)
                else:
                    values = layer(values)
        return Pattern(self.tail, fixed, seen, values)

    def broken(self, tail: Chain, outputs: torch.Tensor, still: dict[int, torch.Tensor]) -> int:
        """How many inequalities the layers behind break by more than rounding when they get other outputs, (N, ...).

        Args:
            tail: the layers behind, as they run: in float32.
            outputs: of the changed layer.
            still: units that no change moves; those are not broken. In float32, a number that nothing moves and
                that is nearly zero may be on the other side of it from the start.
        """
        count, values = 0, outputs
        with torch.inference_mode():
            for position, layer in enumerate(tail.layers):
                if position in self.fixed:
                    fixed, scale = self.fixed[position], max(1.0, float(values.abs().max()))
                    rounding = 0.0 if isinstance(fixed, FixedSigns) else WINNERS_ROUNDING * scale
                    count += int(((fixed.slack(values) < -rounding) & ~still[position]).sum())
                values = layer(values)
        return count

    def holds(self, position: int) -> torch.Tensor:
        """Which inequalities of a layer hold before any change, but for rounding in float64, (N, Q)."""
        values = self.values[position]
        return self.fixed[position].slack(values) >= -ROUNDING * max(1.0, float(values.abs().max()))

    @property
    def end(self) -> int:
        """The position behind the last layer."""
        return len(self.tail.layers)


def pattern_of(tail: Chain, outputs: torch.Tensor) -> Pattern:
    """Run the layers behind a layer on its outputs, float64 (N, ...), and fix what they do."""
    fixed: dict[int, FixedLayer] = {}
    seen: dict[int, torch.Tensor] = {}
    values = outputs
    with torch.no_grad():
        for position, layer in enumerate(tail.layers):
            if isinstance(layer, nn.ReLU | nn.MaxPool2d):
                seen[position] = values
                fixed[position] = _signs(values) if isinstance(layer, nn.ReLU) else _winners(layer, values)
                values = values.clamp(min=0.0) if isinstance(layer, nn.ReLU) else layer(values)
            else:
                values = layer(values)
    return Pattern(tail, fixed, seen, values)


def _signs(values: torch.Tensor) -> FixedSigns:
    return FixedSigns(values.flatten(1) > 0, values.shape[1:])


def _winners(layer: nn.MaxPool2d, values: torch.Tensor) -> FixedWinners:
    pooled, winners = nn.functional.max_pool2d(
        values, layer.kernel_size, layer.stride, layer.padding, layer.dilation, return_indices=True
    )
    size = values.shape[2] * values.shape[3]
    places = torch.arange(1, size + 1, dtype=torch.float64).view(1, 1, *values.shape[2:])
    members = nn.functional.unfold(places, **window_of(layer))[0].round().long() - 1
    return FixedWinners(winners.flatten(2), members, values.shape[1:], pooled.shape[1:])


def window_of(layer: nn.MaxPool2d | nn.Conv2d) -> dict[str, tuple[int, int]]:
    """A layer's windows as `torch.nn.functional.unfold` wants them."""
    names = ("kernel_size", "stride", "padding", "dilation")
    values = {name: getattr(layer, name) for name in names}
    return {name: value if isinstance(value, tuple) else (value, value) for name, value in values.items()}


def _linear_part(layer: nn.Module, moves: torch.Tensor) -> torch.Tensor:
    """How an affine layer's outputs move when its inputs do: the layer without its constant."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(moves, layer.weight)
    if isinstance(layer, nn.Conv2d):
        moved: torch.Tensor = layer._conv_forward(moves, layer.weight, None)
        return moved
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        assert layer.running_var is not None
        scale = (layer.running_var + layer.eps).rsqrt()
        scale = scale if layer.weight is None else scale * layer.weight
        return moves * scale.view(-1, *[1] * (moves.dim() - 2))
    result: torch.Tensor = layer(moves)
    return result
