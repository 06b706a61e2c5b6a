"""The layers behind a hidden layer of the classifier: run, and linearised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from model_classes.alexnet import AlexNet

HIDDEN_LAYERS = ("classifier.4", "classifier.1")


def tail_modules(model: AlexNet, layer: str) -> list[nn.Module]:
    """What follows a layer of the classifier, without the dropouts, which do nothing in evaluation mode."""
    behind = list(model.classifier)[int(layer.removeprefix("classifier.")) + 1 :]
    return [module for module in behind if not isinstance(module, nn.Dropout)]


def append_ones(inputs: torch.Tensor) -> torch.Tensor:
    """Inputs (N, n) with the bias's 1 behind them, (N, n + 1)."""
    return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)


def run_modules(modules: Sequence[nn.Module], values: torch.Tensor, batch_size: int = 500) -> torch.Tensor:
    """Run modules one after the other on values, (N, m)."""
    with torch.inference_mode():
        parts = [nn.Sequential(*modules)(part) for part in torch.split(values, batch_size)]
    return torch.cat(parts).clone()


def linearised(modules: Sequence[nn.Module], values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits, (N, C), and their gradients in the values, (N, C, m), with every image's activation pattern held."""
    signs = []
    with torch.inference_mode():
        for module in modules:
            if isinstance(module, nn.ReLU):
                signs.append(values > 0)
            values = module(values)
        gradients = torch.eye(values.shape[1], dtype=values.dtype).expand(len(values), -1, -1)
        for module in reversed(modules):
            gradients = gradients @ module.weight if isinstance(module, nn.Linear) else gradients * signs.pop()[:, None]
    return values.clone(), gradients.clone()
