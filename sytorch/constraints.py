"""Margin constraints: every image's own logit exceeds each other logit by the margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sytorch.arrays import Indices, Matrix, Vector
from sytorch.symbolic import AffineOutputs


@dataclass(frozen=True)
class Margins:
    """The constraints ``(z + D h)[y] >= (z + D h)[j] + margin`` of N images and every class j other than y.

    Attributes:
        outputs: the images' affine outputs.
        labels: (N,) the class y of each image.
        required: (N, C), by how much ``D h`` has to raise ``[y] - [j]``; minus infinity at ``j = y``.
    """

    outputs: AffineOutputs
    labels: Indices
    required: Matrix

    def lead(self, logits: Matrix) -> Matrix:
        """``logits[y] - logits[j]`` for every image and class, (N, C)."""
        own = logits[np.arange(len(logits)), self.labels]
        return np.asarray(own[:, None] - logits)

    def shortfall(self, movement: Matrix) -> Matrix:
        """By how much each constraint is missed, (N, C), when the logits move by ``movement``, (N, C)."""
        return self.required - self.lead(movement)

    def combine(self, multipliers: Matrix) -> Matrix:
        """The weight that each logit has in a sum of constraints with these multipliers, both (N, C)."""
        weights = -multipliers
        weights[np.arange(len(weights)), self.labels] += multipliers.sum(axis=1)
        return weights

    def total(self, multipliers: Matrix) -> float:
        """The sum of what the constraints require, with these multipliers."""
        return float((multipliers * np.where(np.isfinite(self.required), self.required, 0.0)).sum())


def margin(outputs: AffineOutputs, labels: Indices, size: float | Vector) -> Margins:
    """Constrain every output's own logit to lead all others by ``size``, one for all or one for each image, (N,).

    Raises:
        ValueError: the labels do not fit the outputs, or ``size`` is not finite.
    """
    count, classes = outputs.logits.shape
    if labels.shape != (count,) or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise ValueError("one label for each image is needed, each the index of an output")
    if not np.isfinite(size).all():
        raise ValueError("the margin must be finite")
    own = outputs.logits[np.arange(count), labels]
    required = np.reshape(size, (-1, 1)) - (own[:, None] - outputs.logits)
    required[np.arange(count), labels] = -np.inf
    return Margins(outputs, labels, required)
