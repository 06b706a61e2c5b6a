"""Two ways must agree: cached activations and the full forward pass."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.opponents.trainable import layer_inputs
from edits.network.workbench import open_workbench
from helpers import activations
from helpers.cli import DatasetName
from helpers.evaluation import predict_logits
from helpers.images.preprocessing import to_inputs
from sytorch import SecondMomentMetric, kronecker_metric
from sytorch.problem.outputs import append_one
from sytorch.spare_units.planting import Planting


@pytest.mark.usefixtures("workplace")
def test_cached_activations_give_the_logits_of_the_full_pass(digits_baseline: Path) -> None:
    for _ in ("computed", "cached"):
        bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
        full = predict_logits(bench.model, bench.test)
        torch.testing.assert_close(bench.test_logits, full, rtol=0, atol=1e-4)
        assert torch.equal(bench.test_logits.argmax(dim=1), full.argmax(dim=1))


@pytest.mark.usefixtures("workplace")
def test_one_pass_gives_what_two_layers_get(digits_baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    _ = bench.test_logits
    expected = layer_inputs(bench.model, "classifier.4", bench.test.inputs(slice(None)))
    monkeypatch.setattr(activations, "keep_array", lambda path, array: pytest.fail(f"{path} was computed again"))
    seen = torch.from_numpy(np.array(bench.layer_inputs_of_test_images("classifier.4")))
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-4)


@pytest.mark.usefixtures("warm_workplace")
def test_a_planted_network_is_the_network_with_these_units(digits_baseline: Path) -> None:
    """Its weights, what it says of test images, and the last layer's metric, which is made here anew."""
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    units = bench.hidden_units("classifier.4", 300)
    change = 0.002 * np.random.default_rng(0).standard_normal((3, 4097))
    chosen = np.array([7, 4000, 12])
    planted = bench.planted(units, Planting(chosen, change, np.arange(3)), 1e-3)
    state = planted.model.state_dict()
    expected = before["classifier.4.weight"].double()
    expected[chosen] += torch.from_numpy(change[:, :-1])
    torch.testing.assert_close(state["classifier.4.weight"].double(), expected, rtol=0, atol=1e-7)
    made = state["classifier.4.weight"].double() - before["classifier.4.weight"].double()
    assert bool((made[chosen].abs() <= torch.from_numpy(change[:, :-1]).abs()).all())
    torch.testing.assert_close(planted.test_logits, predict_logits(planted.model, bench.test), rtol=1e-4, atol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in bench.model.state_dict().items())

    seen = torch.from_numpy(
        layer_inputs(planted.model, "classifier.6", to_inputs(bench.training.images[units.chosen])).numpy()
    )
    rows = append_one(seen.numpy())
    moment = (rows.T * units.weights) @ rows
    assert isinstance(planted.own_metric, SecondMomentMetric)
    factor = np.tril(planted.own_metric.factor)
    left = factor @ factor.T
    left -= moment
    ridges = left.diagonal().copy()
    others = np.setdiff1d(np.arange(4097), chosen)
    assert np.median(ridges[others]) == pytest.approx(1e-3 * moment.diagonal().mean(), rel=0.1)  # some are rounding
    rounded, wanted = 1e-6 * moment.diagonal()[chosen], 1e-6 * moment.diagonal().mean()
    assert (np.abs(ridges[chosen] - wanted) <= 0.1 * wanted + rounded).all()
    assert (rounded < 1e-4 * moment.diagonal().mean()).all(), "else a ridge of all columns would do as well"
    np.fill_diagonal(left, 0.0)
    assert max(left.max(), -left.min()) <= 1e-4 * moment.max()


@pytest.mark.usefixtures("warm_workplace")
@pytest.mark.parametrize("scale", [0.03, 1.0, 30.0])
def test_units_that_ordinary_images_set_off_have_a_metric(scale: float, digits_baseline: Path) -> None:
    """The fault: rounding of such columns was larger than their ridge, and the matrix was called no second moment."""
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    change = scale * np.random.default_rng(0).standard_normal((3, 4097))
    planted = bench.planted(
        bench.hidden_units("classifier.4", 300), Planting(np.array([7, 4000, 12]), change, np.arange(3)), 1e-3
    )
    assert isinstance(planted.own_metric, SecondMomentMetric)
    assert (planted.own_metric.factor.diagonal() > 0).all()


@pytest.mark.usefixtures("warm_workplace")
def test_what_is_known_of_hidden_units_is_the_same_from_the_cache(digits_baseline: Path) -> None:
    found = []
    for _ in ("computed", "cached"):
        units = open_workbench(DatasetName.DIGITS, None, digits_baseline).hidden_units("classifier.4", 200)
        found.append((np.tril(units.input_metric.factor), np.tril(units.moment), units.spare.order, units.spare.lost))
        assert sum(len(part) for part in units.ordinary()) == len(units.chosen) + len(units.images.unusual[0])
        assert units.source(0) == units.chosen[0]
        assert units.source(len(units.chosen)) == units.images.unusual[0][0]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("warm_workplace")
@pytest.mark.parametrize("layer", ["classifier.1", "classifier.4", "classifier.6"])
def test_what_follows_from_channels_is_what_the_network_gives_its_layers(digits_baseline: Path, layer: str) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    seen, chosen = bench.training_images, np.array([5, 0, 700])
    images = to_inputs(bench.training.images[chosen])
    for mirrored in (False, True):
        expected = layer_inputs(bench.model, layer, images.flip(3) if mirrored else images)
        torch.testing.assert_close(seen.channels.inputs(layer, chosen, mirrored=mirrored), expected, rtol=0, atol=1e-4)
    assert seen.seen_at(layer, chosen).shape == expected.shape
    torch.testing.assert_close(seen.logits[chosen], predict_logits(bench.model, images), rtol=0, atol=1e-3)


@pytest.mark.usefixtures("warm_workplace")
def test_a_network_that_is_not_needed_any_more_is_gone_at_once(digits_baseline: Path) -> None:
    """The collector counts objects, not bytes: a cycle of a few would keep hundreds of megabytes until it comes."""
    gc.disable()
    try:
        bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
        units, channels = bench.hidden_units("classifier.4", 200), bench.training_images.channels
        units.values_of(torch.zeros(2, 4097))
        images = bench.test.inputs(slice(2))
        channels.nearest(images)
        bench.last_inputs(channels.of_inputs(images), bench.model.state_dict(), np.array([3]))
        planting = Planting(np.array([7]), np.ones((1, 4097)), np.arange(1))
        assert len(bench.planted(units, planting, 1e-3).test_logits) == len(bench.test)
        kept = [weakref.ref(value) for value in (bench, bench.model, bench.network, units, channels)]
        del bench, units, channels
        assert [value() for value in kept] == [None] * len(kept)
    finally:
        gc.enable()


@pytest.mark.usefixtures("warm_workplace")
def test_units_are_kept_for_the_next_repair_where_there_is_one(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    assert bench.hidden_units("classifier.4", 200) is bench.hidden_units("classifier.4", 200)
    alone = replace(bench, repeats=False)
    assert alone.hidden_units("classifier.4", 200) is not alone.hidden_units("classifier.4", 200)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workplace")
def test_a_metric_from_channels_is_that_of_the_images(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    chosen = bench.training_images.right(40)
    found = bench.training_images.metric("classifier.4", chosen, (0.1, 0.1))
    images = to_inputs(bench.training.images[chosen])
    expected = kronecker_metric(bench.model, "classifier.4", lambda: [images], len(images), ridges=(0.1, 0.1))
    for part in ("inputs", "outputs"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), rtol=1e-3, atol=1e-3)
