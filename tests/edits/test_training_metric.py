"""The last layer's metric against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edits.network.training_metric import MetricSample, no_products, per_class_metric, with_weighted_products
from sytorch.metrics.kronecker import softmax_curvature

INPUTS, CLASSES = 4, 3


def test_the_weighted_products_are_those_of_the_inputs_with_a_one() -> None:
    rng = np.random.default_rng(8)
    inputs, weights = rng.normal(size=(2500, 3)).astype(np.float32), rng.uniform(size=2500)
    rows = np.hstack([inputs, np.ones((2500, 1))])
    total = with_weighted_products(no_products(3), inputs, weights, 1000)
    twice = with_weighted_products(total.copy(order="F"), inputs, weights, 1000)
    expected = np.tril((rows.T * weights) @ rows)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(twice, 2 * expected, rtol=1e-5)


def test_the_metric_of_each_class_weighs_images_by_the_softmaxs_curvature_in_its_logit() -> None:
    """Those that are right; in parts, as one; the ridge is of each moment's own mean diagonal."""
    rng = np.random.default_rng(9)
    layer = nn.Linear(INPUTS, CLASSES)
    inputs, labels = rng.normal(size=(40, INPUTS)).astype(np.float32), rng.integers(0, CLASSES, size=40)
    shares = rng.uniform(1.0, 3.0, size=40)
    parts = [MetricSample(inputs[part], labels[part], shares[part]) for part in (slice(0, 15), slice(15, 40))]
    found = per_class_metric(layer, lambda: parts, 1e-2, None)

    chances = layer(torch.from_numpy(inputs)).double().softmax(dim=1).detach().numpy()
    weights = chances * (1 - chances) * (shares * (chances.argmax(axis=1) == labels))[:, None]
    rows = np.hstack([inputs, np.ones((40, 1))])
    assert len(found.classes) == CLASSES
    for metric, own in zip(found.classes, weights.T, strict=True):
        moment = (rows.T * own) @ rows / weights.sum(axis=0).mean()
        definite = moment + 1e-2 * np.trace(moment) / (INPUTS + 1) * np.eye(INPUTS + 1)
        np.testing.assert_allclose(metric.solve(definite), np.eye(INPUTS + 1), atol=1e-3)


def test_the_curvature_is_the_trace_of_the_softmaxs_hessian() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(9)).double()
    for row, value in zip(logits, softmax_curvature(logits), strict=True):
        hessian = torch.func.hessian(lambda z: z.logsumexp(0))(row)
        assert value == pytest.approx(float(torch.trace(hessian)))
