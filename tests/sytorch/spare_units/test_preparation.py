"""Points and units: who shares one, and that what is planted is on for its own points and off for all others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sytorch import InvalidInputError, SecondMomentMetric
from sytorch.spare_units.preparation import alike, prepared
from tests.sytorch.spare_units.test_planting import TOLERATED, WIDTH, case, values

BOUND = 40.0  # large enough for every filter here


def plain(width: int) -> SecondMomentMetric:
    """The inner products of points themselves, and the bias's 1."""
    return SecondMomentMetric(np.eye(width + 1))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    needed=st.integers(1, 2),
    fewer=st.integers(0, 3),
)
def test_points_get_units_that_are_as_large_as_they_need_and_off_for_ordinary_points(
    seed: int, labels: list[int], needed: int, fewer: int
) -> None:
    metric, groups, ordinary = case(seed, labels, points=2)
    points, count = np.stack([group.points for group in groups]), max(len(labels) - fewer, len(set(labels)))
    draw = np.random.default_rng(seed)
    layer, missing = draw.uniform(-0.5, 0.5, (20, WIDTH + 1)), draw.uniform(0.0, 3 * BOUND, len(labels))
    units = draw.permutation(20)
    found = prepared(
        layer,
        units,
        points,
        np.array(labels),
        missing,
        metric=metric,
        ordinary=lambda: [ordinary.astype(np.float32)],
        threshold=0.2,
        tolerated=TOLERATED,
        bound=BOUND,
        count=count,
        needed=needed,
    )
    assert sorted(np.concatenate(found.members).tolist()) == list(range(len(labels)))
    assert [len({labels[point] for point in part}) for part in found.members] == [1] * len(found.members)
    assert set(found.planting.units) <= set(units[:count]) and len(found.members) <= count
    planted = layer[found.planting.units] + found.planting.change
    for group, part in enumerate(found.members):
        rows = planted[found.planting.groups == group]
        own = values(rows, points[part, :needed].reshape(-1, WIDTH)).sum(axis=1)
        assert own.min() >= max(1.0, missing[part].max() / BOUND) * (1 - 1e-6)
        if found.found.largest[group] <= TOLERATED * found.found.own[group]:
            others = points[np.array(labels) != labels[part[0]]].reshape(-1, WIDTH)
            assert values(rows, np.concatenate([ordinary, others])).max() <= 1e-6


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=40), spare=st.integers(0, 40))
def test_groups_are_of_one_label_and_no_more_than_there_may_be(labels: list[int], spare: int) -> None:
    most = len(set(labels)) + spare
    points = np.random.default_rng(0).standard_normal((len(labels), 3))
    groups = alike(plain(3), points, np.array(labels), most)
    assert len(groups) <= most
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(labels)))
    assert all(len({labels[place] for place in group}) == 1 for group in groups)
    if len(labels) <= most:
        assert all(len(group) == 1 for group in groups)
    assert max(map(len, groups)) - 1 < len(labels) / max(most - len(set(labels)), 1) + 1


def test_alike_points_come_together() -> None:
    points = np.array([[5.0, 0.0], [0.0, 5.0], [4.0, 0.1], [0.1, 4.0]])
    assert [group.tolist() for group in alike(plain(2), points, np.zeros(4, dtype=np.int64), 2)] == [[0, 2], [1, 3]]
    with pytest.raises(InvalidInputError, match="2 labels"):
        alike(plain(2), points, np.array([0, 1, 1, 1]), 1)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 1, 2, 0]])
def test_detectors_in_the_first_of_two_hidden_layers_reach_the_last_by_a_unit_for_each_label(labels: list[int]) -> None:
    metric, groups, ordinary = case(3, labels)
    points, draw = np.stack([group.points for group in groups]), np.random.default_rng(0)
    first, second, last = (draw.uniform(-0.5, 0.5, shape) for shape in ((20, WIDTH + 1), (10, 21), (3, 11)))
    found = prepared(
        first,
        np.arange(20),
        points,
        np.array(labels),
        np.ones(len(labels)),
        metric=metric,
        ordinary=lambda: [ordinary.astype(np.float32)],
        threshold=0.2,
        tolerated=TOLERATED,
        bound=BOUND,
    )
    assert found.found.separable.all()
    units, names = found.planting.units, np.array(labels)[found.planting.groups]
    first[units] += found.planting.change
    second[:, units], second[:3] = 0.0, 0.0
    before = values(last, values(second, values(first, ordinary)))
    for label in range(3):
        second[label, units[names == label]] = 1.0
        last[label, :3] = 100.0 * np.eye(3)[label]
    seen = points[:, 0]
    assert (values(last, values(second, values(first, seen))).argmax(axis=1) == labels).all()
    np.testing.assert_array_equal(values(last, values(second, values(first, ordinary))), before)
