"""Spare units against the definitions: least mean square response, silent on all others, within the bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sytorch import InvalidInputError, SecondMomentMetric, second_moment_metric
from sytorch.problem.arrays import Matrix
from sytorch.problem.outputs import append_one
from sytorch.spare_units.detectors import OF_ANOTHER_GROUP, Detectors, Group, detectors
from sytorch.spare_units.planting import moment_with, plant, spare_units

WIDTH, TOLERATED = 12, 0.75


def case(seed: int, labels: list[int], points: int = 1) -> tuple[SecondMomentMetric, list[Group], np.ndarray]:
    """A metric of 200 ordinary points, groups that stand out from them, and those points."""
    draw = np.random.default_rng(seed)
    ordinary = draw.standard_normal((200, WIDTH))
    centres = 4 * draw.standard_normal((len(labels), 1, WIDTH))
    members = centres + 0.1 * draw.standard_normal((len(labels), points, WIDTH))
    rows = append_one(ordinary)
    metric = second_moment_metric(np.asarray(rows.T @ rows / len(rows)), 1e-6)
    return metric, [Group(part, label, points) for part, label in zip(members, labels, strict=True)], ordinary


def found(seed: int, labels: list[int], points: int = 1) -> tuple[Detectors, list[Group], np.ndarray]:
    metric, groups, ordinary = case(seed, labels, points)
    return detectors(metric, groups, lambda: np.split(ordinary.astype(np.float32), 4)), groups, ordinary


def values(units: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(append_one(points) @ units.T, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_a_filter_has_the_least_mean_square_response(seed: int) -> None:
    metric, [group, *_], ordinary = case(seed, [0, 1])
    [filter_] = detectors(metric, [group], lambda: [ordinary.astype(np.float32)]).filters
    factor = np.tril(metric.factor)
    row, matrix = append_one(group.points)[0], factor @ factor.T
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
    order = np.arange(8)[::-1].copy()
    wanted = np.random.default_rng(seed).uniform(0.5, 3.0, len(labels))
    planting = plant(layer, order, seen, wanted, threshold=threshold, tolerated=TOLERATED, bound=bound)
    assert list(planting.units) == list(range(7, 7 - len(planting.units), -1))
    assert planting.groups[: len(labels)].tolist() == list(range(len(labels)))
    assert np.abs(planting.change).max() <= bound
    units = layer[planting.units] + planting.change
    on = np.stack([values(units, group.points).min(axis=0) for group in groups])
    assert (on[planting.groups, np.arange(len(units))] > 0).all()
    sums = np.array([on[own, planting.groups == own].sum() for own in range(len(groups))])
    assert len(units) == 8 or (sums >= wanted * (1 - 1e-6)).all(), "more units would have helped"
    quiet = (seen.largest <= TOLERATED * seen.own)[planting.groups]
    assert (values(units, ordinary)[:, quiet] <= 1e-5).all()
    for own, group in enumerate(groups):
        unlike = quiet & (np.array(labels)[planting.groups] != labels[own])
        assert (values(units, group.points)[:, unlike] <= 1e-5).all()
    roomy = plant(layer, order, seen, wanted, threshold=threshold, tolerated=TOLERATED, bound=1e6)
    at_least = values(layer[roomy.units] + roomy.change, np.concatenate([group.points for group in groups]))
    np.testing.assert_allclose(
        [at_least[own * points : (own + 1) * points, own].min() for own in range(len(groups))], wanted, rtol=1e-6
    )


def test_points_that_are_not_needed_are_left_out_where_ordinary_points_respond_too_much() -> None:
    metric, groups, ordinary = case(4, [0, 1])
    ordinary[7] = 4.0 * np.ones(WIDTH)
    beside = np.concatenate([groups[0].points, ordinary[7:8]])
    asked = [Group(beside, 0, 1), Group(groups[1].points, 1, 1)]

    def batches() -> list[np.ndarray]:
        return [ordinary.astype(np.float32)]

    whole, kept = detectors(metric, asked, batches), detectors(metric, asked, batches, TOLERATED)
    assert (whole.alone.tolist(), kept.alone.tolist()) == ([False, False], [True, False])
    assert whole.largest[0] > 0.999 * whole.own[0] and kept.separable.all()
    alone = detectors(metric, groups, batches)
    np.testing.assert_allclose(kept.filters, alone.filters)
    np.testing.assert_allclose(kept.own, alone.own)


def test_what_stands_nearest_is_named() -> None:
    metric, groups, ordinary = case(1, [0, 1])
    ordinary[[30, 170]] = groups[0].points[0], 0.9 * groups[1].points[0]
    seen = detectors(metric, groups, lambda: np.split(ordinary.astype(np.float32), 5))
    assert seen.separable.tolist() == [False, True]
    assert seen.nearest.tolist() == [30, 170]


def test_a_twin_with_another_label_is_not_separable_and_one_with_the_same_is() -> None:
    metric, [group, other], ordinary = case(2, [0, 1])
    for twin, separable in ((1, [False, False, True]), (0, [True, True, True])):
        groups = [group, Group(group.points, twin, 1), other]
        seen = detectors(metric, groups, lambda: [ordinary.astype(np.float32)])
        assert seen.separable.tolist() == separable
        assert (seen.nearest[:2] == OF_ANOTHER_GROUP).all() == (not separable[0])


def test_units_with_weights_beyond_the_bound_stay() -> None:
    seen, _, _ = found(3, [0, 1])
    layer = np.zeros((3, WIDTH + 1))
    layer[0, 4] = 9.0
    planted = plant(layer, np.arange(3), seen, np.ones(2), threshold=0.3, tolerated=TOLERATED, bound=5.0)
    assert planted.units.tolist() == [1, 2]
    with pytest.raises(InvalidInputError, match="need as many spare units; there are 1"):
        plant(layer, np.arange(2), seen, np.ones(2), threshold=0.3, tolerated=TOLERATED, bound=5.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), units=st.integers(1, 200))
def test_spare_units_are_those_that_give_least_and_their_loss_is_counted(seed: int, units: int) -> None:
    """Against taking each out of a network and counting who gets another answer."""
    draw = np.random.default_rng(seed)
    behind, hidden = draw.standard_normal((3, units)), np.maximum(draw.standard_normal((40, units)), 0)
    hidden *= draw.uniform(0, 1, units) ** 4
    weights, shares = draw.uniform(0.1, 1.0, 40), draw.uniform(1.0, 3.0, 40)
    logits = hidden @ behind.T + draw.standard_normal(3)
    spare = spare_units(behind, hidden.astype(np.float32), logits, weights, shares)
    given_ = np.square(hidden[:, None] * behind).sum(axis=1)
    costs = np.average(given_, axis=0, weights=weights)
    assert (np.diff(costs[spare.order]) >= -1e-6 * costs.max()).all()
    for count in {1, units // 2 or 1, units}:
        without = hidden.copy()
        without[:, spare.order[: -(-count // 64) * 64]] = 0.0
        after = without @ behind.T + (logits - hidden @ behind.T)
        lost = shares[after.argmax(axis=1) != logits.argmax(axis=1)].sum() / shares.sum()
        assert spare.lost[count - 1] >= lost - 1e-9
    assert spare.count(1.0) == units
    assert all(spare.lost[place] <= 0.1 for place in range(spare.count(0.1)))


def test_the_moment_after_planting_is_that_of_the_new_values() -> None:
    draw = np.random.default_rng(5)
    hidden = np.maximum(draw.standard_normal((50, 6)), 0).astype(np.float32)
    weights, units = draw.uniform(size=50), np.array([4, 1])
    weights /= weights.sum()
    planted = np.where(draw.uniform(size=(50, 2)) < 0.1, 2.0, 0.0).astype(np.float32)
    new = hidden.copy()
    new[:, units] = planted

    def moment(points: np.ndarray) -> Matrix:
        rows = append_one(points)
        return np.asarray((rows.T * weights) @ rows)

    seen = np.flatnonzero(planted.any(axis=1))
    after = moment_with(np.tril(moment(hidden)), units, planted[seen], hidden[seen], weights[seen])
    np.testing.assert_allclose(np.tril(after), np.tril(moment(new)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "one group"),
        ([Group(np.zeros((0, WIDTH)), 0, 1)], "P > 0"),
        ([Group(np.zeros((1, WIDTH + 1)), 0, 1)], "must be"),
        ([Group(np.zeros((1, WIDTH)), 0, 2)], "needed"),
        ([Group(np.full((1, WIDTH), np.nan), 0, 1)], "NaN"),
    ],
)
def test_groups_that_are_none_are_refused(groups: list[Group], message: str) -> None:
    metric, _, ordinary = case(0, [0])
    with pytest.raises(InvalidInputError, match=message):
        detectors(metric, groups, lambda: [ordinary.astype(np.float32)])


@pytest.mark.parametrize(("points", "message"), [([], "no ordinary points"), ([np.full((2, WIDTH), np.nan)], "NaN")])
def test_ordinary_points_that_are_none_are_refused(points: list[np.ndarray], message: str) -> None:
    metric, groups, _ = case(0, [0])
    with pytest.raises(InvalidInputError, match=message):
        detectors(metric, groups, lambda: points)


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
    for asked in ((threshold, TOLERATED), (0.1, threshold)):
        with pytest.raises(InvalidInputError, match="threshold"):
            plant(
                np.zeros((2, WIDTH + 1)),
                np.arange(2),
                seen,
                np.ones(1),
                threshold=asked[0],
                tolerated=asked[1],
                bound=5.0,
            )


def test_where_units_run_out_the_group_that_has_least_of_what_it_wants_gets_the_next() -> None:
    filters = np.array([[1.0, 0.0], [4.0, 0.0]])  # within a bound of 0.8 the first is 0.8 of itself, the second 0.2
    ones, zeros = np.ones(2), np.zeros(2)
    seen = Detectors(filters, ones, zeros, np.zeros(2, dtype=np.int64), np.zeros(2, dtype=bool))
    planting = plant(np.zeros((3, 2)), np.arange(3), seen, ones, threshold=0.0, tolerated=TOLERATED, bound=0.8)
    assert planting.groups.tolist() == [0, 1, 1]
