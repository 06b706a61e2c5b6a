"""Whole polytopes repaired: against a program written out whole for HiGHS, and against the network at points inside."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from sytorch.hidden_layer.program import FixedPatternProgram
from sytorch.problem.arrays import Matrix, Vector
from tests.sytorch.hidden_layer.test_program import least_norm, metric_for
from tests.sytorch.network.test_layer_view import changed
from tests.sytorch.networks import network, parameters_after

MARGIN, BOUND = 0.05, 10.0
REACH = {"linear": 0.3, "normalised": 0.3, "last": 0.1, "convolution": 0.1, "before the copies": 0.1}
CASES = [(name, seed) for name in REACH for seed in range(3)]


def triangles(name: str, seed: int) -> sytorch.Polytopes:
    """Two triangles around images."""
    _, _, images = network(name, seed)
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(2, 3, *images.shape[1:], generator=generator, dtype=torch.float64)
    return sytorch.polytopes(list(images[:2, None] + REACH[name] * moves))


def wanted(name: str, seed: int) -> torch.Tensor:
    """Of each vertex, the class that a slightly different network gives the polytope's centre."""
    model, layer, _ = network(name, seed)
    regions = triangles(name, seed)
    view = sytorch.linearise_polytopes(model, layer, regions)
    generator = torch.Generator().manual_seed(seed)
    move = torch.randn(len(view.units), view.inputs.shape[2], generator=generator, dtype=torch.float64)
    return regions.at_vertices(changed(model, layer, 0.3 * view.layer_change(move))(regions.centres).argmax(dim=1))


@functools.cache
def program(name: str, seed: int, allowance: float = 0.0) -> FixedPatternProgram:
    model, layer, _ = network(name, seed)
    view = sytorch.linearise_polytopes(model, layer, triangles(name, seed))
    return sytorch.fixed_pattern_program(
        view, wanted(name, seed), MARGIN, metric_for(view, seed), bound=BOUND, allowance=allowance
    )


def inside(group: torch.Tensor, seed: int, count: int = 2000) -> torch.Tensor:
    """Random points of the hull of a group of vertices, (V, ...): many near its faces, and the vertices."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(count, len(group), generator=generator, dtype=torch.float64).log().neg() ** 3
    weights = torch.cat([weights / weights.sum(dim=1, keepdim=True), torch.eye(len(group), dtype=torch.float64)])
    return torch.einsum("sv,v...->s...", weights, group.double())


def least_margin(model: nn.Module, regions: sytorch.Polytopes, labels: torch.Tensor) -> float:
    """Over points inside, by a plain forward pass in float64."""
    margins = []
    for group, (own, *_) in zip(regions.groups(regions.vertices), regions.groups(labels), strict=True):
        logits = model(inside(group, 0))
        others = logits.index_fill(1, own, -torch.inf).amax(dim=1)
        margins.append(float((logits[:, own] - others).min()))
    return min(margins)


def whole_rows(name: str, seed: int) -> tuple[Matrix, Vector]:
    """Every inequality at every vertex as a dense row in the layer's weights, masks and winners being the centre's."""
    model, layer, _ = network(name, seed)
    regions, labels = triangles(name, seed), wanted(name, seed)
    module = model.get_submodule(layer)
    assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None

    def inequalities(change: torch.Tensor) -> torch.Tensor:
        weights = parameters_after(module, change)
        values, centres, parts, behind = regions.vertices, regions.centres, [], False
        for number, step in enumerate(model):
            if behind and isinstance(step, nn.ReLU):
                mask = (centres > 0)[regions.owners]
                parts.append((values * torch.where(mask, 1.0, -1.0)).flatten())
                values = values * mask
            elif behind and isinstance(step, nn.MaxPool2d):
                values, slack = _pooled(step, values, centres[regions.owners])
                parts.append(slack)
            elif str(number) == layer:
                values, behind = torch.func.functional_call(step, weights, (values,)), True
            else:
                values = step(values)
            centres = step(centres)
        margins = values.gather(1, labels[:, None]) - values
        parts.append(margins[torch.arange(values.shape[1]) != labels[:, None]] - MARGIN)
        return torch.cat(parts)

    start = torch.zeros(module.weight.numel() + len(module.bias), dtype=torch.float64)
    return torch.func.jacrev(inequalities)(start).numpy(), -inequalities(start).numpy()


def _pooled(step: nn.MaxPool2d, values: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the centre's winners have, and how much larger they are than all members; only pools without padding."""
    assert step.padding == 0

    def windows(maps: torch.Tensor) -> torch.Tensor:
        members = nn.functional.unfold(maps, step.kernel_size, stride=step.stride)
        return members.view(len(maps), maps.shape[1], -1, members.shape[-1])

    best = windows(centres).argmax(dim=2, keepdim=True)
    members = windows(values)
    winners = members.gather(2, best)
    return winners.view(*step(values).shape), (winners - members).flatten()


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_the_optimum_is_that_of_the_whole_program(name: str, seed: int) -> None:
    fixed = program(name, seed)
    expected = least_norm(fixed.view, fixed.metric, whole_rows(name, seed), BOUND)
    try:
        solution = fixed.solve()
    except sytorch.ContradictionError as error:
        assert expected is None and error.contradiction.refuted_bound > BOUND
        return
    assert expected is not None
    assert solution.objective == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert solution.gap <= 1e-6


