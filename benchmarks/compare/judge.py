"""One judge for all methods: the weights are run through torch in float32, whole, on every image."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edits.network.applying import changes_of
from edits.network.workbench import Workbench
from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from editset_helpers.location import locate
from helpers.cli import DatasetName
from helpers.evaluation import is_right, margins, predict_logits
from model_classes.alexnet import AlexNet, alexnet_of


@dataclass(frozen=True)
class Verdict:
    """What weights are worth.

    Attributes:
        edit_accuracy: of the edit images, in per cent.
        smallest_margin: among the edit images; negative where one is wrong.
        drawdown: accuracy lost on the test images outside the edit set, in percentage points.
        generalization: of copies of the edit images, mirrored and shifted, in per cent.
        test_accuracy: of all test images, in per cent.
        largest_change: of any weight.
    """

    edit_accuracy: float
    smallest_margin: float
    drawdown: float
    generalization: float
    test_accuracy: float
    largest_change: float


def judge(bench: Workbench, state: dict[str, torch.Tensor], edit_set: EditSet) -> Verdict:
    """Run weights on edit images, test images and copies; the network before is the one of the workbench.

    Raises:
        ToolError: the weights answer with NaN or infinity.
    """
    model = alexnet_of(state)
    edited = predict_logits(model, edit_set.images)
    tested = predict_logits(model, bench.test), bench.test_logits
    right, before = (is_right(logits, bench.test.labels) for logits in tested)
    outside = locate(edit_set, bench.test).outside
    assert outside is not None  # the benchmark's edit sets know which test images they hold
    return Verdict(
        edit_accuracy=100 * float(is_right(edited, edit_set.labels.numpy()).mean()),
        smallest_margin=float(margins(edited, edit_set.labels).min()),
        drawdown=100 * float(before[outside].mean() - right[outside].mean()),
        generalization=_generalization(model, bench, edit_set),
        test_accuracy=100 * float(right.mean()),
        largest_change=_largest_change(bench.model, state),
    )


def _generalization(model: AlexNet, bench: Workbench, edit_set: EditSet) -> float:
    labels = edit_set.labels.numpy()
    varied = copies(edit_set.images, flip=bench.dataset is not DatasetName.DIGITS)
    shares = [float(is_right(predict_logits(model, images), labels).mean()) for images in varied]
    return 100 * sum(shares) / len(shares)


def _largest_change(model: AlexNet, state: dict[str, torch.Tensor]) -> float:
    return max((float(change.abs().max()) for change in changes_of(model, state).values()), default=0.0)
