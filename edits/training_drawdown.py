"""What a repair costs on training images: the drawdown by which one may choose, for test images must not decide."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edits.options import AUTO_PREPARE
from edits.tail import from_layer, run_modules
from edits.workbench import Workbench
from helpers.errors import UsageError
from helpers.evaluation import is_right, predict_logits
from model_classes.alexnet import AlexNet, blank_alexnet


@dataclass(frozen=True, eq=False)
class TrainingDrawdown:
    """The accuracy that repairs of one network lose on a fixed sample of up to `JUDGES` training images.

    Attributes:
        bench: the network.
        keep: of how many training images some repair sees to it that they stay right; none of these judges.
    """

    bench: Workbench
    keep: int = 0

    @functools.cached_property
    def judges(self) -> NDArray[np.int64]:
        """The positions of the sample; raises `UsageError` where the keep set leaves none."""
        judges = self.bench.training_images.judges(self.keep)
        if not len(judges):
            raise UsageError(
                f"--layer auto judges by training images that --keep {self.keep} leaves, and it leaves none of "
                f"{len(self.bench.training)}: keep fewer."
            )
        return judges

    @functools.cached_property
    def before(self) -> float:
        """The accuracy of the network as it is, a fraction."""
        return self._accuracy(self.bench.model, AUTO_PREPARE)

    def points(self, state: dict[str, torch.Tensor], first_layer: str) -> float:
        """What weights lose, in percentage points; what comes before ``first_layer`` is as it was."""
        model = blank_alexnet(len(self.bench.test.class_names))
        model.load_state_dict(state, assign=True)
        with self.bench.clock.phase("training drawdown"):
            return 100 * (self.before - self._accuracy(model.eval(), first_layer))

    def _accuracy(self, model: AlexNet, first_layer: str) -> float:
        seen, split = self.bench.training_images, self.bench.training
        if seen.is_linear(first_layer):
            inputs = torch.from_numpy(seen.seen_at(first_layer, self.judges))
            logits = run_modules(from_layer(model, first_layer), inputs)
        else:
            logits = predict_logits(model, split.images[self.judges], progress="training images")
        return float(is_right(logits, split.labels[self.judges]).mean())
