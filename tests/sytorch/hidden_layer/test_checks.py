"""What hidden layers' functions are given is looked at first, and their time limits are heeded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from tests.sytorch.networks import network

MODEL, LAYER, IMAGES = network("linear", 0)
VIEW = sytorch.linearise(MODEL, LAYER, IMAGES)
METRIC = sytorch.identity_metric(VIEW)
LABELS = [0, 1, 2, 0]
Call = Callable[[], object]


def with_nan(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values.view(-1)[0] = torch.nan
    return values


def relinearise(labels: Any = LABELS, size: Any = 0.1, bound: float = 5.0, **others: Any) -> object:
    margins = sytorch.margin(VIEW.affine_outputs, labels, size)
    answer = sytorch.relinearise(VIEW, margins, size, metric=others.pop("metric", METRIC), bound=bound, **others)
    return answer.unwrap()


def fixed_pattern(labels: Any = LABELS, size: Any = 0.1, bound: float = 5.0, metric: Any = METRIC) -> object:
    return sytorch.fixed_pattern_program(VIEW, labels, size, metric, bound=bound)


def metric_of(*batches: torch.Tensor, **others: Any) -> object:
    return sytorch.kronecker_metric(MODEL, LAYER, lambda: batches, others.pop("count", 4), **others)


@pytest.mark.parametrize("look", [sytorch.linearise, lambda *words: metric_of(words[2])])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (with_nan(IMAGES), "NaN"),
        (IMAGES * torch.inf, "NaN or infinity"),
        (IMAGES[:0], "no images"),
        (IMAGES.long(), "floating-point"),
        (IMAGES[0], "floating-point tensor"),
    ],
)
def test_what_is_no_image_is_refused(look: Callable[..., object], images: torch.Tensor, message: str) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=message):
        look(MODEL, LAYER, images)


@pytest.mark.parametrize("images", [IMAGES[:, :3], IMAGES.float()])
def test_images_that_the_network_does_not_take_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(sytorch.InvalidInputError, match="takes no images of"):
        sytorch.linearise(MODEL, "2", images)


def test_weights_that_are_not_finite_are_refused() -> None:
    model, layer, images = network("linear", 0)
    first = model[0]
    assert isinstance(first, nn.Linear)
    first.weight[0, 0] = torch.nan
    with pytest.raises(sytorch.InvalidInputError, match="weights"):
        sytorch.linearise(model, layer, images)


@pytest.mark.parametrize("inner", [False, True])
def test_training_mode_is_refused(inner: bool) -> None:
    model, layer, images = network("normalised", 0)
    (model[1] if inner else model).train()
    with pytest.raises(sytorch.InvalidInputError, match="training mode"):
        sytorch.linearise(model, layer, images)


def test_a_layer_without_a_bias_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)).eval()
    with pytest.raises(sytorch.UnsupportedLayerError, match="no bias"):
        sytorch.linearise(model, "0", torch.zeros(1, 3))


@pytest.mark.parametrize("ask", [fixed_pattern, relinearise])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [0, 1, 2]}, "one label for each"),
        ({"labels": [0, 1, 2, 3]}, "from 0 to 2"),
        ({"labels": [0.0, 1.0, 2.0, 0.0]}, "whole numbers"),
        ({"labels": torch.tensor([[0], [1], [2], [0]])}, "one label for each"),
        ({"size": np.nan}, "[Mm]argins"),
        ({"size": np.inf}, "[Mm]argins"),
        ({"bound": np.nan}, "bound"),
        ({"bound": 0.0}, "bound"),
        ({"bound": -1.0}, "bound"),
        ({"metric": sytorch.KroneckerMetric(torch.eye(5).double())}, "5 inputs does not fit '0'"),
        ({"metric": sytorch.KroneckerMetric(torch.eye(6).double(), torch.eye(2).double())}, "2 outputs does not fit"),
        ({"metric": sytorch.KroneckerMetric(with_nan(torch.eye(6).double()))}, "finite"),
    ],
)
def test_what_is_no_program_is_refused(ask: Callable[..., object], given: dict[str, Any], message: str) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=message):
        ask(**given)


def test_allowances_are_looked_at() -> None:
    for allowance in (-1e-5, np.nan, np.inf):
        with pytest.raises(sytorch.InvalidInputError, match="allowance"):
            sytorch.fixed_pattern_program(VIEW, LABELS, 0.1, METRIC, allowance=allowance)


def test_minus_infinity_requires_nothing() -> None:
    wanted = VIEW.logits.argsort(dim=1)[:, 0]
    sizes = np.array([-np.inf, -np.inf, -np.inf, -np.inf])
    assert sytorch.fixed_pattern_program(VIEW, wanted, sizes, METRIC, bound=5.0, allowance=0.0).solve().objective == 0.0


def test_polytopes_that_are_none_are_refused() -> None:
    for groups in ([with_nan(IMAGES)], [IMAGES, IMAGES[:, :3]], [IMAGES, IMAGES.float()]):
        with pytest.raises(sytorch.InvalidInputError):
            sytorch.polytopes(groups)
    regions = sytorch.polytopes([IMAGES[:1]])
    with pytest.raises(sytorch.InvalidInputError, match="a point each"):
        sytorch.linearise_polytopes(MODEL, LAYER, regions, IMAGES[:2])
    view = sytorch.linearise_polytopes(MODEL, LAYER, regions)
    with pytest.raises(sytorch.InvalidInputError, match="from 0 to 2"):
        sytorch.check_polytopes(MODEL, view, regions, [3])


def test_metrics_of_nothing_are_refused() -> None:
    for given in ({"count": 0}, {"ridges": (0.0, 0.1)}, {"ridges": (0.1, np.nan)}):
        with pytest.raises(sytorch.InvalidInputError, match="positive"):
            metric_of(IMAGES, **given)
    with pytest.raises(sytorch.InvalidInputError, match="no images"):
        metric_of()


@pytest.mark.parametrize(
    "work",
    [
        functools.partial(sytorch.linearise, MODEL, LAYER, IMAGES),
        functools.partial(sytorch.linearise_polytopes, MODEL, LAYER, sytorch.polytopes([IMAGES[:1]])),
        functools.partial(sytorch.check_polytopes, MODEL, VIEW, sytorch.polytopes([IMAGES[:1]] * 4), LABELS),
        functools.partial(metric_of, IMAGES),
        functools.partial(relinearise, VIEW.logits.argmax(dim=1)),
        sytorch.fixed_pattern_program(VIEW, VIEW.logits.argmax(dim=1), 0.1, METRIC).solve,
    ],
)
def test_a_shared_deadline_that_is_over_ends_everything(work: Callable[..., object]) -> None:
    ticks: list[int] = []
    for limit in (0.0, sytorch.Deadline(0.0, lambda: ticks.append(1))):
        with pytest.raises(sytorch.SolverTimeLimitError):
            work(time_limit=limit)
    assert ticks
