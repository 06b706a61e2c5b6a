"""Repairs of images that are no test images, of given labels, and what is said of disputed ones; by the digits."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import editset_generator
import run_repair
from checker.certificate import Certificate
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from helpers.cli import DatasetName
from helpers.evaluation import margins, predict_logits
from helpers.images.datasets import ImageDataset, load_dataset
from model_classes.alexnet import load_alexnet
from visualizer.content.edit_sets import image_rows
from visualizer.content.outcomes import load_outcomes

eval_script: Any = importlib.import_module("eval")
pytestmark = pytest.mark.usefixtures("repairs_folder")
PLAIN = ["--metric", "identity", "--norm", "l2"]  # as fast as can be
SETS = Path("data/edit_sets/digits")


@pytest.fixture
def words(digits_baseline: Path) -> list[str]:
    return ["--dataset", "digits", "--weights", str(digits_baseline)]


@pytest.fixture
def forgetful(digits_baseline: Path, tmp_path: Path) -> Path:
    """The network, but that it hardly ever says three: the digits' own gets every training image right."""
    state = torch.load(digits_baseline, weights_only=True)
    state["classifier.6.bias"][3] -= 8
    torch.save(state, tmp_path / "forgetful.pth")
    return tmp_path / "forgetful.pth"


def told(app: Any, *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def repaired(words: list[str], *arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(told(run_repair.app, *arguments, *words, "--output", "repaired.pth", "--json"))
    assert report["status"] == "repaired" and report["edit_accuracy_after"] == 1
    return report


@pytest.mark.parametrize("reach", ["near", "exact"])
def test_an_image_beside_a_training_image_of_another_class_is_named_and_repaired(words: list[str], reach: str) -> None:
    """A training image a little darker, with another label: its detector cannot be off for the training image."""
    training, number = load_dataset(DatasetName.DIGITS, "train"), 7
    image, label = training.inputs(np.array([number])), int(training.labels[number])
    save_edit_set(EditSet(0.97 * image, torch.tensor([(label + 1) % 10]), [{}]), SETS / "beside_edit_dataset.pt")
    report = repaired(words, "file", str(SETS / "beside_edit_dataset.pt"), "--reach", reach)
    assert report["not_separable"] == [0] and report["nearest_training_images"] == [number]
    edit_set, network = load_edit_set(SETS / "beside_edit_dataset.pt"), load_alexnet(Path("repaired.pth"))
    assert margins(predict_logits(network, edit_set.images), edit_set.labels).min() >= 2
    assert Certificate(Path("repaired_certificate.npz")).check().accepted


def test_training_images_are_repaired_and_all_test_images_judge(forgetful: Path) -> None:
    """Their numbers are those of the training split, and nobody takes them for test images'."""
    words = ["--dataset", "digits", "--weights", str(forgetful)]
    report = repaired(words, "misclassified", "--split", "train", "--max-samples", "3", "--seed", "1", *PLAIN)
    edit_set = load_edit_set(SETS / "misclassified_train_3_seed1_edit_dataset.pt")
    assert report["edit_source"] == "train" and report["edit_test_indices"] == [-1] * 3
    assert (report["drawdown_accuracy_before"], report["drawdown_note"]) == (report["test_accuracy_before"], None)
    outcomes = load_outcomes(Path("repaired_outcomes.pt"))
    outside = outcomes.outside()
    assert outside is not None and outside.all() and outcomes.edit_indices.tolist() == [-1] * 3
    rows = image_rows(edit_set)
    assert {row.test_index for row in rows} == {None} and set(edit_set.labels.tolist()) == {3}
    train = load_dataset(DatasetName.DIGITS, "train")
    assert [int(train.labels[row.training_index or 0]) for row in rows] == edit_set.labels.tolist()
    assert "agrees with what was measured" in told(eval_script.app, "--report", "repaired.json")


@pytest.mark.parametrize("numbered", [pytest.param(True, marks=pytest.mark.slow), False])
def test_right_training_images_are_not_ordinary_to_their_own_detectors(words: list[str], numbered: bool) -> None:
    """Those of the metric's sample, one of which gets another label: both would be as loud as themselves."""
    train = load_dataset(DatasetName.DIGITS, "train")
    other = (int(train.labels[7]) + 1) % 10
    Path("labels.csv").write_text(f"image,label\n7,{other}\n")
    numbers = [str(number) for number in range(4, 10)]
    told(
        editset_generator.app,
        "indices",
        *numbers,
        *words,
        "--split",
        "train",
        "--relabel",
        "labels.csv",
        "--output",
        "x",
    )
    path = SETS / "x_edit_dataset.pt"
    if not numbered:  # as others write sets
        content = torch.load(path, weights_only=True)
        path = Path("plain_edit_dataset.pt")
        torch.save({"images": content["images"], "labels": content["labels"]}, path)
    report = repaired(words, "file", str(path))
    assert (report["relabeled"], report["edit_source"]) == ((1, "train") if numbered else (0, None))
    assert report["not_separable"] == []
    assert report["largest_ordinary_response"] < 1


def test_pictures_of_files_and_disputed_images(words: list[str], digits_test: ImageDataset, tmp_path: Path) -> None:
    """One is a test image, the other is nobody's: all but the former judge, once more without disputed ones.

    Both have their pixels, so their shifted copies are constrained, too.
    """
    Image.fromarray(digits_test.images[5]).save(tmp_path / "five.png")
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).save(tmp_path / "own.png")
    (tmp_path / "list.csv").write_text("path,label\nfive.png,3\nown.png,8\n")
    (tmp_path / "disputed.txt").write_text("5\n6\n7\n")
    made = told(editset_generator.app, "from-files", str(tmp_path / "list.csv"), *words)
    disputed = ["--exclude-disputed", str(tmp_path / "disputed.txt")]
    report = repaired(words, "file", made.partition(":")[0], *PLAIN, "--shifts", "1", *disputed)
    assert (report["edit_source"], report["edit_test_indices"], report["disputed_images"]) == (
        "files",
        [5, -1],
        [5, 6, 7],
    )
    outcomes = load_outcomes(Path("repaired_outcomes.pt"))
    for when, right in (("before", outcomes.test.right_before), ("after", outcomes.test.right_after)):
        assert report[f"drawdown_accuracy_{when}"] == pytest.approx(np.delete(right, [5]).mean())
        assert report[f"drawdown_undisputed_{when}"] == pytest.approx(np.delete(right, [5, 6, 7]).mean())
    lost = report["drawdown_undisputed_before"] - report["drawdown_undisputed_after"]
    assert report["drawdown_undisputed_points"] == pytest.approx(100 * lost)
    figures = json.loads(told(eval_script.app, "--report", "repaired.json", "--json"))["figures"]
    assert "drawdown_undisputed_points" in {figure["name"] for figure in figures if figure["agrees"]}


def test_a_list_of_disputed_images_that_is_not_there_is_told_first(words: list[str]) -> None:
    result = CliRunner().invoke(run_repair.app, ["misclassified", *words[:2], "--exclude-disputed", "gone.txt"])
    assert (result.exit_code, result.stdout) == (1, "") and result.stderr.count("\n") == 1
    assert "The disputed images file gone.txt does not exist" in result.stderr
