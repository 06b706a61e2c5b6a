"""Images like those of the edit set: whether a repair also serves their copies, and training images near them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.channels import run_modules
from edits.network.workbench import Workbench
from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from helpers.cli import DatasetName
from model_classes.alexnet import AlexNet, alexnet_of
from sytorch import chain_of

COUNT = 5
AT_ONCE = 256  # edit images
MOST_CHANNELS = 1024  # numbers of an image; of larger inputs the training images' fill gigabytes


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
    networks, channels = (bench.model, alexnet_of(state)), bench.training_images.channels
    answers = []
    for images in copies(edit_set.images, flip=bench.dataset is not DatasetName.DIGITS):
        if first_layer.startswith("classifier."):
            logits = _both_from(first_layer, networks, channels.behind(first_layer, channels.of_inputs(images)))
        else:
            logits = [run_modules([network], images) for network in networks]
        answers.append([part.argmax(dim=1).numpy() for part in logits])
    return np.asarray(answers).transpose(1, 2, 0)


def generalization(answers: NDArray[np.int64], edit_set: EditSet) -> tuple[float, float]:
    """The fractions of the copies that are right, before and after."""
    before, after = (answers == edit_set.labels.numpy()[:, None]).mean(axis=(1, 2))
    return float(before), float(after)


def _both_from(layer: str, networks: Sequence[AlexNet], inputs: torch.Tensor) -> list[torch.Tensor]:
    """The logits of two networks, (N, C), by what a layer gets, (N, n); units that are alike in both run once."""
    (_, first, tail), (_, second, other_tail) = (chain_of(network).split(layer) for network in networks)
    before, (old, old_bias), (weight, bias) = run_modules([first], inputs), first.parameters(), second.parameters()
    units = torch.nonzero(old.ne(weight).any(dim=1) | old_bias.ne(bias)).flatten()
    after = before.index_copy(1, units, nn.functional.linear(inputs, weight[units], bias[units]))
    return [run_modules(tail.layers, before), run_modules(other_tail.layers, after)]


def nearest_training_images(bench: Workbench, edit_set: EditSet, seen: torch.Tensor) -> NDArray[np.int64]:
    """The positions in the training split of the images nearest to each of N edit images, (N, 5), the nearest first.

    Near is the Euclidean distance of what the convolutions make of both. An edit image is not near itself. Where this
    was not computed for the training images yet, or is large, there are none: (N, 0). Of the edit images it is
    ``seen``, (N, k).
    """
    channels = bench.training_images.channels
    if not channels.file(mirrored=False).is_file() or np.prod(channels.shape) > MOST_CHANNELS:
        return np.zeros((len(edit_set), 0), dtype=np.int64)
    there = torch.from_numpy(channels.all(mirrored=False))
    sizes, itself = there.square().sum(dim=1), edit_set.claimed_indices("train")
    found = []
    for start in range(0, len(edit_set), AT_ONCE):
        part = seen[start : start + AT_ONCE]
        distances = sizes - 2 * part @ there.T
        own = torch.from_numpy(itself[start : start + AT_ONCE])
        rows = torch.nonzero((own >= 0) & (own < len(there))).flatten()
        distances[rows, own[rows]] = torch.inf
        found.append(distances.topk(min(COUNT, len(there)), dim=1, largest=False).indices)
    return torch.cat(found).numpy()
