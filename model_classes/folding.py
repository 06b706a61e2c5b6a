"""Training in a smaller network: the 6x6 pool of a 1x1 map only repeats, so 256 inputs say what 9,216 do.

With 64x64 images AlexNet's feature map is 1x1x256. The columns of ``classifier.1.weight`` come in 256 groups of 36, one
group a channel, and all columns of a group meet the same number: only their sum matters. The folded network, whose pool
has side 1, learns that sum; unfolding spreads it evenly over the group.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model_classes.alexnet import CHANNELS, POOL, AlexNet

POOLED_WEIGHT = "classifier.1.weight"
INPUT_DROPOUT = 0.1


def folded_alexnet(num_classes: int) -> AlexNet:
    """A fresh folded network, initialised after He et al. (2015, section 2.2) from torch's global generator.

    The first dropout is weaker than AlexNet's: it drops a whole channel where AlexNet drops one of 36 copies.
    """
    model = fresh_alexnet(num_classes, pool=1)
    model.classifier[0] = nn.Dropout(INPUT_DROPOUT)
    return model


def fresh_alexnet(num_classes: int, pool: int = POOL) -> AlexNet:
    """A network of one's own pool, initialised in the same way."""
    with torch.device("meta"):
        model = AlexNet(num_classes, pool=pool)
    model.to_empty(device="cpu")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def fold(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The folded network's weights, from those of an AlexNet: the same logits on 64x64 images."""
    columns = weights[POOLED_WEIGHT]
    return {**weights, POOLED_WEIGHT: columns.reshape(len(columns), CHANNELS, POOL * POOL).sum(dim=2)}


def taken_down(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fresh float32 tensors on the CPU, which nothing changes any more."""
    return {
        name: value.detach().to("cpu", torch.float32, copy=True, memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def unfold(folded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An AlexNet's weights, from those of a folded network: fresh float32 tensors on the CPU."""
    weights = taken_down(folded)
    copies = POOL * POOL
    weights[POOLED_WEIGHT] = (weights[POOLED_WEIGHT] / copies).repeat_interleave(copies, dim=1)
    return weights
