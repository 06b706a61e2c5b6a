"""Sequences: repairs one upon the other, a row a step, which go on where they were stopped."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import analysis
import experiment_runner
from checker.certificate import Certificate
from edits.network import channels
from editset_helpers.edit_set import load_edit_set
from experiments.analysis.summary import read_tables, summarise
from helpers.cli import DatasetName
from helpers.evaluation import margins, predict_logits
from helpers.images.datasets import load_dataset
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weights import base_file, read_weights, weights_hash
from tests.conftest import with_cache

TABLE = Path("results/steps.csv")
ASKED = ("--edit-set-sizes", "2", "--edit-set-types", "misclassified", "--prepare", "auto", "--dataset", "digits")
TIMES = [
    *("timestamp", "repair_runtime_seconds", "peak_memory_mb", "seconds_prepare", "seconds_solve"),
    "experiment_seconds",
]


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(experiment_runner.app, [*ASKED, "--output", str(TABLE), *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module", autouse=True)
def rows(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path, digits_baseline: Path):  # type: ignore[no-untyped-def]
    """Three steps of two images."""
    folder = with_cache(tmp_path_factory.mktemp("sequences"), warm_cache)
    (folder / "artifacts").mkdir()
    for suffix in (".pth", ".json"):
        (folder / f"artifacts/alexnet_base_digits{suffix}").symlink_to(digits_baseline.with_suffix(suffix))
    with contextlib.chdir(folder):
        _run("--sequence", "3")
        yield pd.read_csv(TABLE)


def test_every_step_keeps_the_images_of_all_before(rows: pd.DataFrame) -> None:
    assert rows["iteration"].tolist() == [1, 2, 3] and rows["images_so_far"].tolist() == [2, 4, 6]
    assert (rows["repaired_accuracy_edit_set"] == 1).all() and (rows["sequence"] == "step").all()
    seen = [load_edit_set(Path(path)) for path in rows["edit_set_path"]]
    for number, path in enumerate(rows["repaired_model_path"]):
        network = load_alexnet(Path(path))
        for edit_set in seen[: number + 1]:
            assert margins(predict_logits(network, edit_set.images), edit_set.labels).min() >= 2
    assert all(Certificate(Path(path)).check().accepted for path in rows["certificate_path"])


def test_what_a_step_has_come_to_is_what_the_files_say(rows: pd.DataFrame) -> None:
    test, base = load_dataset(DatasetName.DIGITS, "test"), load_alexnet(Path(rows["baseline_model_path"][0]))
    before = predict_logits(base, test).argmax(dim=1).numpy() == test.labels
    for row in rows.itertuples():
        after = predict_logits(load_alexnet(Path(row.repaired_model_path)), test).argmax(dim=1).numpy()
        assert row.repaired_accuracy_type == pytest.approx((after == test.labels)[~before].mean())
        assert row.repaired_accuracy_test_set == pytest.approx((after == test.labels).mean())
    assert np.isnan(rows["last_drawdown_points"][0]) and rows["last_drawdown_points"][1:].notna().all()


def test_steps_that_start_from_the_last_one_hold_all_changes_since_the_baseline(rows: pd.DataFrame) -> None:
    """Changes of changes were refused; and where there were no detectors, their values on test images."""
    _run("--sequence", "3", "--prepare", "none", "--output", "results/last.csv")
    steps = pd.read_csv("results/last.csv")
    assert steps["images_so_far"].tolist() == [2, 4, 6]
    for weights, certificate in zip(steps["repaired_model_path"], steps["certificate_path"], strict=True):
        assert base_file(Path(weights)).resolve() == Path(steps["baseline_model_path"][0]).resolve()  # type: ignore[union-attr]
        assert weights_hash(read_weights(Path(weights))) == Certificate(Path(certificate)).facts["network"]["hash"]
        assert Certificate(Path(certificate)).check().accepted


def test_a_sequence_goes_on_where_it_was_stopped_and_can_be_made_longer(rows: pd.DataFrame) -> None:
    lines = TABLE.read_text().splitlines(keepends=True)
    TABLE.write_text("".join(lines[:3]))  # the third row was lost
    _run("--sequence", "3")
    again = pd.read_csv(TABLE)
    pd.testing.assert_frame_equal(again.drop(columns=TIMES), rows.drop(columns=TIMES))
    assert again["timestamp"][:2].equals(rows["timestamp"][:2])
    _run("--sequence", "4")
    longer = pd.read_csv(TABLE)
    assert longer["images_so_far"].tolist() == [2, 4, 6, 8] and longer["timestamp"][:3].equals(again["timestamp"])


@pytest.mark.slow
def test_a_step_convolves_new_images_only(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """And copies of these; of all earlier ones it is known what the convolutions make."""
    convolved, counts = channels.convolved, list[int]()

    def counting(model: AlexNet, images: torch.Tensor) -> torch.Tensor:
        counts.append(len(images))
        return convolved(model, images)

    monkeypatch.setattr(channels, "convolved", counting)
    _run("--sequence", "3", "--seeds", "1", "--output", "results/others.csv")
    new, near, shifted, one_for_its_shape = 2, 4 * 2, 4 * 2, 1
    assert 0 < sum(counts) <= 3 * (new + near + shifted) + one_for_its_shape


def test_a_step_before_that_is_gone_is_named(rows: pd.DataFrame) -> None:
    kept = Path("kept")
    shutil.copytree("results", kept)
    lines, weights = TABLE.read_text().splitlines(keepends=True), Path(rows["repaired_model_path"][1])
    TABLE.write_text("".join(lines[:3]))
    weights.rename("gone.pth")
    _run("--sequence", "3", code=6)
    assert f"the step before, {rows['experiment_id'][1]}, is no repair" in pd.read_csv(TABLE)["error_message"][2]
    Path("gone.pth").rename(weights)
    _run("--sequence", "3")  # a failure from outside is tried again
    assert (pd.read_csv(TABLE)["status"] == "repaired").all()


def test_the_summary_counts_the_last_step_and_the_plots_show_all(rows: pd.DataFrame) -> None:
    summary = summarise(read_tables([TABLE]))
    assert summary["experiments"].tolist() == [1] and summary["repaired"].tolist() == [1]
    result = CliRunner().invoke(analysis.app, [str(TABLE), "--output", "plots"])
    assert result.exit_code == 0, result.output
    drawn = {path.name for path in Path("plots").glob("*.png")}
    assert {"sequence.png", "drawdown.png", "runtime.png"} <= drawn


def test_steps_upon_one_that_cannot_be_are_settled_too(rows: pd.DataFrame) -> None:
    """The fault: they counted as failures from outside, and every resumption tried them again."""
    table = Path("results/cannot.csv")
    asked = ("--sequence", "3", "--prepare", "none", "--param-bounds", "0.0001", "--output", str(table))
    for resumed in (False, True):
        told = _run(*asked, code=6)
        assert resumed == ("holds 3 of 3 experiments: going on with the other 0" in told)
        assert pd.read_csv(table)["status"].tolist() == ["infeasible", "not_solved", "not_solved"]
    counts = summarise(read_tables([table]))[["repair_set_type", "experiments", "repaired"]]
    assert counts.to_numpy().tolist() == [["misclassified", 3, 0]]


def test_a_dry_run_says_what_the_run_would_do(rows: pd.DataFrame) -> None:
    """The fault: failures from outside counted as done, and a table of another sweep as its own."""
    kept = TABLE.read_text()
    assert "3, of which 3 are in the table" in _run("--sequence", "3", "--dry-run")
    lines = kept.splitlines(keepends=True)
    TABLE.write_text("".join([*lines[:3], lines[3].replace(",repaired", ",error")]))
    try:
        assert "3, of which 2 are in the table" in _run("--sequence", "3", "--dry-run")
        assert "not of this sweep" in _run("--sequence", "2", "--seeds", "1", "--dry-run", code=2)
    finally:
        TABLE.write_text(kept)


@pytest.mark.parametrize("other", [("--workers", "2"), ("--keep-weights", "none")])
def test_what_a_sequence_cannot_do_without_is_told(rows: pd.DataFrame, other: tuple[str, ...]) -> None:
    assert "need the weights of the last" in _run("--sequence", "2", *other, "--output", "results/no.csv", code=2)


def test_steps_of_right_images_choose_others_each(rows: pd.DataFrame) -> None:
    table = Path("results/right.csv")
    kind = ("--edit-set-types", "class_homogeneous_correct", "--target-classes", "3", "--edit-set-sizes", "2")
    asked = (*kind, "--dataset", "digits", "--sequence", "2", "--output", str(table))
    result = CliRunner().invoke(experiment_runner.app, asked)
    assert result.exit_code == 0, result.output
    told = pd.read_csv(table)
    first, second = (set(load_edit_set(Path(path)).claimed_indices()) for path in told["edit_set_path"])
    assert told["images_so_far"].tolist() == [2, 4] and len(first) == len(second) == 2 and not first & second
