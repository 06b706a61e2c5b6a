"""Programs small enough to be solved by hand, for each norm, metric and bound: every path finds the number.

In what follows ``h`` is an image with a 1 appended, ``r`` what the margin has to grow by.

One image, two classes, identity metric: ``h = (4, 2, 1)``, ``r = 24``. The own row of ``D`` grows where the other
shrinks, so each of the three features is there twice:

* ``l1`` puts all on the 4: 24 / 4. Under 1.8 both 4s give 14.4, both 2s 7.2, and the last 2.4 come from the ones.
* ``linf`` puts the same everywhere: 24 / (2 (4 + 2 + 1)).
* ``linf+l1``, the largest plus a sixth of the sum: ``t`` on both 4s and 2s, ``t = 24 / 12``: ``2 + 8/6``. Using the
  ones too gives 2 * 24/14, more. Under 1.8 the ones give the missing 2.4: ``1.8 + (7.2 + 2.4)/6``.
* ``l2`` is parallel to ``h``: 24 / sqrt(2 * 21). Under 1.8 first the 4s are clipped (the rest would be 0.96 (2, 1)),
  then the 2s, and the ones get 1.2: ``sqrt(2 (1.8^2 + 1.8^2 + 1.2^2))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from sytorch.problem.arrays import Matrix

WAYS = [("gurobi", False), ("gurobi", True), ("highs", False), ("highs", True)]
Way = tuple[str, bool]
NORMS = ("l1", "linf", "linf+l1", "l2")
FREE = float("inf")
TWICE_THE_IDENTITY = sytorch.second_moment_metric(np.eye(3), ridge=1.0)
METRICS: dict[str, sytorch.Metric] = {"identity": sytorch.IdentityMetric(), "training": TWICE_THE_IDENTITY}


@dataclass(frozen=True)
class Problem:
    """A linear layer, its images and their labels, the margin asked for and the metric."""

    weight: list[list[float]]
    bias: list[float]
    images: list[list[float]]
    labels: list[int]
    margin: float
    metric: sytorch.Metric

    def margins(self) -> sytorch.Margins:
        model = linear(self.weight, self.bias)
        outputs = sytorch.symbolic(model, "0")(torch.tensor(self.images, dtype=torch.float32))
        return sytorch.margin(outputs, np.array(self.labels), self.margin)

    def solve(self, norm: str, bound: float, way: Way) -> sytorch.Solution:
        solver, whole = way
        program = sytorch.minimise(norm, self.metric).subject_to(self.margins(), bound)
        return program.solve(solver, whole=whole)


def linear(weight: list[list[float]], bias: list[float]) -> nn.Sequential:
    """A network of one layer, named ``0``."""
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    return nn.Sequential(layer).eval()


# The logits are (4, 2): class 1 is behind by 2, so that a margin of 22 needs 24.
ONE_IMAGE = Problem([[1, 0], [0, 1]], [0, 0], [[4, 2]], [1], 22.0, sytorch.IdentityMetric())

# M = diag(12, 0, 0) + 12/3 I = diag(16, 4, 4): M^-1 h = (1/4, 1/2, 1/4) and K = h M^-1 h = 2.25, so B = 1.5. A row of
# the change is v (1/6, 1/3, 1/6), with v the only coordinate of its class; the own v has to lead by 24 / 1.5 = 16.
THREE_CLASSES = Problem(
    [[0, 0]] * 3, [0, 0, 0], [[4, 2]], [0], 24.0, sytorch.second_moment_metric(np.diag([12.0, 0.0, 0.0]), ridge=1.0)
)

# h = (1, 0, 1) and (-1, 0, 1), M = 2 I, so K = B = I: the coordinates are the movements of the logits, and a row of the
# change is ((v1 - v2)/2, 0, (v1 + v2)/2). The first image needs 8 against class 1, the second 8 against class 2; both
# lead the other class by 15. A bound of 3 keeps both movements of class 0 together within 6.
TWO_IMAGES = Problem([[0, 0], [10, 0], [-10, 0]], [0, -5, -5], [[1, 0], [-1, 0]], [0, 0], 3.0, METRICS["training"])

BY_HAND = [
    (ONE_IMAGE, "l1", FREE, 6.0),
    (ONE_IMAGE, "l1", 1.8, 9.6),
    (ONE_IMAGE, "linf", FREE, 12 / 7),
    (ONE_IMAGE, "linf", 1.8, 12 / 7),
    (ONE_IMAGE, "linf+l1", FREE, 10 / 3),
    (ONE_IMAGE, "linf+l1", 1.8, 3.4),
    (ONE_IMAGE, "l2", FREE, 24 / 42**0.5),
    (ONE_IMAGE, "l2", 1.8, 15.84**0.5),
    # u of the own class, u - 16 of the others: u + 2 (16 - u) falls up to u = 16; |v| / 3 <= 3 stops it at 9.
    (THREE_CLASSES, "l1", FREE, 16.0),
    (THREE_CLASSES, "l1", 3.0, 23.0),
    # max(u, 16 - u), which no bound that allows it changes.
    (THREE_CLASSES, "linf", FREE, 8.0),
    (THREE_CLASSES, "linf", 3.0, 8.0),
    # u + (32 - u) / 3 grows from u = 8 on.
    (THREE_CLASSES, "linf+l1", FREE, 16.0),
    (THREE_CLASSES, "linf+l1", 3.0, 16.0),
    # u^2 + 2 (16 - u)^2 at u = 32/3.
    (THREE_CLASSES, "l2", FREE, (512 / 3) ** 0.5),
    # u of class 0 and 8 - u of the other, for both images: any u in [0, 8] does, so 3 + 5 is as good as 4 + 4.
    (TWO_IMAGES, "l1", FREE, 16.0),
    (TWO_IMAGES, "l1", 3.0, 16.0),
    # max(u, 8 - u) at 4, under the bound at u = 3.
    (TWO_IMAGES, "linf", FREE, 4.0),
    (TWO_IMAGES, "linf", 3.0, 5.0),
    # The sum is 16 throughout; a sixth of it is added.
    (TWO_IMAGES, "linf+l1", FREE, 4 + 16 / 6),
    (TWO_IMAGES, "linf+l1", 3.0, 5 + 16 / 6),
    # 2 (u^2 + (8 - u)^2) at 4 and at 3.
    (TWO_IMAGES, "l2", FREE, 8.0),
    (TWO_IMAGES, "l2", 3.0, 68**0.5),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("problem", "norm", "bound", "expected"), BY_HAND)
def test_the_minimum_is_the_one_found_by_hand(
    problem: Problem, norm: str, bound: float, expected: float, way: Way
) -> None:
    solution = problem.solve(norm, bound, way)
    assert solution.objective == pytest.approx(expected, rel=1e-7)
    assert solution.lower_bound == pytest.approx(expected, rel=1e-7)
    assert 0 <= solution.gap <= 2e-7
    assert solution.max_abs_change <= bound * (1 + 1e-8)
    assert solution.path == ("whole" if way[1] or norm in ("linf", "linf+l1") else "decomposed")
    assert way[0] in solution.effort.solver


HAND_MADE_CHANGES = [
    (ONE_IMAGE, "linf", FREE, [12 / 7, 12 / 7, 12 / 7]),
    (ONE_IMAGE, "linf+l1", FREE, [2.0, 2.0, 0.0]),
    (ONE_IMAGE, "l2", FREE, [16 / 7, 8 / 7, 4 / 7]),
    (ONE_IMAGE, "l2", 1.8, [1.8, 1.8, 1.2]),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("problem", "norm", "bound", "row"), HAND_MADE_CHANGES)
def test_the_change_is_the_one_found_by_hand_where_there_is_only_one(
    problem: Problem, norm: str, bound: float, row: list[float], way: Way
) -> None:
    change = problem.solve(norm, bound, way).change
    np.testing.assert_allclose(change, np.array([[-entry for entry in row], row]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_bound_leaves_the_euclidean_norm_all_changes_not_just_combinations_of_images(way: Way) -> None:
    # One image and two classes as in THREE_CLASSES. Without a bound D = +-8 (1/6, 1/3, 1/6). Under 2 the second entry
    # is clipped and gives 2 * 2 of the 12 that one row owes; the others share 8 in proportion to M^-1 h = (1/4, 1/4),
    # whose own h M^-1 h is 1.25: 6.4 (1/4, 1/4) = (1.6, 1.6). No multiple of M^-1 h is that.
    problem = Problem([[0, 0]] * 2, [0, 0], [[4, 2]], [0], 24.0, THREE_CLASSES.metric)
    solution = problem.solve("l2", 2.0, way)
    np.testing.assert_allclose(solution.change, [[1.6, 2, 1.6], [-1.6, -2, -1.6]], rtol=1e-6)
    assert solution.objective == pytest.approx((2 * (16 * 1.6**2 + 4 * 2**2 + 4 * 1.6**2)) ** 0.5, rel=1e-7)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("norm", NORMS)
def test_only_the_bias_can_help_an_image_without_features(norm: str, metric: str, way: Way) -> None:
    problem = Problem([[0, 0]] * 2, [0, 0], [[0, 0]], [1], 6.0, METRICS[metric])
    solution = problem.solve(norm, 100.0, way)
    # The training metric 2 I makes every norm sqrt(2) larger. The two biases share 6; there are 6 entries in the
    # identity metric and 2 coordinates in the training metric.
    mean = 6 / 6 if metric == "identity" else 6 / 2
    by_norm = {"l1": 6.0, "linf": 3.0, "linf+l1": 3.0 + mean, "l2": 18**0.5}
    assert solution.objective == pytest.approx(by_norm[norm] * (1 if metric == "identity" else 2**0.5), rel=1e-7)
    np.testing.assert_allclose(solution.change[1, 2] - solution.change[0, 2], 6.0, rtol=1e-7)
    np.testing.assert_allclose(solution.change[:, :2], 0.0, atol=3.0 if norm == "linf" else 1e-9)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("norm", NORMS)
def test_margins_that_hold_already_need_no_change_and_no_solver(norm: str, metric: str, whole: bool) -> None:
    # The logits are (4, 2) and class 0 leads by just the margin.
    problem = Problem([[1, 0], [0, 1]], [0, 0], [[4, 2]], [0], 2.0, METRICS[metric])
    solution = problem.solve(norm, 5.0, ("gurobi", whole))
    assert solution.objective == solution.lower_bound == solution.gap == solution.max_abs_change == 0.0
    assert solution.change.shape == (2, 3)
    assert solution.effort == sytorch.Effort()


@pytest.mark.parametrize("norm", NORMS)
def test_the_dual_norm_is_what_the_closed_form_says(norm: str) -> None:
    # Of (4, 2, -1) with 3 entries: one on its largest, the sum, the larger of 4/(1+1/3), 6/(1+2/3), 7/2, the length.
    matrix: Matrix = np.array([[4.0, 2.0, -1.0]])
    expected = {"l1": 4.0, "linf": 7.0, "linf+l1": 3.6, "l2": 21**0.5}
    values = {"l1": 7.0, "linf": 4.0, "linf+l1": 4 + 7 / 3, "l2": 21**0.5}
    assert sytorch.norm(norm, 3).dual_value(matrix) == pytest.approx(expected[norm])
    assert sytorch.norm(norm, 3).value(matrix) == pytest.approx(values[norm])
    assert sytorch.norm(norm, 3).value(0 * matrix) == sytorch.norm(norm, 3).dual_value(0 * matrix) == 0.0


def test_what_is_no_norm_and_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="l3"):
        sytorch.minimise("l3", METRICS["identity"])
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="bound must be positive"):
            sytorch.minimise("l1", METRICS["identity"]).subject_to(ONE_IMAGE.margins(), bound)
