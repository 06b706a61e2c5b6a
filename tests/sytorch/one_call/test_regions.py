"""Polytopes in one call: every point inside is judged by sampling, and the network there by its linear pieces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

import sytorch
from checker.chain import ChainCertificate, certificate_of
from sytorch.hidden_layer.constraints import Constraints
from sytorch.hidden_layer.polytopes import broken_on
from sytorch.hidden_layer.program import FixedPatternProgram
from sytorch.problem.deadline import Deadline
from sytorch.problem.solution import Solution
from tests.sytorch.hidden_layer.test_polytopes import inside
from tests.sytorch.hidden_layer.test_shifting import boxes, network


def ordinary() -> torch.Tensor:
    return torch.randn(400, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def second_choices(model: nn.Module, regions: sytorch.Polytopes) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(regions.centres).topk(2).indices[:, 1])


def answers_inside(model: nn.Module, regions: sytorch.Polytopes) -> list[torch.Tensor]:
    """The outputs at random points of every polytope, its vertices among them."""
    with torch.inference_mode():
        return [model(inside(group, 0)) for group in regions.groups(regions.vertices)]


def certificate(repaired: sytorch.Repaired, folder: Path) -> ChainCertificate:
    repaired.certify(folder / "certificate.npz")
    found = certificate_of(folder / "certificate.npz")
    assert isinstance(found, ChainCertificate)
    return found.check()


def test_the_certificate_is_of_all_points_inside(tmp_path: Path) -> None:
    model, regions = network(2), boxes(2, 3, 0.2)
    found = sytorch.repair(model, regions, second_choices(model, regions), ordinary=ordinary(), margin=0.05)
    accepted = certificate(found, tmp_path)
    assert accepted.accepted and any(name == "polytopes" for _, name, _ in accepted.lines), accepted.lines
    points = sytorch.repair(model, regions.vertices, found.task.required.labels, ordinary=ordinary(), margin=0.05)  # type: ignore[attr-defined]
    object.__setattr__(points, "task", replace(points.task, regions=regions))
    assert broken_on(points.model, regions) > 0
    refused = certificate(points, tmp_path)
    assert [name for state, name, _ in refused.lines if state == "FAILS"] == ["polytopes"], refused.lines


@given(seed=st.integers(0, 10**6), count=st.integers(1, 4), layer=st.sampled_from(["4", "2", "auto"]))
@settings(max_examples=15, deadline=None)
def test_every_point_inside_is_repaired(seed: int, count: int, layer: str) -> None:
    model, regions = network(seed), boxes(seed, count, 0.2)
    labels = second_choices(model, regions)
    try:
        repaired = sytorch.repair(model, regions, labels, ordinary=ordinary(), margin=0.05, layer=layer)
    except sytorch.ContradictionError:
        return  # a few boxes of three inputs may be too many for it
    except sytorch.SolverFailedError as error:
        assert "only at zero itself" in str(error)
        return
    for outputs, label in zip(answers_inside(repaired.model, regions), labels, strict=True):
        others = outputs.index_fill(1, label, -torch.inf).amax(dim=1)
        assert float((outputs[:, label] - others).min()) >= 0.05 - 1e-9
    assert broken_on(repaired.model, regions) == 0
    before, after = model.state_dict(), repaired.model.state_dict()
    assert {name[0] for name in before if not torch.equal(before[name], after[name])} <= set(repaired.layers)
    assert layer == "auto" or repaired.layers[-1] == layer


@pytest.mark.parametrize(
    ("seed", "count", "error", "told"),
    [
        (231, 4, sytorch.ContradictionError, None),  # Newton's multipliers come near the proof slowly
        (200, 3, sytorch.ContradictionError, None),  # or so far that steps do not end
        (466, 3, sytorch.ContradictionError, None),
        (202, 4, sytorch.SolverFailedError, "only at zero itself"),
        (385, 4, sytorch.SolverFailedError, "only at zero itself"),  # or with a change beyond a million
    ],
)
def test_what_cannot_be_is_told(
    seed: int, count: int, error: type[Exception], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HiGHS says so: of the last one, that signs can be kept, but at no distance from zero."""
    model, regions, constraints = network(seed), boxes(seed, count, 0.2), list[Constraints]()

    def solve(program: FixedPatternProgram, deadline: Deadline) -> Solution:
        constraints.append(program._constraints())
        return program.answer(deadline).unwrap()

    monkeypatch.setattr(FixedPatternProgram, "solve", solve)
    with pytest.raises(error, match=told):
        sytorch.repair(model, regions, second_choices(model, regions), ordinary=ordinary(), margin=0.05, layer="2")
    last = constraints[-1]
    rows = torch.stack([last.gradient(row).flatten() for row in torch.eye(len(last.required), dtype=torch.float64)])
    at_distance, anywhere = (least_miss(rows, wanted) for wanted in (last.required, last.asked))
    assert at_distance > 1e-6 and (anywhere > 1e-6) == (error is sytorch.ContradictionError)


