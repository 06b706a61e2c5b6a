"""The metric of a hidden layer: a Kronecker product of what it sees and of what its outputs do.

``|G^(1/2) D A^(1/2)|`` estimates how far a change D moves the answers for ordinary images (K-FAC; Martens and Grosse,
2015): A is the second moment of the layer's inputs, G that of the gradients of the log-likelihood in its outputs. Both
are of the images that the network gets right, for those are what a repair can break, and both count an image by its
softmax's curvature, for one that the network is sure of does not break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from edits.tail import append_ones, linearised, run_modules, tail_modules
from edits.training_metric import check_some_right
from helpers.activations import read_array, write_array
from model_classes.alexnet import AlexNet
from sytorch.kronecker_metric import likelihood_gradients, softmax_curvature

INPUT_RIDGE = 1e-2
OUTPUT_RIDGE = 1e-1
GRADIENT_IMAGES = 3000

Seen = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class KroneckerMetric:
    """Both factors, each with a ridge.

    Attributes:
        inputs_factor: (d, d) float64, lower Cholesky factor of A, the bias's 1 among the inputs.
        outputs_inverse: (m, m) float32, the inverse of G.
    """

    inputs_factor: NDArray[np.float64]
    outputs_inverse: torch.Tensor

    def solve_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """``A^-1 h`` for rows h, (N, d)."""
        solved = cho_solve((self.inputs_factor, True), inputs.double().numpy().T, check_finite=False)
        return torch.from_numpy(solved.T).float()


def kronecker_metric(model: AlexNet, layer: str, batches: Callable[[], Iterable[Seen]], cache: Path) -> KroneckerMetric:
    """The metric of a layer of the classifier, from the cache where it is there.

    Args:
        model: in evaluation mode.
        layer: one of `edits.tail.HIDDEN_LAYERS`.
        batches: gives what the layer gets from training images in random order, (R, n), and their labels, (R,).
        cache: the folder and beginning of the name of the two cached files.
    """
    paths = [cache.with_name(f"{cache.name}-{part}.npy") for part in ("inputs", "outputs")]
    factor, inverse = (read_array(path) for path in paths)
    if factor is None or inverse is None:
        metric = _factored(model, layer, batches())
        write_array(paths[0], metric.inputs_factor)
        write_array(paths[1], metric.outputs_inverse.numpy())
        return metric
    return KroneckerMetric(np.asarray(factor, dtype=np.float64), torch.from_numpy(np.array(inverse)))


def _factored(model: AlexNet, layer: str, batches: Iterable[Seen]) -> KroneckerMetric:
    linear, modules = model.get_submodule(layer), tail_modules(model, layer)
    first, second = _Moment(), _Moment()
    seen = 0
    for inputs, labels in batches:
        with torch.inference_mode():
            outputs = linear(inputs).clone()
        logits = run_modules(modules, outputs)
        right = logits.argmax(dim=1) == labels
        curvature = softmax_curvature(logits[right])
        first.add(append_ones(inputs[right]) * curvature.sqrt().float()[:, None], curvature)
        if seen < GRADIENT_IMAGES:
            seen += len(curvature)
            logits, gradients = linearised(modules, outputs[right])
            second.add(likelihood_gradients(logits, gradients[..., None]), curvature)
    factor, _ = cho_factor(_with_ridge(first.mean(), INPUT_RIDGE), lower=True)
    return KroneckerMetric(factor, torch.from_numpy(np.linalg.inv(_with_ridge(second.mean(), OUTPUT_RIDGE))).float())


class _Moment:
    """A sum of outer products, in float64, over a sum of weights."""

    def __init__(self) -> None:
        self._total, self._weight = torch.zeros(()), 0.0

    def add(self, rows: torch.Tensor, weights: torch.Tensor) -> None:
        self._total, self._weight = self._total + (rows.T @ rows).double(), self._weight + float(weights.sum())

    def mean(self) -> NDArray[np.float64]:
        check_some_right(self._weight)
        return np.asarray((self._total / self._weight).numpy())


def _with_ridge(moment: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    return np.asarray(moment + ridge * np.trace(moment) / len(moment) * np.eye(len(moment)))
