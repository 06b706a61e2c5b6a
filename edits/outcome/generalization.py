"""Whether a repair also serves images that are nearly those of the edit set."""

from __future__ import annotations

import torch
from torch import nn

from edits.network.tail import from_layer, run_modules
from edits.network.workbench import Workbench
from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from helpers.cli import DatasetName
from helpers.evaluation import is_right
from model_classes.alexnet import AlexNet, blank_alexnet


def generalization(
    bench: Workbench, state: dict[str, torch.Tensor], edit_set: EditSet, first_layer: str
) -> tuple[float, float]:
    """The accuracy on copies of the edit images, before and after the repair.

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
    right, count, labels = [0, 0], 0, edit_set.labels.numpy()
    for images in copies(edit_set.images, flip=bench.dataset is not DatasetName.DIGITS):
        inputs = channels.behind(first_layer, channels.of_inputs(images)) if of_classifier else images
        for place, modules in enumerate(networks):
            right[place] += int(is_right(run_modules(modules, inputs), labels).sum())
        count += len(labels)
    return right[0] / count, right[1] / count


def _from(model: AlexNet, layer: str) -> list[nn.Module]:
    if not layer.startswith("classifier."):
        return [model]
    return from_layer(model, layer)
