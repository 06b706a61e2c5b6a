"""Whole polytopes repaired: against a program written out whole for HiGHS, and against the network at points inside."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from sytorch.arrays import Matrix, Vector
from sytorch.held import HeldProgram
from tests.sytorch_networks import network
from tests.test_sytorch_held import least_norm, metric_for
from tests.test_sytorch_linearise import changed

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
def program(name: str, seed: int, allowance: float = 0.0) -> HeldProgram:
    model, layer, _ = network(name, seed)
    view = sytorch.linearise_polytopes(model, layer, triangles(name, seed))
    return sytorch.hold(view, wanted(name, seed), MARGIN, metric_for(view, seed), bound=BOUND, allowance=allowance)


def inside(group: torch.Tensor, seed: int, count: int = 2000) -> torch.Tensor:
    """Random points of the hull of a group of vertices, (V, ...): many near its faces, and the vertices."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(count, len(group), generator=generator, dtype=torch.float64).log().neg() ** 3
    weights = torch.cat([weights / weights.sum(dim=1, keepdim=True), torch.eye(len(group), dtype=torch.float64)])
    return torch.einsum("sv,v...->s...", weights, group.double())


def least_lead(model: nn.Module, regions: sytorch.Polytopes, labels: torch.Tensor) -> float:
    """Over points inside, by a plain forward pass in float64."""
    leads = []
    for group, (own, *_) in zip(regions.groups(regions.vertices), regions.groups(labels), strict=True):
        logits = model(inside(group, 0))
        others = logits.index_fill(1, own, -torch.inf).amax(dim=1)
        leads.append(float((logits[:, own] - others).min()))
    return min(leads)


def whole_rows(name: str, seed: int) -> tuple[Matrix, Vector]:
    """Every inequality at every vertex as a dense row in the layer's weights, masks and winners being the centre's."""
    model, layer, _ = network(name, seed)
    regions, labels = triangles(name, seed), wanted(name, seed)
    module = model.get_submodule(layer)
    assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None
    shape, width = module.weight.shape, module.weight[0].numel()

    def inequalities(flat: torch.Tensor) -> torch.Tensor:
        change = flat.view(shape[0], width + 1)
        weights = {"weight": module.weight + change[:, :-1].view(shape), "bias": module.bias + change[:, -1]}
        values, centres, parts, behind = regions.vertices, regions.centres, [], False
        for number, step in enumerate(model):
            if behind and isinstance(step, nn.ReLU):
                mask = (centres > 0)[regions.owners]
                parts.append((values * torch.where(mask, 1.0, -1.0)).flatten())
                values = values * mask
            elif behind and isinstance(step, nn.MaxPool2d):
                values, leads = _pooled(step, values, centres[regions.owners])
                parts.append(leads)
            elif str(number) == layer:
                values, behind = torch.func.functional_call(step, weights, (values,)), True
            else:
                values = step(values)
            centres = step(centres)
        leads = values.gather(1, labels[:, None]) - values
        parts.append(leads[torch.arange(values.shape[1]) != labels[:, None]] - MARGIN)
        return torch.cat(parts)

    start = torch.zeros(shape[0] * (width + 1), dtype=torch.float64)
    return torch.func.jacrev(inequalities)(start).numpy(), -inequalities(start).numpy()


def _pooled(step: nn.MaxPool2d, values: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the centre's winners have, and their leads over all members; only pools without padding."""
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
    held = program(name, seed)
    expected = least_norm(held.view, held.metric, whole_rows(name, seed), BOUND)
    try:
        solution = held.solve()
    except sytorch.ContradictionError as error:
        assert expected is None and error.contradiction.smallest_bound > BOUND
        return
    assert expected is not None
    assert solution.objective == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert solution.gap <= 1e-6
