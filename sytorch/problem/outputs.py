"""The outputs of images, affine in the change of one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sytorch.problem.arrays import Matrix


@dataclass(frozen=True)
class AffineOutputs:
    """The outputs of N images as functions of a change ``D`` of the layer's weight and bias: ``logits + inputs @ D.T``.

    Attributes:
        logits: (N, C) float64, the outputs at ``D = 0``.
        inputs: (N, d) float64, what the layer sees, a 1 appended for the bias.
    """

    logits: Matrix
    inputs: Matrix

    def at(self, change: Matrix) -> Matrix:
        """The outputs, (N, C), after the change ``D``, (C, d)."""
        return self.logits + self.inputs @ change.T


def append_one(inputs: NDArray[np.floating]) -> Matrix:
    """Append the constant input that the bias multiplies: (N, n) to (N, n + 1), in float64."""
    return np.hstack([inputs, np.ones((len(inputs), 1))]).astype(np.float64, copy=False)
