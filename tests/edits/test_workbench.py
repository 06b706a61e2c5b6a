"""Two ways must agree: cached activations and the full forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edits.network.tail import layer_inputs
from edits.network.workbench import open_workbench
from helpers.cli import DatasetName
from helpers.evaluation import predict_logits
from helpers.images.preprocessing import to_inputs
from sytorch import kronecker_metric
from sytorch.network.layer_change import LayerChange


@pytest.mark.usefixtures("workplace")
def test_cached_activations_give_the_logits_of_the_full_pass(digits_baseline: Path) -> None:
    for _ in ("computed", "cached"):
        bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
        full = predict_logits(bench.model, bench.test.images)
        torch.testing.assert_close(bench.test_logits, full, rtol=0, atol=1e-4)
        assert torch.equal(bench.test_logits.argmax(dim=1), full.argmax(dim=1))


@pytest.mark.usefixtures("warm_workplace")
def test_a_moved_network_is_the_network_with_that_change(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    before = {name: value.clone() for name, value in bench.model.state_dict().items()}
    change = 0.01 * torch.randn(4096, 4097, generator=torch.Generator().manual_seed(0))
    moved = bench.moved("classifier.4", LayerChange(change))
    torch.testing.assert_close(
        moved.model.state_dict()["classifier.4.weight"], before["classifier.4.weight"] + change[:, :-1]
    )
    made = moved.model.state_dict()["classifier.4.weight"].double() - before["classifier.4.weight"].double()
    assert bool((made.abs() <= change[:, :-1].abs()).all())
    full = predict_logits(moved.model, bench.test.images)
    torch.testing.assert_close(moved.test_logits, full, rtol=1e-4, atol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in bench.model.state_dict().items())


@pytest.mark.usefixtures("warm_workplace")
def test_training_images_see_a_thin_change_as_they_see_the_whole(digits_baseline: Path) -> None:
    """What is kept of the layer's outputs, plus what the factors move them by, against the moved layer itself."""
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    rng = torch.Generator().manual_seed(0)
    left, right = 0.1 * torch.randn(4096, 3, generator=rng), 0.1 * torch.randn(3, 4097, generator=rng)
    whole, thin = LayerChange(left @ right), LayerChange(left @ right, (left, right))
    assert thin.is_thin
    for _ in ("computed", "cached"):
        expected = list(bench.moved("classifier.4", whole).metric_source(300))
        found = list(bench.moved("classifier.4", thin).metric_source(300))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.inputs, other.inputs, rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(one.labels, other.labels)
    assert bench.training_images.accuracy("classifier.4", thin) == bench.training_images.accuracy("classifier.4", whole)


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
