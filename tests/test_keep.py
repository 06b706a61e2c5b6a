"""Keep sets: what was right stays right where there is room, and never at the cost of an edit image."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import sytorch
from edits.keep import Watched, keep_right
from edits.options import RepairOptions
from edits.repair import Repair, compute_repair
from helpers.errors import UsageError
from sytorch import AffineOutputs, IdentityMetric, SolverName
from sytorch.solvers import HighsSolver

CLASSES, FEATURES = 4, 30


def layer(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(CLASSES, FEATURES))


def outputs(count: int, seed: int) -> AffineOutputs:
    inputs = np.random.default_rng(seed).normal(size=(count, FEATURES))
    return AffineOutputs(inputs @ layer(0).T, inputs)


def solving(bound: float, norm: str = "l2"):  # type: ignore[no-untyped-def]
    options = RepairOptions(param_bound=bound, norm=sytorch.NormName(norm), margin=1.0, solver=SolverName.HIGHS)

    def solve(all_outputs: AffineOutputs, labels: torch.Tensor, kept: int) -> Repair:
        metric, solver = IdentityMetric(), HighsSolver()
        return compute_repair(all_outputs, labels, options, metric, solver=solver, allowance=1e-4, kept=kept)

    return solve


@functools.cache
def scene() -> tuple[AffineOutputs, torch.Tensor, Watched]:
    """Eight images with other labels than the layer gives, and 200 that the layer gets right."""
    edits, watched = outputs(8, 1), outputs(200, 2)
    labels = torch.from_numpy((edits.logits.argmax(axis=1) + 1) % CLASSES)
    return edits, labels, Watched(watched, watched.logits.argmax(axis=1), np.ones(200, dtype=bool))


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_fewer_break_and_the_edits_keep_their_margin(norm: str) -> None:
    edits, labels, watched = scene()
    solve = solving(5.0, norm)
    alone = watched.right_after(solve(edits, labels, 0).solution.change).mean()
    kept = keep_right(edits, labels, watched, solve)
    change = kept.repair.solution.change
    after = watched.outputs.at(change)
    assert kept.images > 0
    assert kept.accuracy_before == 1.0
    assert kept.accuracy_after == (after.argmax(axis=1) == watched.labels).mean() > alone
    leads = sytorch.margin(edits, labels.numpy(), 1.0)
    assert leads.shortfall(edits.inputs @ change.T).max() <= 1e-7


def test_without_a_broken_image_there_is_nothing_to_keep() -> None:
    edits, labels, watched = scene()
    none = Watched(watched.outputs, watched.labels, np.zeros(200, dtype=bool))
    kept = keep_right(edits, labels, none, solving(5.0))
    np.testing.assert_array_equal(kept.repair.solution.change, solving(5.0)(edits, labels, 0).solution.change)
    assert kept.images == 0


def test_where_the_edit_set_leaves_no_room_its_own_repair_is_the_answer() -> None:
    """The watched images are the edit images themselves, right as they were: both cannot be."""
    edits, labels, _ = scene()
    watched = Watched(edits, edits.logits.argmax(axis=1), np.ones(len(labels), dtype=bool))
    kept = keep_right(edits, labels, watched, solving(5.0))
    assert (kept.images, kept.accuracy_after) == (0, 0.0)


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
