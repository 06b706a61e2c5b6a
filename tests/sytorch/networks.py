"""Small random networks, one for each kind of layer that can be repaired or stands behind one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sytorch.network.chain import Permute

NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], str, tuple[int, ...]]] = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
        "0",
        (5,),
    ),
    "last": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), "2", (5,)),
    "normalised": (
        lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)),
        "0",
        (5,),
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(12, 3)
        ),
        "0",
        (2, 6, 6),
    ),
    "pooled": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2),
            nn.MaxPool2d(3, 2, padding=1),
            nn.BatchNorm2d(2),
            nn.Conv2d(2, 3, 2, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
        "0",
        (1, 7, 7),
    ),
    "moved": (
        lambda: nn.Sequential(
            nn.Linear(5, 12),
            nn.ReLU(),
            nn.Unflatten(1, (3, 2, 2)),
            nn.ZeroPad2d((1, 0, 0, 1)),
            nn.Conv2d(3, 2, 2),
            nn.ReLU(),
            Permute((0, 2, 3, 1)),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        "0",
        (5,),
    ),
    "repeated": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        ),
        "5",
        (2, 5, 5),
    ),
}
NETWORKS["before the copies"] = (NETWORKS["repeated"][0], "0", (2, 5, 5))
PARTS = {
    "some units": (NETWORKS["linear"][0], "0[1:5]", (5,)),
    "bias": (NETWORKS["linear"][0], "0.bias", (5,)),
    "bias of some units": (NETWORKS["linear"][0], "2[0:3].bias", (5,)),
    "units of the last": (NETWORKS["last"][0], "2[1:3]", (5,)),
    "channels": (NETWORKS["convolution"][0], "0[1:3]", (2, 6, 6)),
    "bias of channels": (NETWORKS["pooled"][0], "0.bias", (1, 7, 7)),
}


def network(name: str, seed: int = 0) -> tuple[nn.Sequential, str, torch.Tensor]:
    """A float64 network in evaluation mode, the name of a layer or its part, and four images."""
    build, layer, shape = (NETWORKS | PARTS)[name]
    torch.manual_seed(seed)
    model = build().double().eval().requires_grad_(False)
    for module in model:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model, layer, torch.randn(4, *shape, dtype=torch.float64)


def parameters_after(module: nn.Module, change: torch.Tensor) -> dict[str, torch.Tensor]:
    """A layer's weight and bias after a change, flat, of ``(outputs, n + 1)`` numbers, the bias's last in each row."""
    assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
    rows = change.view(len(module.weight), -1)
    return {"weight": module.weight + rows[:, :-1].view(module.weight.shape), "bias": module.bias + rows[:, -1]}
