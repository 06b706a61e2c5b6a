"""The part of the network that is trained, and the training images as that part sees them.

It is trained folded (`model_classes.folding`): the 36 copies of a channel are one input, which changes no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import nn

from edits.network.channels import convolved
from edits.network.training_images import SAMPLE_SEED
from edits.network.workbench import Workbench
from edits.options import LAST_LAYER
from editset_helpers.edit_set import choose
from helpers.errors import UsageError
from helpers.evaluation import predict_logits
from model_classes.alexnet import AlexNet
from model_classes.folding import fold, unfold
from sytorch.problem.arrays import Indices

SAMPLE = 10_000


class Part(StrEnum):
    """What is trained."""

    LAST_LAYER = "last layer"
    CLASSIFIER = "classifier"
    WHOLE = "whole network"


@dataclass(frozen=True, eq=False)
class Pool:
    """Training images.

    Attributes:
        inputs: what the trained part gets from those at some positions.
        labels: int64, (R,).
    """

    inputs: Callable[[torch.Tensor], torch.Tensor]
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Trainable:
    """A copy of a part of a network, to be trained.

    Attributes:
        network: maps the part's inputs to logits; without dropout, so that training and evaluation are the same.
        inputs_of: what the part gets from float32 images, (N, 3, 64, 64).
        pool: the training images.
        folded: the folded network that the part belongs to.
        base: the weights of the whole network before.
    """

    network: nn.Module
    inputs_of: Callable[[torch.Tensor], torch.Tensor]
    pool: Pool
    folded: AlexNet
    base: dict[str, torch.Tensor]

    def whole_state(self) -> dict[str, torch.Tensor]:
        """The whole network's weights now: those before, plus what training has added."""
        before, now = fold(self.base), self.folded.state_dict()
        added = unfold({name: now[name] - before[name] for name in now})
        return {name: self.base[name] + added[name] for name in added}


def trainable(bench: Workbench, part: Part) -> Trainable:
    """Copy a part of the workbench's network; raises `UsageError` where its feature maps have more than one pixel."""
    if bench.training_images.channels.shape[1:] != (1, 1):
        raise UsageError("Fine-tuning trains a folded network, which is that of 64 x 64 inputs alone.")
    base = bench.model.state_dict()
    with torch.device("meta"):
        folded = AlexNet(len(bench.test.class_names), pool=1)
    folded.load_state_dict({name: value.clone() for name, value in fold(base).items()}, assign=True)
    folded.requires_grad_(True)
    layers = [layer for layer in folded.classifier if not isinstance(layer, nn.Dropout)]
    if part is Part.LAST_LAYER:
        last = nn.Sequential(layers[-1])
        return Trainable(
            last, lambda images: layer_inputs(bench.model, LAST_LAYER, images), _sample(bench), folded, base
        )
    if part is Part.CLASSIFIER:
        classifier = nn.Sequential(*layers)
        return Trainable(classifier, lambda images: channels_of(bench, images), _channels(bench), folded, base)
    everything = nn.Sequential(folded.features, nn.Flatten(), *layers)
    return Trainable(everything, lambda images: images, _images(bench), folded, base)


def _sample(bench: Workbench) -> Pool:
    positions = sampled(bench)
    inputs = torch.from_numpy(bench.training_images.seen_at(LAST_LAYER, positions))
    return Pool(lambda chosen: inputs[chosen], torch.from_numpy(bench.training.labels[positions]))


def _channels(bench: Workbench) -> Pool:
    channels = bench.training_images.channels.all(mirrored=False)
    labels = torch.from_numpy(np.array(bench.training.labels))
    return Pool(lambda chosen: torch.from_numpy(channels[chosen.numpy()]), labels)


def _images(bench: Workbench) -> Pool:
    labels = torch.from_numpy(np.array(bench.training.labels))
    return Pool(lambda chosen: bench.training.inputs(chosen.numpy()), labels)


def sampled(bench: Workbench) -> Indices:
    """The positions of a fixed sample of up to `SAMPLE` training images."""
    return choose(len(bench.training), SAMPLE, SAMPLE_SEED)


def channels_of(bench: Workbench, images: torch.Tensor) -> torch.Tensor:
    """The channels, (N, 256), that the convolutions make of float32 images, (N, 3, 64, 64).

    The classifier gets each of them 36 times: see `model_classes.folding`.
    """
    return convolved(bench.model, images).flatten(1)


def layer_inputs(model: AlexNet, layer: str, images: torch.Tensor) -> torch.Tensor:
    """What a layer gets from float32 images, (N, 3, 64, 64)."""
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        predict_logits(model, images)
    finally:
        handle.remove()
    return torch.cat(seen)
