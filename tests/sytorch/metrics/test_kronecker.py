"""The metric of a layer against its definition, written out by differentiating the network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sytorch.metrics.kronecker import kronecker_metric, softmax_curvature
from sytorch.network.layer_view import linearise
from tests.sytorch.networks import network


@pytest.mark.parametrize("name", ["linear", "convolution", "repeated"])
def test_both_factors_are_the_weighted_second_moments(name: str) -> None:
    model, layer, images = network(name)
    view = linearise(model, layer, images)
    found = kronecker_metric(model, layer, lambda: torch.split(images, 2), 4, ridges=(1e-12, 1e-12))
    doubts = softmax_curvature(view.logits)
    inputs = torch.einsum("n,npk,npl->kl", doubts, view.inputs, view.inputs) / doubts.sum()
    torch.testing.assert_close(found.inputs @ found.inputs.T, inputs, atol=1e-9, rtol=1e-6)
    p = view.logits.softmax(dim=1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    gradients = view.logit_gradients()
    outputs = torch.einsum("ncap,ncd,ndbp->ab", gradients, curvature, gradients) / doubts.sum() / view.inputs.shape[1]
    assert found.outputs is not None
    torch.testing.assert_close(found.outputs @ found.outputs.T, outputs, atol=1e-9, rtol=1e-6)


def test_the_last_layers_gradients_do_not_count() -> None:
    model, layer, images = network("last")
    assert kronecker_metric(model, layer, lambda: [images], 4).outputs is None


def test_a_small_ridge_is_enough_where_inputs_depend_on_each_other() -> None:
    """Three directions in fifty inputs: sums of float32 are wrong by more than such a ridge, and had no factor."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 30), nn.ReLU(), nn.Linear(30, 3)).eval()
    images = torch.randn(5000, 3) @ torch.randn(3, 50) + 30.0
    found = kronecker_metric(model, "0", lambda: torch.split(images, 1000), 200, ridges=(5e-7, 0.1))
    assert bool(torch.isfinite(found.inputs).all())
