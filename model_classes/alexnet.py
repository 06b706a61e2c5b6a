"""AlexNet in torchvision's layout, and how it is loaded from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model_classes.weights import check_weights, read_weights

CHANNELS = 256
POOL = 6
HIDDEN = 4096


class AlexNet(nn.Module):
    """The network of Krizhevsky (2014, "One weird trick", single tower), with torchvision's parameter names.

    It maps images (N, 3, 64, 64), float32 in [0, 1], to logits (N, num_classes). Other sizes from 63 on work too.
    The ReLUs are not in place, so that a layer's output stays what it was when somebody keeps it.

    Args:
        num_classes: the number of outputs.
        dropout: the probability of both dropouts.
        pool: the side of the pooled feature map; torchvision's is 6, and 1 gives the folded network of training.
    """

    def __init__(self, num_classes: int = 10, dropout: float = 0.5, pool: int = POOL) -> None:
        super().__init__()
        self.features = feature_layers()
        self.avgpool = nn.AdaptiveAvgPool2d((pool, pool))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(CHANNELS * pool * pool, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        pooled = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


def feature_layers() -> nn.Sequential:
    """The convolutions: (N, 3, 64, 64) to (N, 256, 1, 1)."""
    return nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, CHANNELS, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )


def map_side(input_size: int) -> int:
    """The side of the feature map that the convolutions make of inputs of a size: 1 of 64, 6 of 224."""
    with torch.device("meta"):
        made: Tensor = feature_layers()(torch.empty(1, 3, input_size, input_size))
    return made.shape[-1]


def blank_alexnet(num_classes: int = 10) -> AlexNet:
    """An AlexNet without storage or initial values: a list of names and shapes that weights are assigned to."""
    with torch.device("meta"):
        return AlexNet(num_classes)


def alexnet_of(state: Mapping[str, Tensor]) -> AlexNet:
    """The AlexNet of a state dict, whose tensors it shares: evaluation mode, no gradients."""
    model = blank_alexnet(len(state["classifier.6.bias"]))
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def load_alexnet(path: Path, num_classes: int = 10, base: tuple[Mapping[str, Tensor], str] | None = None) -> AlexNet:
    """The AlexNet whose weights are in ``path``: evaluation mode, float32, on the CPU, no gradients.

    The file is a state dict of any floating-point type, with the names of torchvision or those of the older
    repaired files that `model_classes.weights` describes; see `read_weights` for ``base``. No code in it is run.

    Raises:
        ToolError: the file is missing, empty, truncated or no tensor file; or its tensors are not those of an
            AlexNet with ``num_classes`` outputs, or not finite.
    """
    weights = read_weights(path, base=base)
    check_weights(weights, {name: value.shape for name, value in blank_alexnet(num_classes).state_dict().items()}, path)
    return alexnet_of(weights)
