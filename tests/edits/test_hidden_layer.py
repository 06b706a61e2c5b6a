"""Repairs of layers other than the last, through the command line, on the digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import run_repair
import sytorch
from edits.options import RepairOptions
from edits.record.status import explain
from editset_helpers.edit_set import EditSet
from helpers.images.datasets import ImageDataset

RUNNER = CliRunner()


def repaired(weights: Path, *options: str) -> tuple[int, dict[str, object]]:
    words = ["misclassified", "--dataset", "digits", "--weights", str(weights), "--max-samples", "3", "--json"]
    result = RUNNER.invoke(run_repair.app, [*words, "--metric-images", "300", *options])
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


@pytest.mark.slow
def test_a_hidden_layer_is_repaired_with_its_pattern_held(warm_workplace: Path, digits_baseline: Path) -> None:
    code, report = repaired(digits_baseline, "--layer", "classifier.4")
    assert code == 0 and report["edit_accuracy_after"] == 1.0 and report["pattern"] == "fixed"
    assert float(str(report["gap"])) < 1e-6 and float(str(report["min_margin"])) >= 2.0


@pytest.mark.slow
def test_some_units_of_a_layer_change_and_nothing_else(warm_workplace: Path, digits_baseline: Path) -> None:
    code, report = repaired(digits_baseline, "--layer", "classifier.4[0:2000]")
    assert code == 0 and report["edit_accuracy_after"] == 1.0 and float(str(report["min_margin"])) >= 2.0
    assert float(str(report["gap"])) < 1e-6
    before, after = (torch.load(path, weights_only=True) for path in (digits_baseline, str(report["output_path"])))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"classifier.4.weight", "classifier.4.bias"}
    assert torch.equal(before["classifier.4.weight"][2000:], after["classifier.4.weight"][2000:])


@pytest.mark.slow
def test_a_convolution_is_repaired_in_steps(warm_workplace: Path, digits_baseline: Path) -> None:
    code, report = repaired(digits_baseline, "--layer", "features.10", "--pattern", "relinearise")
    assert code == 0 and report["edit_accuracy_after"] == 1.0 and report["lower_bound"] is None


def test_steps_that_linearise_anew_end_with_the_time_limit(warm_workplace: Path, digits_baseline: Path) -> None:
    words = ["misclassified", "--dataset", "digits", "--weights", str(digits_baseline), "--output", "repaired.pth"]
    options = ["--layer", "classifier.4", "--pattern", "relinearise", "--max-samples", "1", "--metric-images", "200"]
    result = RUNNER.invoke(run_repair.app, [*words, *options, "--time-limit", "1e-9"])
    assert result.exit_code == 4 and "no repair was proved within 1e-09 seconds" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--layer", "classifier.5"),
        ("--layer", "classifier.4[0:9000]"),
        ("--layer", "classifier.4", "--norm", "linf"),
        ("--layer", "classifier.4", "--prepare", "spare-units"),
        ("--prepare", "features.10"),
    ],
)
def test_what_cannot_be_is_refused(warm_workplace: Path, digits_baseline: Path, options: tuple[str, ...]) -> None:
    code, _ = repaired(digits_baseline, *options)
    assert code == 2


def test_several_layers_at_once_are_refused_in_a_sentence(warm_workplace: Path, digits_baseline: Path) -> None:
    words = ["misclassified", "--dataset", "digits", "--weights", str(digits_baseline)]
    result = RUNNER.invoke(run_repair.app, [*words, "--layer", "classifier.4+classifier.6.bias"])
    assert result.exit_code == 2 and "--layer names one layer" in result.stderr


@pytest.mark.parametrize(("enough", "told"), [(None, "which is enough is not known"), (3.00001, "3.001 is enough")])
def test_an_infeasible_repair_says_which_bound_is_enough_or_that_it_is_not_known(
    enough: float | None, told: str, digits_test: ImageDataset
) -> None:
    one = EditSet(torch.zeros(1, 3, 64, 64), torch.tensor([0]), [{}])
    proof = sytorch.Multipliers(np.zeros((1, 10)), np.zeros((0, 0)))
    found = sytorch.Contradiction((0,), 2.0, enough, multipliers=proof, proved_for_all_changes=True)
    options = RepairOptions(layer="classifier.4", norm="l2", param_bound=1.0)
    assert told in explain(found, one, options, digits_test)
