"""The main job on CIFAR-10 with the shared checkpoint and gurobipy's own licence: 100 images, and fewer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edits.options import REACHES, PrepareName, RepairOptions
from edits.record.report import RepairReport
from editset_helpers.selection import Selection
from run_repair import Job, repair


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with contextlib.chdir(tmp_path_factory.mktemp("cifar")):
        yield


def _repair(root: Path, weights: Path, seed: int, prepare: PrepareName) -> RepairReport:
    job = Job(data_root=root, weights=weights, max_samples=100, seed=seed)
    return repair(Selection("misclassified"), job, RepairOptions(prepare=prepare))


@pytest.mark.usefixtures("place")
def test_few_images_and_a_metric_of_few(some_cifar: Path, cifar_weights: Path) -> None:
    report = _repair(some_cifar, cifar_weights, 0, "none")
    assert (report.status, report.edit_accuracy_after) == ("repaired", 1.0)
    assert 25 < report.edit_set_size < 80
    assert report.min_margin is not None and report.min_margin >= 2.0
    assert report.gap is not None and report.gap <= 1e-6
    assert report.certificate_path is not None


@pytest.mark.slow
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_last_layer_alone(cifar_root: Path, cifar_weights: Path, seed: int) -> None:
    report = _repair(cifar_root, cifar_weights, seed, "none")
    assert (report.status, report.edit_set_size, report.edit_accuracy_after) == ("repaired", 100, 1.0)
    assert report.min_margin is not None and report.min_margin >= 2.0
    assert report.gap is not None and report.gap <= 1e-6
    assert report.solver is not None and report.solver.startswith("gurobi")
    assert report.seconds["solve"] < 1.0
    assert report.drawdown_points is not None and report.drawdown_points <= 1.0
    assert report.max_abs_change is not None and report.max_abs_change <= 5.0


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_the_default_breaks_hardly_anything_and_carries_over_to_copies(cifar_root: Path, cifar_weights: Path) -> None:
    reports = [_repair(cifar_root, cifar_weights, seed, "auto") for seed in (0, 1, 2)]
    for report in reports:
        assert (report.status, report.prepare, report.edit_accuracy_after) == ("repaired", "spare-units", 1.0)
        assert report.min_margin is not None and report.min_margin >= 2.0
        assert report.gap is not None and report.gap <= 1e-6
        assert report.max_abs_change is not None and report.max_abs_change <= 5.0
        assert report.generalization_after is not None and report.generalization_after >= 0.78
    assert np.mean([report.drawdown_points for report in reports]) <= 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_all_misclassified_images_share_the_spare_units(cifar_root: Path, cifar_weights: Path) -> None:
    options = RepairOptions(norm="l2", reach=REACHES["exact"])
    report = repair(Selection("misclassified"), Job(data_root=cifar_root, weights=cifar_weights), options)
    assert (report.status, report.edit_set_size, report.edit_accuracy_after) == ("repaired", 2525, 1.0)
    assert report.planted_units is not None and report.planted_units < 2525
    assert len(report.not_separable) == len(report.nearest_training_images) < 10
    assert report.drawdown_points is not None and report.drawdown_points <= 0.05
