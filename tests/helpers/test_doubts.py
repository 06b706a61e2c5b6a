"""A wrong order of the classes, and a figure near chance, are told; a usual one is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.doubts import doubts
from helpers.evaluation import Evaluation, evaluate_logits


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
