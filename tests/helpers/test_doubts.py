"""A wrong order of the classes, and a figure near chance, are told; a usual one is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import editset_generator
import experiment_runner
import run_repair
from helpers.cli import say_once
from helpers.doubts import doubts, tell_doubts
from helpers.evaluation import Evaluation, evaluate_logits
from helpers.images.datasets import ImageDataset
from model_classes.alexnet import load_alexnet


def _measured(predicted: list[int], truth: list[int], classes: int) -> Evaluation:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()
    return evaluate_logits(logits, torch.tensor(truth), tuple("abcdefghij"[:classes]))


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_a_network_that_is_mostly_right_gives_no_doubt(classes: int) -> None:
    truth = np.arange(200) % classes
    predicted = np.where(np.arange(200) % 10 < 7, truth, 0)
    assert list(doubts(_measured(predicted.tolist(), truth.tolist(), classes), "usual")) == []


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_chance_is_told(classes: int) -> None:
    truth = np.random.default_rng(0).integers(0, classes, 500)
    (told,) = doubts(_measured([0] * 500, truth.tolist(), classes), "resized to 70")
    assert "near chance" in told and "resized to 70" in told


@pytest.mark.parametrize("classes", [4, 10])
def test_another_order_is_told(classes: int) -> None:
    truth = np.arange(200) % classes
    (told,) = doubts(_measured(((truth + 1) % classes).tolist(), truth.tolist(), classes), "usual")
    assert (
        "100.0% would be right, not 0.0%" in told
        and "output 1, which is taken for 'b', goes with images of 'a'" in told
    )


def test_they_are_said_once(digits_test: ImageDataset, capsys: pytest.CaptureFixture[str]) -> None:
    logits = torch.nn.functional.one_hot(torch.from_numpy((digits_test.labels + 1) % 10), 10).float()
    for _ in range(2):
        tell_doubts(logits, digits_test)
    assert capsys.readouterr().err.count("in another order") == 1


def test_the_scripts_that_repair_say_them(
    digits_baseline: Path, warm_workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outputs of the baseline in another order."""
    state = dict(load_alexnet(digits_baseline).state_dict())
    for name in ("classifier.6.weight", "classifier.6.bias"):
        state[name] = state[name].roll(1, dims=0)
    torch.save(state, "rolled.pth")
    words = ("--dataset", "digits", "--weights", "rolled.pth")
    few = ("--edit-set-sizes", "1", "--edit-set-types", "misclassified", "--prepare", "none", "--metrics", "identity")
    repaired = ("misclassified", "--max-samples", "1", "--prepare", "none", "--metric", "identity")
    asked = (
        (editset_generator.app, ("misclassified", "--max-samples", "1")),
        (run_repair.app, (*repaired, "--output", "repaired.pth")),
        (experiment_runner.app, (*few, "--output", "few.csv")),
    )
    for app, options in asked:
        say_once.cache_clear()
        result = CliRunner().invoke(app, [*options, *words])
        assert result.output.count("with the classes in another order") == 1, result.output
