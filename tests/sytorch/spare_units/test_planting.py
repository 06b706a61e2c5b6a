"""Spare units against the definitions: least mean square response, silent on all others, within the bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sytorch import InvalidInputError, SecondMomentMetric, second_moment_metric
from sytorch.problem.outputs import append_one
from sytorch.spare_units.detectors import OF_ANOTHER_GROUP, Detectors, detectors
from sytorch.spare_units.planting import CLOSENESS, cost_of_units, plant

WIDTH = 12


def case(seed: int, groups: int = 3, points: int = 1) -> tuple[SecondMomentMetric, list[np.ndarray], np.ndarray]:
    """A metric of 200 ordinary points, groups that stand out from them, and those points."""
    draw = np.random.default_rng(seed)
    ordinary = draw.standard_normal((200, WIDTH))
    centres = 4 * draw.standard_normal((groups, 1, WIDTH))
    members = list(centres + 0.1 * draw.standard_normal((groups, points, WIDTH)))
    rows = append_one(ordinary)
    metric = second_moment_metric(np.asarray(rows.T @ rows / len(rows)), 1e-6)
    return metric, members, ordinary


def found(seed: int, labels: list[int], points: int = 1) -> tuple[Detectors, list[np.ndarray], np.ndarray]:
    metric, groups, ordinary = case(seed, len(labels), points)
    return detectors(metric, groups, np.array(labels), lambda: np.split(ordinary, 4)), groups, ordinary


def values(units: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(append_one(points) @ units.T, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_a_filter_has_the_least_mean_square_response(seed: int) -> None:
    metric, [group, *_], ordinary = case(seed)
    [filter_] = detectors(metric, [group], np.array([0]), lambda: [ordinary]).filters
    factor = np.tril(metric.factor)
    row, matrix = append_one(group)[0], factor @ factor.T
    other = minimize(
        lambda w: w @ matrix @ w,
        np.zeros(WIDTH + 1),
        jac=lambda w: 2 * matrix @ w,
        constraints={"type": "eq", "fun": lambda w: row @ w - 1, "jac": lambda _: row},
        tol=1e-14,
    ).x
    np.testing.assert_allclose(filter_, other, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    points=st.integers(1, 3),
    threshold=st.floats(0.0, 0.9),
    bound=st.floats(0.6, 20.0),
)
def test_planted_units_are_on_for_their_group_alone(
    seed: int, labels: list[int], points: int, threshold: float, bound: float
) -> None:
    seen, groups, ordinary = found(seed, labels, points)
    layer = np.random.default_rng(seed).uniform(-0.5, 0.5, (8, WIDTH + 1))
    costs = np.arange(8.0)[::-1]
    planting = plant(layer, costs, seen, threshold=threshold, bound=bound)
    assert list(planting.units) == list(range(7, 7 - len(labels), -1))
    assert np.abs(planting.change).max() <= bound * (1 + 1e-12)
    units = layer[planting.units] + planting.change
    on = np.stack([values(units, group).min(axis=0) for group in groups])
    assert (on.diagonal() > 0).all()
    quiet = seen.largest <= CLOSENESS * seen.own
    assert (values(units, ordinary)[:, quiet] <= 1e-5).all()
    for own, group in enumerate(groups):
        unlike = quiet & (np.array(labels) != labels[own])
        assert (values(units, group)[:, unlike] <= 1e-5).all()
    roomy = plant(layer, costs, seen, threshold=threshold, bound=1e6)
    at_least = values(layer[roomy.units] + roomy.change, np.concatenate(groups))
    np.testing.assert_allclose(
        [at_least[own * points : (own + 1) * points, own].min() for own in range(len(groups))], 1.0, rtol=1e-6
    )


def test_what_stands_nearest_is_named() -> None:
    metric, groups, ordinary = case(1, groups=2)
    ordinary[[30, 170]] = groups[0][0], 0.9 * groups[1][0]
    seen = detectors(metric, groups, np.array([0, 1]), lambda: np.split(ordinary, 5))
    assert seen.separable.tolist() == [False, True]
    assert seen.nearest.tolist() == [30, 170]


def test_a_twin_with_another_label_is_not_separable_and_one_with_the_same_is() -> None:
    metric, [group, other], ordinary = case(2, groups=2)
    groups = [group, group, other]
    contradicting = detectors(metric, groups, np.array([0, 1, 1]), lambda: [ordinary])
    assert contradicting.separable.tolist() == [False, False, True]
    assert contradicting.nearest[:2].tolist() == [OF_ANOTHER_GROUP] * 2
    assert detectors(metric, groups, np.array([0, 0, 1]), lambda: [ordinary]).separable.all()


def test_units_with_weights_beyond_the_bound_stay() -> None:
    seen, _, _ = found(3, [0, 1])
    layer = np.zeros((3, WIDTH + 1))
    layer[0, 4] = 9.0
    assert sorted(plant(layer, np.zeros(3), seen, threshold=0.3, bound=5.0).units) == [1, 2]
    with pytest.raises(InvalidInputError, match="need as many spare units; there are 1"):
        plant(layer[:2], np.zeros(2), seen, threshold=0.3, bound=5.0)


def test_costs_are_the_mean_squares_of_what_units_give() -> None:
    draw = np.random.default_rng(0)
    behind, units = draw.standard_normal((3, 5)), draw.standard_normal((40, 5))
    given_ = units[:, None, :] * behind
    np.testing.assert_allclose(
        cost_of_units(behind, np.square(units).mean(axis=0)), (given_**2).sum(axis=1).mean(axis=0)
    )


@pytest.mark.parametrize(
    ("groups", "labels", "message"),
    [
        ([], [], "one group at least"),
        ([np.zeros((0, WIDTH))], [0], "P > 0"),
        ([np.zeros((1, WIDTH + 1))], [0], "must be"),
        ([np.full((1, WIDTH), np.nan)], [0], "NaN"),
        ([np.ones((1, WIDTH))], [0, 1], "one label for each group"),
    ],
)
def test_groups_that_are_none_are_refused(groups: list[np.ndarray], labels: list[int], message: str) -> None:
    metric, _, ordinary = case(0)
    with pytest.raises(InvalidInputError, match=message):
        detectors(metric, groups, np.array(labels, dtype=np.int64), lambda: [ordinary])


@pytest.mark.parametrize(("points", "message"), [([], "no ordinary points"), ([np.full((2, WIDTH), np.nan)], "NaN")])
def test_ordinary_points_that_are_none_are_refused(points: list[np.ndarray], message: str) -> None:
    metric, groups, _ = case(0)
    with pytest.raises(InvalidInputError, match=message):
        detectors(metric, groups, np.arange(len(groups)), lambda: points)


def test_a_ridge_of_each_input_is_added_to_it_alone() -> None:
    moment, ridges = np.diag([1.0, 2.0, 3.0]), np.array([1.0, 0.5, 1e-3])
    factor = np.tril(second_moment_metric(moment, ridges).factor)
    np.testing.assert_allclose(factor @ factor.T, moment + 2 * np.diag(ridges))
    for wrong in (np.ones(2), np.array([1.0, 0.0, 1.0])):
        with pytest.raises(InvalidInputError, match="ridge"):
            second_moment_metric(moment, wrong)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_thresholds_that_are_none_are_refused(threshold: float) -> None:
    seen, _, _ = found(3, [0])
    with pytest.raises(InvalidInputError, match="threshold"):
        plant(np.zeros((2, WIDTH + 1)), np.zeros(2), seen, threshold=threshold, bound=5.0)