def test_every_point_inside_is_repaired() -> None:
    repaired, unlike_at_first, wrong_at_first = 0, 0, 0
    for name, seed in CASES:
        model, layer, _ = network(name, seed)
        regions, labels, fixed = triangles(name, seed), wanted(name, seed), program(name, seed, allowance=1e-5)
        before = sytorch.check_polytopes(model, fixed.view, regions, labels)
        try:
            solution = fixed.solve()
        except sytorch.ContradictionError:
            continue
        after = changed(model, layer, torch.from_numpy(solution.change))
        verdict = sytorch.check_polytopes(after, fixed.view, regions, labels)
        assert verdict.broken == 0 and verdict.rounding == 0.0
        assert least_margin(after, regions, labels) >= verdict.margin - 1e-9 >= MARGIN - 1e-6
        in_float32 = sytorch.Polytopes(regions.vertices.float(), regions.owners)
        verdict = sytorch.check_polytopes(after.float(), fixed.view, in_float32, labels)
        assert verdict.broken == 0 and verdict.margin >= MARGIN - 1e-4 and 0.0 < verdict.rounding < 1e-4
        repaired += 1
        unlike_at_first += before.broken > 0
        wrong_at_first += least_margin(model, regions, labels) < MARGIN
    assert repaired >= 8 and unlike_at_first >= 4 and wrong_at_first >= 4


def small(first: list[list[float]], last: list[list[float]], bias: list[float]) -> nn.Sequential:
    """Two linear layers with these weights, the first without a bias at first, and a ReLU between them."""
    layers = [nn.Linear(len(weight[0]), len(weight)).double().requires_grad_(False) for weight in (first, last)]
    for layer, weight, constant in zip(layers, (first, last), ([0.0] * len(first), bias), strict=True):
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(constant))
    return nn.Sequential(layers[0], nn.ReLU(), layers[1]).eval()


def ramp() -> nn.Sequential:
    """``(max(x, 0), 0)``."""
    return small([[1.0]], [[1.0], [0.0]], [0.0, 0.0])


def segment(low: float, high: float) -> sytorch.Polytopes:
    return sytorch.polytopes([torch.tensor([[low], [high]], dtype=torch.float64)])


def ramp_program(size: float, bound: float) -> FixedPatternProgram:
    """From -1 to 3 the unit is to be positive, as at the centre, though at first it is not: its slack is -1 at -1."""
    view = sytorch.linearise_polytopes(ramp(), "0", segment(-1.0, 3.0))
    assert view.pattern.fixed[0].slack(view.pattern.values[0]).flatten().tolist() == [-1.0, 3.0]
    metric = sytorch.identity_metric(view)
    return sytorch.fixed_pattern_program(view, torch.tensor([0, 0]), size, metric, bound=bound, allowance=0.0)


