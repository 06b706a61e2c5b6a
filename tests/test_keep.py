"""Keep sets: what was right stays right where there is room, and never at the cost of an edit image."""

from __future__ import annotations

import functools

import highspy
import numpy as np
import pytest
import torch

import sytorch
from edits.keep import PRICES, Watched, keep_right
from edits.options import RepairOptions, read_norm
from edits.repair import Repair, compute_repair, margins_asked
from edits.soft_keep import SoftProgram
from helpers.errors import UsageError
from sytorch import AffineOutputs, IdentityMetric
from sytorch.arrays import Vector
from sytorch.ascent import ascend
from sytorch.deadline import Deadline
from sytorch.solvers import HighsSolver

CLASSES, FEATURES = 4, 30
METRIC = IdentityMetric()


def layer(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(CLASSES, FEATURES))


def outputs(count: int, seed: int) -> AffineOutputs:
    inputs = np.random.default_rng(seed).normal(size=(count, FEATURES))
    return AffineOutputs(inputs @ layer(0).T, inputs)


def solving(bound: float, norm: str = "l2"):  # type: ignore[no-untyped-def]
    options = RepairOptions(param_bound=bound, norm=read_norm(norm), margin=1.0, solver="highs")

    def solve(all_outputs: AffineOutputs, labels: torch.Tensor, floors: Vector | None = None) -> Repair:
        solver = HighsSolver()
        margins = margins_asked(all_outputs, labels, options.margin, 1e-4, floors)
        return compute_repair(margins, options, METRIC, solver=solver)

    return solve


@functools.cache
def scene() -> tuple[AffineOutputs, torch.Tensor, Watched]:
    """Eight images with other labels than the layer gives, and 200 that the layer gets right."""
    edits, watched = outputs(8, 1), outputs(200, 2)
    labels = torch.from_numpy((edits.logits.argmax(axis=1) + 1) % CLASSES)
    return edits, labels, Watched(watched, watched.logits.argmax(axis=1), np.ones(200, dtype=bool))


def margins_of(edits: AffineOutputs, labels: torch.Tensor) -> sytorch.Margins:
    return sytorch.margin(edits, labels.numpy(), 1.0 + 1e-4)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_fewer_break_and_the_edits_keep_their_margin(norm: str) -> None:
    edits, labels, watched = scene()
    solve = solving(5.0, norm)
    alone = watched.right_after(solve(edits, labels).solution.change).mean()
    kept = keep_right(margins_of(edits, labels), watched, METRIC, solve, Deadline())
    change = kept.repair.solution.change
    after = watched.outputs.at(change)
    assert kept.images > 0
    assert kept.price in PRICES
    assert kept.accuracy_before == 1.0
    assert kept.accuracy_after == (after.argmax(axis=1) == watched.labels).mean() > alone
    assert kept.repair.solution.gap < 1e-6
    leads = sytorch.margin(edits, labels.numpy(), 1.0)
    assert leads.shortfall(edits.inputs @ change.T).max() <= 1e-7


def test_the_search_for_a_price_keeps_the_time_limit() -> None:
    edits, labels, watched = scene()
    with pytest.raises(sytorch.SolverTimeLimitError):
        keep_right(margins_of(edits, labels), watched, METRIC, solving(5.0), Deadline(1e-9))


def test_without_a_broken_image_there_is_nothing_to_keep() -> None:
    edits, labels, watched = scene()
    none = Watched(watched.outputs, watched.labels, np.zeros(200, dtype=bool))
    kept = keep_right(margins_of(edits, labels), none, METRIC, solving(5.0), Deadline())
    np.testing.assert_array_equal(kept.repair.solution.change, solving(5.0)(edits, labels).solution.change)
    assert (kept.images, kept.price) == (0, None)


def test_an_edit_set_that_is_right_already_breaks_nothing() -> None:
    _, _, watched = scene()
    own = watched.outputs.logits[:3].argmax(axis=1)
    scale = 10.0  # so that every lead is far above the margin
    edits = AffineOutputs(scale * watched.outputs.logits[:3], watched.outputs.inputs[:3])
    kept = keep_right(margins_of(edits, torch.from_numpy(own)), watched, METRIC, solving(5.0), Deadline())
    assert (kept.images, kept.price, kept.accuracy_after) == (0, None, 1.0)
    assert not kept.repair.solution.change.any()


def test_where_the_edit_set_leaves_no_room_its_own_repair_is_the_answer() -> None:
    """The watched images are the edit images themselves, right as they were: both cannot be."""
    edits, labels, _ = scene()
    watched = Watched(edits, edits.logits.argmax(axis=1), np.ones(len(labels), dtype=bool))
    kept = keep_right(margins_of(edits, labels), watched, METRIC, solving(5.0), Deadline())
    assert (kept.images, kept.accuracy_after) == (0, 0.0)


