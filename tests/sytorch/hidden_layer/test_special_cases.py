"""What is fixed, solved or refuted where something is special: units that stay, dead layers, copies, NaN, no bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from sytorch.certificate.bounds import bound_from
from sytorch.hidden_layer.constraints import broken_bounds, no_bounds, still_of
from sytorch.hidden_layer.dual import Optimum
from sytorch.hidden_layer.infeasibility import refute
from sytorch.hidden_layer.inner_products import ConstraintRows, DualOperator
from sytorch.hidden_layer.verification import verified
from sytorch.network.chain import chain_of
from sytorch.problem.solution import Effort
from tests.sytorch.hidden_layer.test_program import metric_for, program
from tests.sytorch.networks import network


def test_a_row_for_one_side_of_an_entry_does_not_hide_the_other() -> None:
    """An entry that was beyond one side and then is beyond the other gets a row for that side, too."""
    change = torch.tensor([[3.0, -3.0, 0.5]]).double()
    limits = torch.ones(3).double()
    first = broken_bounds(change, limits, no_bounds())
    assert sorted(zip(first.columns.tolist(), first.sides.tolist(), strict=True)) == [(0, 1.0), (1, -1.0)]
    second = broken_bounds(-change, limits, first)
    assert sorted(zip(second.columns.tolist(), second.sides.tolist(), strict=True)) == [(0, -1.0), (1, 1.0)]
    assert not len(broken_bounds(-change, limits, first.joined(second)).units)


@pytest.mark.parametrize("off", ["margin", "bound"])
def test_a_change_that_misses_what_it_should_have_is_no_answer(off: str) -> None:
    fixed = program("linear", 0)
    constraints = fixed._constraints()
    metric = fixed.metric.restricted(fixed.view)
    operator = DualOperator(constraints, metric, ConstraintRows(constraints, metric, sytorch.Deadline()))
    none = torch.zeros_like(constraints.required)
    size = 0.0 if off == "margin" else 1.0
    change = torch.full((6, 6), size).double()
    with pytest.raises(sytorch.SolverFailedError, match="misses a constraint" if off == "margin" else "beyond"):
        verified(operator, Optimum(none, change, 0, none, ""), 0.5, "fixed", Effort())


def test_multipliers_that_are_not_numbers_refute_nothing() -> None:
    constraints = program("linear", 0)._constraints()
    refute(constraints, 10.0, torch.full_like(constraints.required, torch.nan))
    assert bound_from(np.nan, 1.0) == bound_from(1.0, np.nan) == 0.0


def test_an_image_of_two_classes_is_a_contradiction_without_a_bound_too() -> None:
    model, layer, images = network("linear", 0)
    view = sytorch.linearise(model, layer, images[[0, 1, 0]])
    with pytest.raises(sytorch.ContradictionError) as caught:
        sytorch.fixed_pattern_program(view, [0, 1, 2], 0.1, metric_for(view, 0)).solve()
    found = caught.value.contradiction
    assert found.refuted_bound >= 1e6 and {0, 2} <= set(found.images)
    assert found.multipliers.margins.shape == (3, 3) and found.multipliers.bounds.shape == (6, 6)
    assert {name: part.shape for name, part in found.pattern.items()} == {"1": (3, 6), "3": (3, 4)}


def still_unit() -> tuple[nn.Sequential, torch.Tensor]:
    """A network whose first unit is nearly zero for the first image, behind a normalisation."""
    model, _, images = network("normalised", 0)
    normalisation = model[1]
    assert isinstance(normalisation, nn.BatchNorm1d)
    normalisation.bias[0] -= nn.Sequential(*model[:2])(images)[0, 0] - 1e-9
    return model, images


def test_a_unit_that_nothing_moves_may_be_nearly_zero_behind_a_normalisation() -> None:
    model, images = still_unit()
    view = sytorch.linearise(model, "0[1:6]", images)
    labels = view.logits.argmax(dim=1)
    solution = sytorch.fixed_pattern_program(view, labels, 1e-9, metric_for(view, 0), bound=5.0, allowance=1e-5).solve()
    assert solution.objective < 0.1


def test_what_is_behind_a_layer_without_an_active_unit_may_be_nearly_zero() -> None:
    layers = [nn.Linear(2, 2) for _ in range(3)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double().eval().requires_grad_(False)
    layers[0].bias[:] = -100.0
    layers[1].bias[0] = 1e-9
    view = sytorch.linearise(model, "0", torch.randn(2, 2).double())
    labels = view.logits.argmax(dim=1)
    solution = sytorch.fixed_pattern_program(
        view, labels, 0.0, sytorch.identity_metric(view), bound=5.0, allowance=1e-5
    ).solve()
    assert solution.objective == 0.0


def test_a_sign_that_float32_has_otherwise_and_nothing_moves_is_not_broken() -> None:
    model, images = still_unit()
    view = sytorch.linearise(model, "0[1:6]", images)
    head, layer, tail = chain_of(model).split("0")
    outputs = layer(head(images))
    outputs[0, 0] -= 1e-6  # as rounding may
    assert view.pattern.broken(tail, outputs, still_of(view)) == 0
    assert view.pattern.broken(tail, outputs, still_of(sytorch.linearise(model, "0", images))) == 1


def test_a_unit_that_nothing_moves_and_that_differs_inside_a_polytope_is_a_contradiction() -> None:
    """The first unit is to be positive as at the centre, and at one vertex it is not, whatever the second does."""
    first = nn.Linear(1, 2)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(2, 2)).double().eval().requires_grad_(False)
    first.weight[:], first.bias[:] = 1.0, 0.0
    regions = sytorch.polytopes([torch.tensor([[-1.0], [3.0]]).double()])
    view = sytorch.linearise_polytopes(model, "0[1:2]", regions)
    program = sytorch.fixed_pattern_program(view, [0, 0], -10.0, sytorch.identity_metric(view))
    with pytest.raises(sytorch.ContradictionError) as caught:
        program.solve()
    assert caught.value.contradiction.refuted_bound >= 1e6
