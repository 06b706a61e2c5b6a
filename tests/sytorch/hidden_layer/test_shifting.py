"""Shift and assert: against scipy unit by unit, and against the network at points inside."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sytorch
from sytorch.hidden_layer.polytopes import broken_on
from sytorch.problem.arrays import Matrix, Vector


def network(seed: int, widths: tuple[int, ...] = (3, 8, 6, 3)) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double().eval()


def boxes(seed: int, count: int, size: float, width: int = 3) -> sytorch.Polytopes:
    """Around random points, some of them split by many units."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, width, generator=generator, dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * width)
    return sytorch.polytopes([centre + size * corners for centre in centres])


def is_affine_inside(model: nn.Module, regions: sytorch.Polytopes) -> bool:
    """Whether the outputs at points inside are those of the vertices, combined alike."""
    for group in regions.groups(regions.vertices):
        count = len(group)
        weights = torch.rand(500, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
        weights = weights / weights.sum(dim=1, keepdim=True)
        between = torch.einsum("sv,v...->s...", weights, group)
        if not torch.allclose(model(between), weights @ model(group), rtol=0, atol=1e-9):
            return False
    return True


def least_by_scipy(inputs: Matrix, values: Vector, signs: Vector, least: float) -> float:
    """The least length of a change of one unit, from another solver."""
    rows, needed = signs[:, None] * inputs, least - signs * values
    found = scipy.optimize.minimize(
        lambda change: change @ change,
        np.zeros(inputs.shape[1]),
        jac=lambda change: 2 * change,
        constraints=[{"type": "ineq", "fun": lambda change: rows @ change - needed, "jac": lambda _: rows}],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return float(np.linalg.norm(found.x)) if found.success else np.inf


def test_each_unit_moves_by_the_least_and_no_other_does() -> None:
    model, regions = network(0), boxes(0, 4, 0.3)
    before = copy.deepcopy(model.state_dict())
    shifted = sytorch.shift(model, regions, "2", distance=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    first, moved = model[0], shifted.model.get_submodule("0")
    assert isinstance(first, nn.Linear) and isinstance(moved, nn.Linear)
    inputs = np.hstack([regions.vertices.numpy(), np.ones((len(regions.vertices), 1))])
    values = first(regions.vertices).detach().numpy()
    groups, distance = regions.owners.numpy(), 1e-3 * np.abs(values).max()
    changed = 0
    for unit, own in enumerate(values.T):
        shares = [(own[groups == group] > 0).mean() - 0.5 + 1e-9 * own[groups == group].mean() for group in groups]
        most = np.sign(shares)
        change = torch.cat(
            [moved.weight[unit] - first.weight[unit], (moved.bias - first.bias)[unit : unit + 1]]
        ).detach()
        if (own * most >= distance).all():
            assert not change.any()
            continue
        choices = (most, np.ones_like(most), -np.ones_like(most))
        expected = min(least_by_scipy(inputs, own, signs, 2 * distance) for signs in choices)
        assert float(change.norm()) == pytest.approx(expected, rel=1e-5)
        changed += 1
    assert shifted.units == {"0": changed} and changed >= 2


@given(seed=st.integers(0, 10**6), count=st.integers(1, 6), size=st.floats(0.01, 0.6), ordinary=st.booleans())
@settings(max_examples=25, deadline=None)
def test_polytopes_are_in_one_linear_piece_afterwards(seed: int, count: int, size: float, ordinary: bool) -> None:
    model, regions = network(seed), boxes(seed, count, size)
    usual = (
        torch.randn(200, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) if ordinary else None
    )
    shifted = sytorch.shift(model, regions, "4", ordinary=usual)
    assert broken_on(shifted.model, regions) == 0
    assert is_affine_inside(shifted.model, regions)
    assert set(shifted.units) <= {"0", "2"}
    assert bool(shifted.units) or torch.equal(shifted.model(regions.vertices), model(regions.vertices))


def test_signs_unit_by_unit() -> None:
    """The first unit is to be on for the first box and off for the second, whatever most vertices have."""
    model, regions = network(1), boxes(1, 2, 0.2)
    values = model[0](regions.centres).detach()
    signs = values > 0
    signs[:, 0] = torch.tensor([True, False])
    shifted = sytorch.shift(model, regions, "2", signs={"1": signs})
    found = shifted.model.get_submodule("0")(regions.vertices)
    assert torch.equal(found > 0, regions.at_vertices(signs))
    with pytest.raises(sytorch.InvalidInputError, match="'1'"):
        sytorch.shift(model, regions, "2", signs={"1": signs[:, :3]})


def test_signs_that_no_change_within_the_bound_has_are_refuted() -> None:
    model, regions = network(1), boxes(1, 2, 0.5)
    signs = torch.ones(2, 8, dtype=torch.bool)
    signs[1] = False
    with pytest.raises(sytorch.ContradictionError) as error:
        sytorch.shift(model, regions, "2", signs={"1": signs}, bound=1e-3)
    assert error.value.contradiction.refuted_bound >= 1e-3


def test_max_pools_that_differ_are_told() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).double().eval()
    regions = sytorch.polytopes([torch.randn(4, 1, 5, 5, dtype=torch.float64)])
    with pytest.raises(sytorch.SplitPolytopeError, match="'1'"):
        sytorch.shift(model, regions, "4")


def test_a_convolution_is_moved_channel_by_channel() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)]
    model = nn.Sequential(*layers).double().eval()
    images = torch.randn(3, 1, 1, 5, 5, dtype=torch.float64)
    regions = sytorch.polytopes(list(images + 0.3 * torch.randn(3, 4, 1, 5, 5, dtype=torch.float64)))
    shifted = sytorch.shift(model, regions, "4")
    assert shifted.units and is_affine_inside(shifted.model, regions)


def test_the_pattern_of_most_vertices() -> None:
    """Of five vertices three have the unit on, and their centre has it off."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)
        model.get_parameter("0.bias").zero_()
    group = torch.tensor([[1.0], [1.0], [1.0], [-5.0], [-5.0]], dtype=torch.float64)
    regions = sytorch.polytopes([group])
    patterns = {
        how: sytorch.linearise_polytopes(model, "0", regions, how).pattern.fixed[0].positive  # type: ignore[union-attr]
        for how in ("centre", "majority")
    }
    assert patterns["majority"].all() and not patterns["centre"].any()
    given = sytorch.linearise_polytopes(model, "0", regions, {"1": torch.tensor([[False]])}).pattern.fixed[0]
    assert not given.positive.any()  # type: ignore[union-attr]