@pytest.mark.parametrize(("seed", "count"), [(430, 2), (430, 3), (427, 4)])
def test_a_change_that_is_large_by_far_is_found(seed: int, count: int) -> None:
    """Newton's steps did not come to its end."""
    model, regions = network(seed), boxes(seed, count, 0.2)
    labels = second_choices(model, regions)
    repaired = sytorch.repair(model, regions, labels, ordinary=ordinary(), margin=0.05, layer="2")
    assert broken_on(repaired.model, regions) == 0
    for outputs, label in zip(answers_inside(repaired.model, regions), labels, strict=True):
        assert int((outputs.argmax(dim=1) != label).sum()) == 0


def least_miss(rows: torch.Tensor, required: torch.Tensor) -> float:
    """By how much one of the rows, (R, n), misses what is required, (R,), whatever the change."""
    whole = -torch.cat([rows, torch.ones(len(rows), 1)], dim=1).numpy()
    cost = np.eye(whole.shape[1])[-1]
    found = linprog(cost, A_ub=whole, b_ub=-required.numpy(), bounds=[*[(None, None)] * (len(cost) - 1), (0, None)])
    return float(found.fun)


def test_a_choice_is_made_for_a_whole_polytope() -> None:
    """Each vertex alone is nearest to another branch; were both chosen, points between would have neither property."""
    model = nn.Sequential(nn.Linear(1, 2)).double().eval()
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[1.0], [-1.0]]))
        model.get_parameter("0.bias").zero_()
    regions = sytorch.polytopes([torch.tensor([[-1.0], [1.0]], dtype=torch.float64)])
    wanted = sytorch.halfspaces([[1.0, 0.0]], 0.5) | sytorch.halfspaces([[0.0, 1.0]], 0.5)
    assert wanted.holds(model(regions.vertices).detach().numpy()).all()
    repaired = sytorch.repair(model, regions, wanted, margin=0.0)
    assert wanted.holds(answers_inside(repaired.model, regions)[0].numpy()).all()


def test_a_property_of_boxes() -> None:
    model, regions = network(3, (3, 20, 20, 5)), boxes(3, 3, 0.15)
    shunned = int(model(regions.centres).mean(dim=0).argmin())
    wanted = sytorch.not_least(shunned)
    repaired = sytorch.repair(model, regions, wanted, ordinary=ordinary(), margin=0.01)
    assert all(wanted.holds(outputs.numpy()).all() for outputs in answers_inside(repaired.model, regions))


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1, 2], "each polytope"), ([sytorch.least(0)] * 2, "one for each of 4 polytopes"), ([0, 1, 2, 9], "from 0")],
)
def test_what_does_not_fit_polytopes_is_said(labels: list[object], message: str) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=message):
        sytorch.repair(network(0), boxes(0, 4, 0.2), labels)  # type: ignore[arg-type]


def test_one_box_with_two_answers_is_refuted() -> None:
    regions = sytorch.polytopes([boxes(0, 1, 0.2).vertices] * 2)
    with pytest.raises(sytorch.ContradictionError) as error:
        sytorch.repair(network(0), regions, [0, 1], margin=0.1)
    owners = regions.owners.numpy()[list(error.value.contradiction.images)]
    assert set(owners) == {0, 1}
