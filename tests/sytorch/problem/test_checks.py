"""What is no image, label, margin, bound, metric or layer is refused with a sentence, by every public function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sytorch

OUTPUTS = sytorch.AffineOutputs(np.zeros((2, 3)), np.ones((2, 4)))
IDENTITY = sytorch.IdentityMetric()


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2],
        (0, 2),
        np.array([0, 2], dtype=np.int32),
        np.array([0, 2], dtype=np.uint8),
        torch.tensor([0, 2]),
        torch.tensor([0, 2], dtype=torch.int32),
    ],
)
def test_labels_of_any_integer_type_are_taken(labels: Any) -> None:
    margins = sytorch.margin(OUTPUTS, labels, 1.0)
    assert margins.labels.dtype == np.int64 and margins.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], "one label for each"),
        ([[0], [1]], "one label for each"),
        (0, "one label for each"),
        ([0, 3], "from 0 to 2"),
        ([-1, 0], "from 0 to 2"),
        ([0.0, 1.0], "whole numbers, not float64"),
        ([True, False], "whole numbers, not bool"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        (["0", "1"], "whole numbers"),
    ],
)
def test_what_is_no_label_is_refused(labels: Any, message: str) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=message):
        sytorch.margin(OUTPUTS, labels, 1.0)


@pytest.mark.parametrize("size", [np.nan, np.inf, [1.0, np.nan], [1.0], [[1.0, 1.0]]])
def test_what_is_no_margin_is_refused(size: Any) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=r"[Mm]argin"):
        sytorch.margin(OUTPUTS, [0, 1], size)


@pytest.mark.parametrize("norm", ["l1", "linf", "linf+l1", "l2"])
def test_minus_infinity_requires_nothing(norm: str) -> None:
    """Both images have one input and two labels, so both margins together are impossible."""
    program = sytorch.minimise(norm, IDENTITY)
    alone = program.subject_to(sytorch.margin(sytorch.AffineOutputs(np.zeros((1, 3)), np.ones((1, 4))), [0], 1.0))
    both = program.subject_to(sytorch.margin(OUTPUTS, [0, 1], [1.0, -np.inf]))
    assert both.solve("highs").objective == pytest.approx(alone.solve("highs").objective, rel=1e-7)
    none = program.subject_to(sytorch.margin(OUTPUTS, [0, 1], -np.inf)).solve("highs")
    assert none.objective == 0.0 and not none.change.any()


def test_one_size_of_margin_for_each_image() -> None:
    both = sytorch.margin(OUTPUTS, [0, 1], [0.5, 2.0])
    for image, size in enumerate((0.5, 2.0)):
        one = sytorch.AffineOutputs(OUTPUTS.logits[[image]], OUTPUTS.inputs[[image]])
        np.testing.assert_array_equal(both.required[image], sytorch.margin(one, [image], size).required[0])


def test_multipliers_of_what_is_not_required_prove_nothing() -> None:
    margins = sytorch.margin(OUTPUTS, [0, 1], [1.0, -np.inf])
    assert sytorch.refuted_bound(margins, np.ones((2, 3))) == pytest.approx(
        sytorch.refuted_bound(margins, np.array([[1.0] * 3, [0.0] * 3]))
    )


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan"), -np.inf])
def test_what_is_no_bound_is_refused(bound: float) -> None:
    with pytest.raises(sytorch.InvalidInputError, match="bound must be positive"):
        sytorch.minimise("l1", IDENTITY).subject_to(sytorch.margin(OUTPUTS, [0, 1], 1.0), bound)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_refused(value: float) -> None:
    for outputs in (
        sytorch.AffineOutputs(np.full((2, 3), value), np.ones((2, 4))),
        sytorch.AffineOutputs(np.zeros((2, 3)), np.full((2, 4), value)),
    ):
        with pytest.raises(sytorch.InvalidInputError, match="NaN or infinity"):
            sytorch.margin(outputs, [0, 1], 1.0)
    with pytest.raises(sytorch.InvalidInputError, match="not of the same N images"):
        sytorch.margin(sytorch.AffineOutputs(np.zeros((2, 3)), np.ones((3, 4))), [0, 1], 1.0)
    with pytest.raises(sytorch.InvalidInputError, match="two classes"):
        sytorch.margin(sytorch.AffineOutputs(np.zeros((2, 1)), np.ones((2, 4))), [0, 0], 1.0)


@pytest.mark.parametrize(
    "images",
    [
        torch.full((2, 3), torch.nan),
        torch.full((2, 3), torch.inf),
        torch.zeros(0, 3),
        torch.zeros(2, 3).long(),
        torch.tensor(0.0),
    ],
)
def test_what_is_no_image_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(sytorch.InvalidInputError, match="images"):
        sytorch.symbolic(nn.Sequential(nn.Linear(3, 2)).eval(), "0")(images)


def test_a_network_in_training_mode_is_refused() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Linear(3, 2))
    with pytest.raises(sytorch.InvalidInputError, match="training mode"):
        sytorch.symbolic(model, "1")
    layer = sytorch.symbolic(model.eval(), "1")
    model.train()
    with pytest.raises(sytorch.InvalidInputError, match="training mode"):
        layer(torch.zeros(1, 3))


def test_a_last_layer_without_bias_is_refused_by_name() -> None:
    with pytest.raises(sytorch.UnsupportedLayerError, match="'0' has no bias"):
        sytorch.symbolic(nn.Sequential(nn.Linear(3, 2, bias=False)).eval(), "0")


@pytest.mark.parametrize("moment", [np.full((3, 3), np.nan), np.ones((2, 3)), np.ones(3), -np.eye(3)])
def test_what_is_no_second_moment_is_refused(moment: Any) -> None:
    with pytest.raises(sytorch.InvalidInputError, match="second moment"):
        sytorch.second_moment_metric(moment)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_metric_needs_a_positive_ridge(ridge: float) -> None:
    with pytest.raises(sytorch.InvalidInputError, match="ridge"):
        sytorch.second_moment_metric(np.eye(3), ridge)


def test_a_metric_of_another_layer_is_refused() -> None:
    margins, three = sytorch.margin(OUTPUTS, [0, 1], 1.0), sytorch.second_moment_metric(np.eye(3))
    with pytest.raises(sytorch.InvalidInputError, match="of 3 inputs, the layer has 4"):
        sytorch.minimise("l1", three).subject_to(margins)
    with pytest.raises(sytorch.InvalidInputError, match="of 2 classes, and 3 outputs"):
        sytorch.minimise("l2", sytorch.PerClassMetric((three, three))).subject_to(margins)


def test_a_time_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(sytorch.InvalidInputError, match="time limit"):
        sytorch.Deadline(float("nan"))


def test_no_time_left_is_no_limit_of_its_own() -> None:
    program = sytorch.minimise("l1", IDENTITY).subject_to(sytorch.margin(OUTPUTS, [0, 0], 1.0), 5.0)
    for limit in (0.0, sytorch.Deadline(0.0), -1.0):
        for solver in ("highs", "gurobi", "auto"):
            with pytest.raises(sytorch.SolverTimeLimitError):
                program.solve(solver, limit)
