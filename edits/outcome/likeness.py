"""Images like those of the edit set: whether a repair also serves their copies, and training images near them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.channels import run_modules
from edits.network.workbench import Workbench, changed_units, last_layer_of
from edits.options import LAST_LAYER, PLANTED_LAYER
from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from helpers.activations import linear_logits
from helpers.cli import DatasetName
from model_classes.alexnet import AlexNet, alexnet_of
from sytorch import chain_of

COUNT = 5
MOST_CHANNELS = 1024  # numbers of an image; of larger inputs the training images' fill gigabytes
LogitsOf = Callable[[torch.Tensor], list[torch.Tensor]]  # of images, before and after


def answers_on_copies(
    bench: Workbench, state: dict[str, torch.Tensor], edit_set: EditSet, first_layer: str
) -> NDArray[np.int64]:
    """The classes that copies of the N edit images are taken for, before and after the repair, (2, N, K).

    Args:
        bench: the network before.
        state: the weights after; what comes before ``first_layer`` is as it was, so it runs once for both.
        edit_set: the images; handwritten digits are shifted only, a mirrored one is another sign.
        first_layer: the first layer that changed.
    """
    of_last_units = first_layer in {PLANTED_LAYER, LAST_LAYER}
    logits = _by_units(bench, state) if of_last_units else _from_layer(bench, state, first_layer)
    answers = [
        [of_network.argmax(dim=1).numpy() for of_network in logits(images)]
        for images in copies(edit_set.images, flip=bench.dataset is not DatasetName.DIGITS)
    ]
    return np.asarray(answers).transpose(1, 2, 0)


def generalization(answers: NDArray[np.int64], edit_set: EditSet) -> tuple[float, float]:
    """The fractions of the copies that are right, before and after."""
    before, after = (answers == edit_set.labels.numpy()[:, None]).mean(axis=(1, 2))
    return float(before), float(after)


def _by_units(bench: Workbench, state: dict[str, torch.Tensor]) -> LogitsOf:
    """Before and after, of networks that differ in units of the last hidden layer: only these run for both."""
    before = bench.model.state_dict()
    units = changed_units(before, state)

    def logits(images: torch.Tensor) -> list[torch.Tensor]:
        channels = bench.training_images.channels.of_inputs(images)
        seen = bench.last_inputs(channels, known=True), bench.last_inputs(channels, state, units, known=True)
        return [linear_logits(given, *last_layer_of(of)) for given, of in zip(seen, (before, state), strict=True)]

    return logits


def _from_layer(bench: Workbench, state: dict[str, torch.Tensor], layer: str) -> LogitsOf:
    """The same of networks that differ from a layer on."""
    networks = [_from(model, layer) for model in (bench.model, alexnet_of(state))]
    channels = bench.training_images.channels

    def logits(images: torch.Tensor) -> list[torch.Tensor]:
        is_linear = layer.startswith("classifier.")
        inputs = channels.behind(layer, channels.of_inputs(images)) if is_linear else images
        return [run_modules(modules, inputs) for modules in networks]

    return logits


def _from(model: AlexNet, layer: str) -> list[nn.Module]:
    """A layer of the classifier and what follows it, without the dropouts; the whole network for a convolution."""
    if not layer.startswith("classifier."):
        return [model]
    _, module, tail = chain_of(model).split(layer)
    return [module, *tail.layers]


def nearest_training_images(bench: Workbench, edit_set: EditSet) -> NDArray[np.int64]:
    """The positions in the training split of the images nearest to each of N edit images, (N, 5), the nearest first.

    Near is the Euclidean distance of what the convolutions make of both. An edit image is not near itself. Where this
    was not computed for the training images yet, or is large, there are none: (N, 0).
    """
    channels = bench.training_images.channels
    if not channels.file(mirrored=False).is_file() or np.prod(channels.shape) > MOST_CHANNELS:
        return np.zeros((len(edit_set), 0), dtype=np.int64)
    near = channels.nearest(edit_set.images).numpy()
    itself = near == edit_set.claimed_indices("train")[:, None]
    return np.take_along_axis(near, itself.argsort(axis=1, kind="stable"), axis=1)[:, :COUNT]
