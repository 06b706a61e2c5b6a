"""Inner products of the logits' gradients in a layer's metric: the layer as its images' logits span it."""

from __future__ import annotations

import torch

from sytorch.kronecker_metric import KroneckerMetric


def logit_gram(gradients: torch.Tensor, whitened: torch.Tensor, metric: KroneckerMetric) -> torch.Tensor:
    """Between all logits of all images, (N * C, N * C).

    Args:
        gradients: (N, C, m, P), of the logits in the layer's outputs.
        whitened: (N, P, k), the layer's inputs, whitened.
        metric: of the layer.
    """
    count, classes, units, pixels = gradients.shape
    rows = metric.whitened_gradients(gradients.flatten(0, 1)).view(gradients.shape)
    flat = rows.flatten(2)
    gram = torch.zeros(count, classes, count, classes, dtype=gradients.dtype)
    for image in range(count):
        kernels = whitened @ whitened[image].T
        spread = rows[image].reshape(classes * units, pixels) @ kernels.transpose(1, 2)
        gram[:, :, image] = flat @ spread.view(count, classes, units * pixels).transpose(1, 2)
    return gram.view(count * classes, count * classes)
