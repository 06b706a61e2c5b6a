"""Networks whose softmax has no curvature left: what is right is right, and all of it counts alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import run_repair
from edits.network.training_metric import MetricSample, per_class_metric, training_metric
from helpers.errors import UsageError
from sytorch.metrics.kronecker import kronecker_metric
from sytorch.network.layer_view import linearise
from tests.sytorch.networks import network

SURE = 1e5
INPUTS, CLASSES = 6, 4


def scene(scale: float) -> tuple[nn.Linear, MetricSample, np.ndarray]:
    """A layer, images of which it gets half right, and the rows of these with a 1 appended."""
    rng = np.random.default_rng(3)
    layer = nn.Linear(INPUTS, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(scale * rng.normal(size=(CLASSES, INPUTS))))
        layer.bias.zero_()
    inputs = rng.normal(size=(60, INPUTS)).astype(np.float32)
    labels = layer(torch.from_numpy(inputs)).argmax(dim=1).numpy()
    labels[30:] = (labels[30:] + 1) % CLASSES
    rows = np.hstack([inputs[:30], np.ones((30, 1))])
    return layer, MetricSample(inputs, labels, np.ones(60)), rows


def test_all_that_is_right_counts_alike(capsys: pytest.CaptureFixture[str]) -> None:
    layer, sample, rows = scene(SURE)
    moment = rows.T @ rows / 30
    definite = moment + 1e-2 * np.trace(moment) / (INPUTS + 1) * np.eye(INPUTS + 1)
    for metric in (
        training_metric(layer, lambda: [sample], 1e-2, None),
        *per_class_metric(layer, lambda: [sample], 1e-2, None).classes,
    ):
        np.testing.assert_allclose(metric.solve(definite), np.eye(INPUTS + 1), atol=1e-4)
    assert capsys.readouterr().err.count("count alike") == 1


def test_a_network_with_doubts_is_weighed_by_them(capsys: pytest.CaptureFixture[str]) -> None:
    layer, sample, rows = scene(1.0)
    metric = training_metric(layer, lambda: [sample], 1e-2, None)
    plain = rows.T @ rows / 30
    assert not np.allclose(metric.factor @ metric.factor.T, plain, rtol=0.1)
    assert capsys.readouterr().err == ""


def test_a_class_that_nobody_doubts_has_a_metric_too() -> None:
    layer, sample, _ = scene(1.0)
    with torch.no_grad():
        layer.bias[0] = -1e6
    right = layer(torch.from_numpy(sample.inputs)).argmax(dim=1).numpy()
    alone, *others = per_class_metric(
        layer, lambda: [MetricSample(sample.inputs, right, sample.shares)], 1e-2, None
    ).classes
    sizes = [float(np.linalg.norm(np.tril(metric.factor))) for metric in (alone, *others)]
    assert 0 < sizes[0] < 0.05 * min(sizes[1:])


def test_only_a_network_that_gets_nothing_right_is_told_so() -> None:
    layer, sample, _ = scene(SURE)
    wrong = MetricSample(sample.inputs, (sample.labels + 2) % CLASSES, sample.shares)
    wrong.labels[30:] = (sample.labels[30:] + 1) % CLASSES
    with pytest.raises(UsageError, match="no training image right"):
        training_metric(layer, lambda: [wrong], 1e-2, None)


@pytest.mark.parametrize("name", ["linear", "convolution", "repeated"])
def test_the_metric_of_a_hidden_layer(name: str) -> None:
    model, layer, images = network(name)
    last = model[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(1e9)
        last.bias.mul_(1e9)
    found = kronecker_metric(model, layer, lambda: torch.split(images, 2), 4, ridges=(1e-12, 1e-12))
    inputs = linearise(model, layer, images).inputs
    expected = torch.einsum("npk,npl->kl", inputs, inputs) / len(images)
    torch.testing.assert_close(found.inputs @ found.inputs.T, expected, atol=1e-9, rtol=1e-6)
    assert found.outputs is None


@pytest.mark.slow
def test_a_network_that_is_sure_of_everything_is_repaired(digits_baseline: Path, warm_workplace: Path) -> None:
    state = torch.load(digits_baseline, weights_only=True)
    for part in ("weight", "bias"):
        state[f"classifier.6.{part}"] *= SURE
    torch.save(state, "sure.pth")
    words = ["misclassified", "--dataset", "digits", "--weights", "sure.pth", "--output", "r.pth", "--json"]
    options = ["--param-bound", "1e6", "--prepare", "none", "--metric-images", "300"]
    result = CliRunner().invoke(run_repair.app, [*words, *options])
    assert result.exit_code == 0, result.output
    assert "count alike" in result.stderr
    report = json.loads(result.stdout)
    assert report["status"] == "repaired" and report["edit_accuracy_after"] == 1.0
