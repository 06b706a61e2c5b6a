"""Linearised layers against torch: finite differences, and the network really changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sytorch.hidden_layer.constraints import still_of
from sytorch.network.chain import chain_of
from sytorch.network.layer_view import LayerView, linearise, part_named
from tests.sytorch.networks import NETWORKS, PARTS, network

STEP = 1e-5


def changed(model: nn.Sequential, layer: str, change: torch.Tensor) -> nn.Sequential:
    """A copy of a network with a change, (outputs, n + 1), added to a layer, or the one that a part is of."""
    model = copy.deepcopy(model)
    module = model.get_submodule(part_named(layer).layer)
    assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
    module.weight += change[:, :-1].view_as(module.weight)
    module.bias += change[:, -1]
    return model


def random_change(view: LayerView, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(view.units), view.inputs.shape[2], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_the_outputs_move_as_the_changed_network_says(name: str, seed: int) -> None:
    model, layer, images = network(name, seed)
    view = linearise(model, layer, images)
    torch.testing.assert_close(view.logits, model(images))
    change = random_change(view, seed)
    moved = changed(model, layer, STEP * view.layer_change(change))(images) - model(images)
    torch.testing.assert_close(moved / STEP, view.move(change)[view.pattern.end], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_transpose_of_moves(name: str) -> None:
    model, layer, images = network(name)
    view = linearise(model, layer, images)
    change = random_change(view, 1)
    by_gradient = torch.einsum("ncmp,npk,mk->nc", view.logit_gradients(), view.inputs, change)
    torch.testing.assert_close(by_gradient, view.move(change)[view.pattern.end])


@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_inequalities_are_those_of_the_changed_network(name: str) -> None:
    """Their slack moves along a small change as each one's own gradient says."""
    model, layer, images = network(name)
    view = linearise(model, layer, images)
    change = STEP * random_change(view, 2)
    moved = linearise(changed(model, layer, view.layer_change(change)), layer, images).pattern
    for position, fixed in view.pattern.fixed.items():
        before, after = fixed.slack(view.pattern.values[position]), fixed.slack(moved.values[position])
        finite = torch.isfinite(before)
        assert float(before.min()) >= 0
        rises = fixed.apply(view.move(change)[position])
        torch.testing.assert_close((after - before)[finite] / STEP, rises[finite] / STEP, rtol=1e-5, atol=1e-5)
        weights = torch.randn(before.shape, dtype=torch.float64) * finite
        gradients = view.gradients({position: fixed.adjoint(weights)}, view.images)
        by_gradient = torch.einsum("nmp,npk,mk->n", gradients, view.inputs, change)
        torch.testing.assert_close(by_gradient, (weights * rises).sum(dim=1))


@pytest.mark.parametrize("part", ["0.bias", "0[2:5]", "0[2:5].bias"])
def test_a_part_of_a_layer_changes_that_part_only(part: str) -> None:
    model, _, images = network("linear")
    view = linearise(model, part, images)
    change = STEP * random_change(view, 3)
    whole = view.layer_change(change)
    assert whole.shape == (6, 6)
    assert bool((whole[:2] == 0).all()) == ("[" in part) and bool((whole[:, :-1] == 0).all()) == ("bias" in part)
    moved = changed(model, "0", whole)(images) - model(images)
    torch.testing.assert_close(moved / STEP, view.move(change)[view.pattern.end] / STEP, rtol=1e-5, atol=1e-5)


def test_copies_are_one_input() -> None:
    model, layer, images = network("repeated")
    view = linearise(model, layer, images)
    assert view.inputs.shape == (4, 1, 4)
    change = random_change(view, 4)
    torch.testing.assert_close(view.layer_change(change).norm(), change.norm())


def test_looking_changes_nothing() -> None:
    model, layer, images = network("pooled")
    before = copy.deepcopy(model.state_dict())
    linearise(model, layer, images).logit_gradients()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("name", ["linear", "convolution", "pooled"])
def test_a_broken_pattern_is_noticed(name: str) -> None:
    model, layer, images = network(name)
    view, tail = linearise(model, layer, images), chain_of(model).split(layer)[2]
    outputs = model.get_submodule(layer)(images)
    still = still_of(view)
    assert view.pattern.broken(tail, outputs, still) == 0
    assert view.pattern.broken(tail, -outputs, still) > 0


@pytest.mark.parametrize("name", NETWORKS | PARTS)
def test_the_view_after_a_change_is_that_of_the_changed_network(name: str) -> None:
    model, layer, images = network(name)
    view = linearise(model, layer, images)
    change = random_change(view, 5)
    after, expected = view.after(change), linearise(changed(model, layer, view.layer_change(change)), layer, images)
    torch.testing.assert_close(after.logits, expected.logits)
    torch.testing.assert_close(after.logit_gradients(), expected.logit_gradients())
