"""The layers behind a layer of the network: run on what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from helpers.evaluation import predict_logits
from model_classes.alexnet import AlexNet
from model_classes.changes import restorable
from sytorch import chain_of


def from_layer(model: AlexNet, layer: str) -> list[nn.Module]:
    """A layer and what follows it, without the dropouts, which do nothing in evaluation mode."""
    _, module, tail = chain_of(model).split(layer)
    return [module, *tail.layers]


def added(weights: torch.Tensor, change: torch.Tensor, block: int = 64) -> torch.Tensor:
    """Weights, float32, with a change added, none of which rounding makes larger: a bound on it stays kept."""
    parts = zip(torch.split(weights, block), torch.split(change, block), strict=True)  # which stay in the CPU's cache
    return torch.cat([_added(*part) for part in parts])


def _added(weights: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    after = (weights.double() + change.double()).float()
    beyond = (after.double() - weights.double()).abs() > change.double().abs()
    return restorable(weights, torch.where(beyond, torch.nextafter(after, weights), after))


def parameters_of(module: nn.Module, change: torch.Tensor) -> dict[str, torch.Tensor]:
    """A change, (outputs, n + 1), as ones of a layer's parameters ``weight`` and ``bias``."""
    return {"weight": change[:, :-1].reshape(module.get_parameter("weight").shape), "bias": change[:, -1]}


def run_modules(modules: Sequence[nn.Module], values: torch.Tensor, batch_size: int = 500) -> torch.Tensor:
    """Run modules one after the other on values, (N, ...)."""
    with torch.inference_mode():
        parts = [nn.Sequential(*modules)(part) for part in torch.split(values, batch_size)]
    return torch.cat(parts)


def layer_inputs(model: AlexNet, layer: str, images: torch.Tensor) -> torch.Tensor:
    """What a layer gets from float32 images, (N, 3, 64, 64)."""
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        predict_logits(model, images)
    finally:
        handle.remove()
    return torch.cat(seen)
