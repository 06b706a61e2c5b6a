"""Whether a repair also serves images that are nearly those of the edit set."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.tail import from_layer, run_modules
from edits.network.workbench import Workbench
from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from helpers.cli import DatasetName
from model_classes.alexnet import AlexNet, blank_alexnet


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
    repaired = blank_alexnet(len(bench.test.class_names))
    repaired.load_state_dict(state, assign=True)
    networks = [_from(model, first_layer) for model in (bench.model, repaired.eval())]
    of_classifier, channels = first_layer.startswith("classifier."), bench.training_images.channels
    answers = []
    for images in copies(edit_set.images, flip=bench.dataset is not DatasetName.DIGITS):
        inputs = channels.behind(first_layer, channels.of_inputs(images)) if of_classifier else images
        answers.append([run_modules(modules, inputs).argmax(dim=1).numpy() for modules in networks])
    return np.asarray(answers).transpose(1, 2, 0)


def generalization(answers: NDArray[np.int64], edit_set: EditSet) -> tuple[float, float]:
    """The fractions of the copies that are right, before and after."""
    before, after = (answers == edit_set.labels.numpy()[:, None]).mean(axis=(1, 2))
    return float(before), float(after)


def _from(model: AlexNet, layer: str) -> list[nn.Module]:
    if not layer.startswith("classifier."):
        return [model]
    return from_layer(model, layer)
