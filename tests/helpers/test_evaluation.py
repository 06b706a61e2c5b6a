from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, log_loss
from torch import nn

from helpers.errors import ToolError
from helpers.evaluation import evaluate_logits, margins, predict_logits
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from model_classes.alexnet import load_alexnet

NAMES = ("ant", "bee", "cow", "dog")


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, 200)  # no dog


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 10))


def test_an_evaluation_is_that_of_scikit_learn(logits: torch.Tensor, labels: np.ndarray) -> None:
    evaluation = evaluate_logits(logits, labels, NAMES)
    predicted = logits.numpy().argmax(axis=1)
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert evaluation.accuracy == pytest.approx((predicted == labels).mean(), abs=1e-15)
    assert evaluation.loss == pytest.approx(log_loss(labels, probabilities, labels=range(4)), rel=1e-9)
    assert evaluation.confusion == confusion_matrix(labels, predicted, labels=range(4)).tolist()
    assert evaluation.count == 200


def test_a_class_without_images_has_no_accuracy(logits: torch.Tensor, labels: np.ndarray) -> None:
    per_class = evaluate_logits(logits, labels, NAMES).per_class
    assert per_class["dog"] is None
    assert per_class["bee"] == pytest.approx((logits.numpy().argmax(axis=1) == 1)[labels == 1].mean())
    json.dumps(asdict(evaluate_logits(logits, labels, NAMES)), allow_nan=False)


def test_margins_are_those_of_a_loop(logits: torch.Tensor, labels: np.ndarray) -> None:
    expected = [row[label] - max(np.delete(row, label)) for row, label in zip(logits.numpy(), labels, strict=True)]
    assert np.allclose(margins(logits, labels).numpy(), expected, rtol=0, atol=1e-6)
    assert torch.equal(margins(logits, torch.from_numpy(labels)), margins(logits, labels))


def test_logits_are_those_of_the_network_in_evaluation_mode(network: nn.Module, images: np.ndarray) -> None:
    network.train()
    logits = predict_logits(network, to_inputs(images), batch_size=5)
    assert network.training
    with torch.no_grad():
        expected = network.eval()(to_inputs(images))
    assert torch.allclose(logits, expected, atol=1e-6)


def test_logits_can_be_used_in_training(network: nn.Module, images: np.ndarray) -> None:
    logits = predict_logits(network, to_inputs(images))
    scale = torch.ones(1, requires_grad=True)
    (gradient,) = torch.autograd.grad((logits * scale).sum(), scale)
    assert gradient.item() == pytest.approx(logits.sum().item(), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_answers_nan_is_refused(network: nn.Module, images: np.ndarray, value: float) -> None:
    with torch.no_grad():
        next(network.parameters())[0, 0] = value
    with pytest.raises(ToolError, match="NaN"):
        predict_logits(network, to_inputs(images))


def test_the_real_checkpoint_has_the_accuracy_it_was_given_with(cifar_test: ImageDataset, cifar_weights: Path) -> None:
    some = slice(None, None, 10)
    logits = predict_logits(load_alexnet(cifar_weights), cifar_test.inputs(some))
    evaluation = evaluate_logits(logits, cifar_test.labels[some], cifar_test.class_names)
    assert evaluation.accuracy == pytest.approx(0.747, abs=0.03)
    assert evaluation.count == 1000