@pytest.mark.parametrize("price", [0.03, 0.3, 3.0])
def test_the_soft_change_is_that_of_a_support_vector_machine(price: float) -> None:
    """Against the whole primal program with its hinge, by HiGHS."""
    edits, labels, watched = scene()
    few = np.arange(200) < 12
    margins, kept = margins_of(edits, labels), watched.margins(few)
    soft = SoftProgram(margins, kept, METRIC)
    unpriced = SoftProgram(margins, watched.margins(np.zeros(200, dtype=bool)), METRIC)
    change = soft.change(price)
    strongest = strongest_pull(margins)
    cost = price * strongest

    def objective(change: np.ndarray) -> float:
        missed = np.maximum(kept.shortfall(kept.outputs.inputs @ change.T), 0.0)
        return 0.5 * float((change**2).sum()) + cost * float(missed.sum())

    assert margins.shortfall(edits.inputs @ change.T).max() < 0.02
    assert objective(change) == pytest.approx(least_by_highs(margins, kept, cost), rel=0.02)
    assert objective(change) <= objective(unpriced.change(price)) + 0.02


def test_the_soft_change_in_metrics_of_classes() -> None:
    """Equal metrics are one; where a row is dearer, the change is another, and smaller in that metric."""
    edits, labels, watched = scene()
    margins, kept = margins_of(edits, labels), watched.margins(np.arange(200) < 12)
    scales = (1.0, 4.0, 1.0, 0.25)
    definite = [sytorch.SecondMomentMetric(np.sqrt(scale) * np.eye(FEATURES)) for scale in scales]
    change = SoftProgram(margins, kept, sytorch.PerClassMetric(tuple(definite))).change(0.3)
    cost = np.repeat(scales, FEATURES)
    alike = SoftProgram(margins, kept, sytorch.PerClassMetric((definite[0],) * CLASSES)).change(0.3)
    np.testing.assert_allclose(alike, SoftProgram(margins, kept, METRIC).change(0.3), atol=1e-3)
    assert margins.shortfall(edits.inputs @ change.T).max() < 0.02
    assert float(cost @ change.ravel() ** 2) < float(cost @ alike.ravel() ** 2)


def strongest_pull(margins: sytorch.Margins) -> float:
    """The largest multiplier of the edit images alone."""
    image, other = np.nonzero(margins.required > -np.inf)
    one_hot = np.eye(CLASSES)
    rows = (one_hot[margins.labels[image]] - one_hot[other])[:, :, None] * margins.outputs.inputs[image][:, None]
    flat = torch.from_numpy(rows.reshape(len(image), -1))
    found, _ = ascend(flat @ flat.T, torch.from_numpy(margins.required[image, other]), 1e-9, 20_000)
    return float(found.max())


def least_by_highs(margins: sytorch.Margins, kept: sytorch.Margins, cost: float) -> float:
    """The optimum of the whole quadratic program, with a slack for each lead that has a price."""
    program, count = highspy.Highs(), CLASSES * FEATURES  # type: ignore[no-untyped-call]
    program.setOptionValue("output_flag", False)
    change = [program.addVariable(lb=-highspy.kHighsInf) for _ in range(count)]
    slacks = 0
    for part, soft in ((margins, False), (kept, True)):
        for image, other in np.argwhere(part.required > -np.inf):
            own, inputs = int(part.labels[image]) * FEATURES, part.outputs.inputs[image]
            lead = sum(
                value * (change[own + at] - change[int(other) * FEATURES + at]) for at, value in enumerate(inputs)
            )
            if soft:
                lead = lead + program.addVariable(lb=0.0, obj=cost)
                slacks += 1
            program.addConstr(lead >= float(part.required[image, other]))
    hessian = highspy.HighsHessian()
    total = count + slacks
    hessian.dim_, hessian.format_ = total, highspy.HessianFormat.kTriangular
    hessian.start_ = np.minimum(np.arange(total + 1), count)
    hessian.index_, hessian.value_ = np.arange(count), np.ones(count)
    program.passHessian(hessian)
    program.run()
    return float(program.getInfo().objective_function_value)


def test_an_image_that_stays_wrong_is_asked_for_no_more_than_it_has() -> None:
    edits, labels, watched = scene()
    soft = SoftProgram(margins_of(edits, labels), watched.margins(watched.right), METRIC)
    change = soft.change(0.01)
    floors = soft.floors(change)
    logits = watched.outputs.at(change)
    own = logits[np.arange(200), watched.labels]
    logits[np.arange(200), watched.labels] = -np.inf
    leads = own - logits.max(axis=1)
    assert (floors <= 0).all() and (floors <= leads).all() and (floors < 0).any()
    np.testing.assert_allclose(floors[leads < 0], leads[leads < 0], atol=2e-3)


def test_one_size_of_margin_for_each_image() -> None:
    edits, labels, _ = scene()
    sizes = np.arange(8.0)
    margins = sytorch.margin(edits, labels.numpy(), sizes)
    for image, size in enumerate(sizes):
        alone = sytorch.margin(
            AffineOutputs(edits.logits[[image]], edits.inputs[[image]]), labels.numpy()[[image]], size
        )
        np.testing.assert_array_equal(margins.required[image], alone.required[0])


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(UsageError, match="--keep"):
        RepairOptions(keep=-1)
