"""Margin constraints: every image's own logit exceeds each other logit by the margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from sytorch.problem.arrays import Indices, Matrix
from sytorch.problem.checks import check_outputs, checked_labels, checked_sizes
from sytorch.problem.outputs import AffineOutputs


@dataclass(frozen=True)
class Margins:
    """The constraints ``(z + D h)[y] >= (z + D h)[j] + margin`` of N images and every class j other than y.

    Attributes:
        outputs: the images' affine outputs.
        labels: (N,) the class y of each image.
        required: (N, C), by how much ``D h`` has to raise ``[y] - [j]``; minus infinity where nothing is required, as
            at ``j = y``.
    """

    outputs: AffineOutputs
    labels: Indices
    required: Matrix

    def at(self, logits: Matrix) -> Matrix:
        """``logits[y] - logits[j]`` for every image and class, (N, C)."""
        own = logits[np.arange(len(logits)), self.labels]
        return np.asarray(own[:, None] - logits)

    def shortfall(self, movement: Matrix) -> Matrix:
        """By how much each constraint is missed, (N, C), when the logits move by ``movement``, (N, C)."""
        return self.required - self.at(movement)

    def combine(self, multipliers: Matrix) -> Matrix:
        """The weight that each logit has in a sum of constraints with these multipliers, both (N, C)."""
        counted = np.where(np.isfinite(self.required), multipliers, 0.0)
        weights = -counted
        weights[np.arange(len(weights)), self.labels] += counted.sum(axis=1)
        return weights

    def total(self, multipliers: Matrix, magnitudes: bool = False) -> float:
        """The sum of what the constraints require, or of the magnitudes of that, with these multipliers."""
        required = np.where(np.isfinite(self.required), self.required, 0.0)
        return float((multipliers * (np.abs(required) if magnitudes else required)).sum())


def margin(outputs: AffineOutputs, labels: ArrayLike | torch.Tensor, size: ArrayLike) -> Margins:
    """Constrain every output's own logit to exceed all others by a margin.

    Args:
        outputs: of N images.
        labels: whole numbers, (N,), each the index of an output.
        size: by how much, one for all or one for each image, (N,); minus infinity requires nothing.

    Raises:
        InvalidInputError: the outputs are not finite, or labels or sizes do not fit them.
    """
    check_outputs(outputs)
    count, classes = outputs.logits.shape
    own_class = checked_labels(labels, count, classes)
    own = outputs.logits[np.arange(count), own_class]
    required = checked_sizes(size, count)[:, None] - (own[:, None] - outputs.logits)
    required[np.arange(count), own_class] = -np.inf
    return Margins(outputs, own_class, required)
