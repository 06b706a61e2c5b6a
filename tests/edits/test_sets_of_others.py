"""Repairs of edit sets that others numbered, in another order of classes, without a JSON file, and without a cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import run_repair
from editset_generator import Request, make_edit_set
from editset_helpers.edit_set import EditSet, load_edit_set, metadata_path, save_edit_set
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.images.datasets import ImageDataset
from visualizer.content.edit_sets import image_rows
from visualizer.content.outcomes import load_outcomes
from visualizer.content.reports import read_report
from visualizer.drawing import edit_pictures
from visualizer.drawing.edit_pictures import contradicting

OPTIONS = ["--dataset", "digits", "--metric", "identity", "--norm", "l2", "--output", "r.pth", "--json"]
ORDER = [str(digit) for digit in range(9, -1, -1)]


@pytest.fixture
def own(digits_baseline: Path, digits_test: ImageDataset, warm_workplace: Path) -> tuple[list[str], EditSet]:
    """The options, and the usual set of misclassified digits."""
    words = [*OPTIONS, "--weights", str(digits_baseline)]
    made = make_edit_set(Selection("misclassified"), Request(DatasetName.DIGITS, weights=digits_baseline))
    return words, load_edit_set(made)


def repair(words: list[str]) -> tuple[dict[str, Any], str]:
    result = CliRunner().invoke(run_repair.app, [*words, "--force"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def as_of_others(edit_set: EditSet, path: Path) -> Path:
    """Labels by an order of their own, numbers of another list, and no JSON file."""
    labels = 9 - edit_set.labels
    metadata = [{"image_idx": (entry["image_idx"] + 11) % 596} for entry in edit_set.metadata]
    save_edit_set(EditSet(edit_set.images, labels, metadata, {"class_names": ORDER}), path)
    metadata_path(path).unlink()
    return path


def test_the_repair_is_that_of_ones_own_set(own: tuple[list[str], EditSet], digits_test: ImageDataset) -> None:
    words, whole = own
    path = as_of_others(whole, Path("theirs_edit_dataset.pt"))
    few = ["--max-samples", "3", "--seed", "2"]
    expected, _ = repair(["misclassified", *words, *few])
    found, told = repair(["file", str(path), *words, *few])
    assert "its labels were mapped by name" in told
    assert "found by pixels" in found["drawdown_note"] and expected["drawdown_note"] is None
    for key in ("weights_hash_after", "drawdown_points", "edit_images", "edit_test_indices", "edit_set_hash"):
        assert found[key] == expected[key]
    indices = [whole.metadata[place]["image_idx"] for place in found["edit_images"]]
    assert indices == found["edit_test_indices"]
    outside = load_outcomes(Path("r_outcomes.pt")).outside()
    assert outside is not None and np.flatnonzero(~outside).tolist() == indices


def test_images_that_contradict_each_other_are_named_by_their_pixels(own: tuple[list[str], EditSet]) -> None:
    words, whole = own
    path = as_of_others(whole, Path("data/edit_sets/theirs_edit_dataset.pt"))
    result = CliRunner().invoke(run_repair.app, ["file", str(path), *words, "--param-bound", "0.0005"])
    assert result.exit_code == 3, result.output
    report = read_report(Path("r_failed.json"))
    assert report is not None
    numbers = {entry["image_idx"] for entry in whole.metadata}
    assert report["contradicting_images"] and set(report["contradicting_images"]) <= numbers
    assert f"test image {report['contradicting_images'][0]})" in result.stderr


def test_the_page_shows_the_images_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = [{"image_idx": number} for number in (70, 71, 72, 73)]
    rows = image_rows(EditSet(torch.zeros(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]), metadata))

    class Shelf:
        def edit_set(self, name: str) -> tuple[None, Any, None]:
            return None, rows, None

    monkeypatch.setattr(edit_pictures, "shelf", Shelf)
    report = {"contradicting_images": [5, 72], "edit_images": [3, 1, 0], "edit_test_indices": [72, 5, 9]}
    assert [(row.position, row.test_index) for row in contradicting(report, "x")] == [(1, 5), (3, 72)]
    unknown = {**report, "contradicting_images": [0, 2], "edit_test_indices": [72, -1, 9]}
    assert [(row.position, row.test_index) for row in contradicting(unknown, "x")] == [(0, None), (3, None)]
    older = {**report, "edit_images": [], "edit_test_indices": []}
    assert [row.position for row in contradicting(older, "x")] == [2]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_no_end(own: tuple[list[str], EditSet]) -> None:
    words, _ = own
    expected, _ = repair(["misclassified", *words, "--max-samples", "2"])
    Path("data/cache").unlink()
    Path("data/cache").write_text("a file where the folder should be")
    found, told = repair(["misclassified", *words, "--max-samples", "2"])
    assert found["weights_hash_after"] == expected["weights_hash_after"]
    assert told.count("is not kept for the next run") <= 1 and "not cached" in told
