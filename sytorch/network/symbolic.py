"""A torch module with one symbolic layer: its outputs are affine in the change of that layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sytorch.problem.arrays import Matrix
from sytorch.problem.checks import check_images, check_model
from sytorch.problem.errors import UnsupportedLayerError
from sytorch.problem.outputs import AffineOutputs, append_one


@dataclass(frozen=True)
class SymbolicLayer:
    """A module of which one layer is symbolic. Call it with images to get `AffineOutputs`."""

    model: nn.Module
    layer: str

    def __call__(self, images: torch.Tensor, batch_size: int = 500) -> AffineOutputs:
        """Run images, (N, ...), of the model's floating-point type through the model, which is left as it was.

        Raises:
            InvalidInputError: they are no finite images, or the model is in training mode.
        """
        check_images(images)
        check_model(self.model)
        parts = [_run(self.model, self.layer, batch) for batch in torch.split(images, batch_size)]
        inputs = np.concatenate([seen for seen, _ in parts])
        return AffineOutputs(logits=np.concatenate([out for _, out in parts]), inputs=append_one(inputs))


def symbolic(model: nn.Module, layer: str) -> SymbolicLayer:
    """Make one layer of a module symbolic.

    Args:
        model: in evaluation mode; it is read, never changed.
        layer: the name of the module's last layer, a `torch.nn.Linear`.

    Raises:
        InvalidInputError: the model is in training mode.
        UnsupportedLayerError: ``layer`` is another one, the message names the one that can be used; or it has no bias,
            and a change has one.
    """
    possible = symbolic_layers(model)
    if layer not in possible:
        raise UnsupportedLayerError(
            f"Layer {layer!r} cannot be repaired; choose from: {', '.join(possible) or 'none'}."
        )
    if model.get_submodule(layer).bias is None:
        raise UnsupportedLayerError(f"Layer {layer!r} has no bias; give it one of zeros, for a change has one.")
    check_model(model)
    return SymbolicLayer(model, layer)


def symbolic_layers(model: nn.Module) -> tuple[str, ...]:
    """The layers that `symbolic` accepts: the last module, where it is linear."""
    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    name, last = leaves[-1]
    return (name,) if isinstance(last, nn.Linear) else ()


def _run(model: nn.Module, layer: str, batch: torch.Tensor) -> tuple[Matrix, Matrix]:
    """The layer's inputs and the module's outputs; refuses a layer that is not what the outputs come from."""
    seen: list[torch.Tensor] = []
    made: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.append(inputs[0])
        made.append(output)

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.inference_mode():
            outputs = model(batch)
    finally:
        handle.remove()
    if len(made) != 1 or made[0] is not outputs:
        raise UnsupportedLayerError(f"Layer {layer!r} does not give the module's outputs directly.")
    return seen[0].double().numpy(), outputs.double().numpy()
