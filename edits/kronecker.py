"""The metric of a hidden layer: a Kronecker product of what it sees and of what its outputs do.

``|G^(1/2) D A^(1/2)|`` estimates how far a change D moves the answers for ordinary images (K-FAC; Martens and Grosse,
2015): A is the second moment of the layer's inputs, G that of the gradients of the log-likelihood in its outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from edits.tail import linearised, tail_modules
from edits.training_metric import second_moment
from helpers.activations import read_array, write_array
from model_classes.alexnet import AlexNet
from sytorch.kronecker_metric import likelihood_gradients, softmax_curvature

INPUT_RIDGE = 1e-2
OUTPUT_RIDGE = 1e-1
GRADIENT_IMAGES = 3000


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


def kronecker_metric(model: AlexNet, layer: str, inputs: Callable[[], torch.Tensor], cache: Path) -> KroneckerMetric:
    """The metric of a layer of the classifier, from the cache where it is there.

    Args:
        model: in evaluation mode.
        layer: one of `edits.tail.HIDDEN_LAYERS`.
        inputs: gives the layer's inputs for training images, (R, n).
        cache: the folder and beginning of the name of the two cached files.
    """
    paths = [cache.with_name(f"{cache.name}-{part}.npy") for part in ("inputs", "outputs")]
    factor, inverse = (read_array(path) for path in paths)
    if factor is None or inverse is None:
        metric = _factored(model, layer, inputs())
        write_array(paths[0], metric.inputs_factor)
        write_array(paths[1], metric.outputs_inverse.numpy())
        return metric
    return KroneckerMetric(np.asarray(factor, dtype=np.float64), torch.from_numpy(np.array(inverse)))


def _factored(model: AlexNet, layer: str, inputs: torch.Tensor) -> KroneckerMetric:
    linear, modules = model.get_submodule(layer), tail_modules(model, layer)
    with torch.inference_mode():
        outputs = linear(inputs).clone()
    moment = torch.zeros(outputs.shape[1], outputs.shape[1])
    doubts = np.empty(len(inputs))
    for start in range(0, len(inputs), 500):
        logits, gradients = linearised(modules, outputs[start : start + 500])
        doubts[start : start + 500] = softmax_curvature(logits).numpy()
        if start < GRADIENT_IMAGES:
            rows = likelihood_gradients(logits, gradients[..., None])
            moment += rows.T @ rows
    sampled = doubts[:GRADIENT_IMAGES].sum()
    outputs_moment = _with_ridge(moment.double().numpy() / sampled, OUTPUT_RIDGE)
    factor, _ = cho_factor(_with_ridge(second_moment(inputs.numpy(), doubts), INPUT_RIDGE), lower=True)
    return KroneckerMetric(factor, torch.from_numpy(np.linalg.inv(outputs_moment)).float())


def _with_ridge(moment: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    return np.asarray(moment + ridge * np.trace(moment) / len(moment) * np.eye(len(moment)))