@pytest.mark.parametrize(("size", "needed"), [(0.5, 1.5), (-10.0, 1.0)])
def test_negative_slack_is_a_constraint(size: float, needed: float) -> None:
    """``b - w >= needed`` is what -1 asks for: by the margin in the first case, by the sign in the second."""
    solution = ramp_program(size, 5.0).solve()
    assert solution.objective == pytest.approx(needed / np.sqrt(2), rel=1e-6)
    np.testing.assert_allclose(solution.change, [[-needed / 2, needed / 2]], atol=1e-6)


@pytest.mark.parametrize(("size", "bound", "smallest"), [(0.5, 0.7, 0.75), (-10.0, 0.45, 0.5)])
def test_a_pattern_out_of_reach_is_a_contradiction(size: float, bound: float, smallest: float) -> None:
    with pytest.raises(sytorch.ContradictionError) as caught:
        ramp_program(size, bound).solve()
    assert bound < caught.value.contradiction.refuted_bound <= smallest * (1 + 1e-9)
    assert caught.value.contradiction.images == (0,)


def test_right_vertices_are_not_enough_and_the_pattern_can_be_chosen() -> None:
    """``(|x|, 1/2)`` is right at -1 and 1, not at 0. There the pattern is hopeless; that of another point is not."""
    model = small([[1.0], [-1.0]], [[1.0, 1.0], [0.0, 0.0]], [0.0, 0.5])
    regions, labels = segment(-1.0, 1.0), torch.tensor([0, 0])

    def fixed(view: sytorch.LayerView) -> FixedPatternProgram:
        return sytorch.fixed_pattern_program(view, labels, 0.5, sytorch.identity_metric(view), bound=5.0, allowance=0.0)

    assert fixed(sytorch.linearise(model, "0", regions.vertices)).solve().objective == 0.0
    assert least_margin(model, regions, labels) < -0.4
    with pytest.raises(sytorch.ContradictionError):
        fixed(sytorch.linearise_polytopes(model, "0", regions)).solve()
    view = sytorch.linearise_polytopes(model, "0", regions, torch.tensor([[0.5]]))
    solution = fixed(view).solve()
    assert solution.objective == pytest.approx(np.sqrt(2.5), rel=1e-6)
    after = changed(model, "0", torch.from_numpy(solution.change))
    assert least_margin(after, regions, labels) >= 0.5 - 1e-6
    assert sytorch.check_polytopes(model, view, regions, labels).broken > 0


def test_a_polytope_on_which_an_earlier_relu_bends_is_refused() -> None:
    model = small(torch.eye(3).tolist(), [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], [0.0, 0.0])
    whole = torch.tensor([[1.0, 0.0, 1.0], [2.0, 3.0, 1.0], [3.0, 0.0, 2.0]])
    bent = torch.tensor([[1.0, -1.0, 1.0], [-2.0, 3.0, 1.0], [3.0, 3.0, 2.0]])
    sytorch.linearise_polytopes(model, "2", sytorch.polytopes([whole]))
    with pytest.raises(sytorch.SplitPolytopeError, match=r"'1' comes before .* 2 of its units .* polytope 1") as caught:
        sytorch.linearise_polytopes(model, "2", sytorch.polytopes([whole, bent]))
    assert (caught.value.layer, caught.value.polytope, caught.value.units) == ("1", 1, 2)


def test_a_polytope_on_which_an_earlier_pool_changes_its_winner_is_refused() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)).double().eval()
    vertices = torch.zeros(2, 1, 2, 4)
    vertices[:, 0, 0, 0], vertices[0, 0, 1, 3], vertices[1, 0, 0, 3] = 1.0, 1.0, 2.0
    with pytest.raises(sytorch.SplitPolytopeError, match=r"'0' comes before .* 1 of its units"):
        sytorch.linearise_polytopes(model, "2", sytorch.polytopes([vertices]))


def test_a_polytope_has_vertices() -> None:
    for groups in ([], [torch.zeros(2, 3), torch.zeros(0, 3)]):
        with pytest.raises(ValueError, match="vertex"):
            sytorch.polytopes(groups)
