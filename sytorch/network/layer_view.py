"""What N images see of one layer: its inputs, and everything behind it as an affine function of its change."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import nn

from sytorch.network.activation_pattern import Pattern, pattern_of, window_of
from sytorch.network.chain import Chain, chain_of
from sytorch.network.repeats import Folding, folding_of, without_repeats
from sytorch.problem.checks import check_finite, check_images
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import InvalidInputError, UnsupportedLayerError
from sytorch.problem.outputs import AffineOutputs


@dataclass(frozen=True)
class Part:
    """Which weights of a layer change.

    Attributes:
        layer: its name.
        units: the outputs whose weights change, ``(start, stop)``; None for all.
        bias_only: whether only the bias changes.
    """

    layer: str
    units: tuple[int, int] | None = None
    bias_only: bool = False


def part_named(text: str) -> Part:
    """Read ``classifier.4``, ``classifier.4.bias``, ``classifier.4[0:400]`` or ``classifier.4[0:400].bias``.

    Raises:
        UnsupportedLayerError: the brackets do not hold a range.
    """
    found = re.fullmatch(r"([^\[\]]*?)(?:\[(\d+):(\d+)\])?(\.bias)?", text)
    if not found or not found[1] or (found[2] and int(found[2]) >= int(found[3])):
        raise UnsupportedLayerError(f"{text!r} names no layer; write a name, NAME.bias or NAME[first:last].")
    return Part(found[1], (int(found[2]), int(found[3])) if found[2] else None, bool(found[4]))


@dataclass(frozen=True, eq=False)
class LayerView:
    """One layer as N images see it.

    A change ``D``, (m, k), moves the layer's output at position p by ``D @ inputs[i, p]``. Its rows are the units that
    change, its columns the (folded) weights that do, the bias being the last.

    Attributes:
        part: what changes.
        inputs: (N, P, k); P is 1 for a linear layer, the number of output pixels for a convolution.
        outputs: (N, *shape), of the layer.
        pattern: of the images, behind the layer.
        shape: of one image's outputs of the layer.
        units: (m,) int64, which of the outputs change.
        folding: of all the layer's inputs.
    """

    part: Part
    inputs: torch.Tensor
    outputs: torch.Tensor
    pattern: Pattern
    shape: torch.Size
    units: torch.Tensor
    folding: Folding

    @property
    def logits(self) -> torch.Tensor:
        """(N, C), at ``D = 0``, of the affine functions that the pattern makes of the network."""
        return self.pattern.logits

    @property
    def affine_outputs(self) -> AffineOutputs:
        """The logits as what constraints are posed on."""
        return AffineOutputs(self.logits.numpy(), self.inputs.flatten(1).numpy())

    @property
    def images(self) -> torch.Tensor:
        """The positions of all images."""
        return torch.arange(len(self.inputs))

    @property
    def scales(self) -> torch.Tensor:
        """(k,): an entry of ``D`` is a weight's change times its column's scale."""
        return self.folding.roots[-1:] if self.part.bias_only else self.folding.roots

    def move(self, change: torch.Tensor) -> dict[int, torch.Tensor]:
        """How everything behind the layer moves with a change, (m, k); see `Pattern.move`."""
        return self.moved(self.inputs @ change.T)

    def moved(self, outputs: torch.Tensor, images: torch.Tensor | None = None) -> dict[int, torch.Tensor]:
        """How everything behind the layer moves when its changing units do.

        Args:
            outputs: (R, P, m), their moves.
            images: (R,), whose pattern each has; None for one of each image.
        """
        return self.pattern.move(self._moves(outputs), self.images if images is None else images)

    def after(self, change: torch.Tensor) -> LayerView:
        """The layer after a change, (m, k), from here: the patterns behind it are those that it then has."""
        outputs = self.outputs + self._moves(self.inputs @ change.T)
        return replace(self, outputs=outputs, pattern=pattern_of(self.pattern.tail, outputs))

    def of(self, images: torch.Tensor) -> LayerView:
        """The layer as chosen images see it."""
        outputs = self.outputs[images]
        pattern = self.pattern.forced(outputs, images)
        return replace(self, inputs=self.inputs[images], outputs=outputs, pattern=pattern)

    def to(self, dtype: torch.dtype) -> LayerView:
        """The same in another floating-point type."""
        return replace(
            self, inputs=self.inputs.to(dtype), outputs=self.outputs.to(dtype), pattern=self.pattern.to(dtype)
        )

    def _moves(self, outputs: torch.Tensor) -> torch.Tensor:
        """Moves of the changing units, (R, P, m), as ones of all the layer's outputs, (R, *shape)."""
        moves = torch.zeros(len(outputs), self.shape[0], self.inputs.shape[1], dtype=self.inputs.dtype)
        moves[:, self.units] = outputs.transpose(1, 2)
        return moves.view(-1, *self.shape)

    def gradients(self, cotangents: dict[int, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        """Gradients in the layer's outputs, (R, m, P), of what the cotangents count; see `Pattern.pull_back`."""
        pulled = self.pattern.pull_back(cotangents, images, self.shape)
        return pulled.flatten(2)[:, self.units] if pulled.dim() > 2 else pulled[:, self.units, None]

    def logit_gradients(self) -> torch.Tensor:
        """The gradients of all logits in the layer's outputs, (N, C, m, P)."""
        count, classes = self.logits.shape
        images = self.images.repeat_interleave(classes)
        one_hot = torch.eye(classes, dtype=self.inputs.dtype).repeat(count, 1)
        pulled = self.gradients({self.pattern.end: one_hot}, images)
        return pulled.view(count, classes, *pulled.shape[1:])

    def layer_change(self, change: torch.Tensor) -> torch.Tensor:
        """A change (m, k) as one of all the layer's weights, (outputs, n + 1), the bias's last."""
        whole = torch.zeros(self.shape[0], len(self.folding.sizes), dtype=change.dtype)
        whole[self.units, -change.shape[1] :] = change
        return self.folding.unfold(whole)


def linearise(
    model: nn.Module | Chain,
    part: Part | str,
    images: torch.Tensor,
    batch_size: int = 100,
    dtype: torch.dtype = torch.float64,
    *,
    time_limit: float | Deadline | None = None,
) -> LayerView:
    """Look at a layer through images, (N, ...); the module is left as it was.

    Args:
        model: in evaluation mode; a chain of the layers that `sytorch.network.chain` knows.
        part: what is to change.
        images: whose patterns are fixed.
        batch_size: how many images run at a time.
        dtype: in which the layer and what is behind it are computed.
        time_limit: seconds, or a deadline that others share, or None; looked at before every batch.

    Raises:
        InvalidInputError: the module is in training mode; or these are no finite images that it takes, in its own
            floating-point type, or what it makes of them is not finite.
        SolverTimeLimitError: the time is up.
        UnsupportedLayerError: the module is no such chain, or has no such layer or units.
    """
    part, deadline = part_named(part) if isinstance(part, str) else part, as_deadline(time_limit)
    head, layer, tail = (model if isinstance(model, Chain) else chain_of(model)).split(part.layer)
    _check_units(part, layer)
    check_images(images)
    seen = torch.cat([_run(head, batch, deadline) for batch in torch.split(images, batch_size)]).to(dtype)
    if len(seen) != len(images):
        raise UnsupportedLayerError(f"Before {part.layer!r} the network makes {len(seen)} of {len(images)} images.")
    inputs = patches(layer, seen)
    outputs = _run(Chain(("",), (layer,)).to(dtype), seen, deadline)
    folding = folding_of(head, inputs.shape[2], images)
    inputs = folding.fold(inputs)
    pattern = pattern_of(without_repeats(tail.to(dtype), outputs), outputs)
    check_finite(outputs, *pattern.values.values(), pattern.logits)
    units = torch.arange(outputs.shape[1])[slice(*part.units) if part.units else slice(None)]
    chosen = inputs[:, :, -1:] if part.bias_only else inputs
    return LayerView(part, chosen, outputs, pattern, outputs.shape[1:], units, folding)


def patches(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """What each output of a layer is the product of its weights with, a 1 appended for the bias: (N, P, n + 1).

    Raises:
        UnsupportedLayerError: a linear layer gets several vectors of an image, as those of its tokens.
    """
    if values.dim() != (4 if isinstance(layer, nn.Conv2d) else 2):
        got = f"{type(layer).__name__} gets {tuple(values.shape[1:])} of an image"
        raise UnsupportedLayerError(f"{got}, and can be repaired where that is one vector, or a map.")
    if isinstance(layer, nn.Conv2d):
        rows = nn.functional.unfold(values, **window_of(layer)).transpose(1, 2)
    else:
        rows = values[:, None]
    return torch.cat([rows, torch.ones(*rows.shape[:2], 1, dtype=rows.dtype)], dim=2)


def _run(chain: Chain, values: torch.Tensor, deadline: Deadline) -> torch.Tensor:
    """What layers make of values; a sentence where they do not take them."""
    deadline.check()
    try:
        with torch.no_grad():
            return chain(values)
    except (RuntimeError, ValueError) as error:
        got = f"images of {tuple(values.shape[1:])} in {values.dtype}"
        raise InvalidInputError(f"The network's {' '.join(chain.names)!r} takes no {got}: {error}") from error


def _check_units(part: Part, layer: nn.Module) -> None:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if layer.bias is None:
        raise UnsupportedLayerError(f"Layer {part.layer!r} has no bias; the change of a layer needs one.")
    if part.units and part.units[1] > len(weight):
        raise UnsupportedLayerError(f"Layer {part.layer!r} has {len(weight)} units, so none of {list(part.units)}.")
