"""`eval.py --report` measures exactly the repair that the report tells of, and sees when the report is not true."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

import run_repair
from editset_helpers.edit_set import load_edit_set, save_edit_set
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from visualizer.content.reports import read_report

eval_script: Any = importlib.import_module("eval")
REPORT = Path("made/repaired.json")


@pytest.fixture(scope="module")
def folder(digits_baseline: Path, module_folder: Path) -> Path:
    """A repair of three images of a set, drawn with a seed, with copies."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(module_folder)
        words = ["misclassified", "--dataset", "digits", "--weights", str(digits_baseline)]
        options = ["--max-samples", "3", "--seed", "5", "--prepare", "none", "--metric-images", "300", "--flip"]
        made = CliRunner().invoke(run_repair.app, [*words, *options, "--output", "made/repaired.pth"])
        assert made.exit_code == 0, made.output
    return module_folder


@pytest.fixture
def report(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The report of that repair, in a copy of the folder."""
    shutil.copytree(folder, tmp_path / "copy", symlinks=True, copy_function=_copy)
    monkeypatch.chdir(tmp_path / "copy")
    found: dict[str, Any] = json.loads(REPORT.read_text())
    return found


def _copy(source: str, target: str) -> None:
    """Weights are 228 MB."""
    (os.symlink if source.endswith(".pth") else shutil.copy)(source, target)


def measured(*options: str) -> Result:
    return CliRunner().invoke(eval_script.app, ["--report", str(REPORT), *options])


def right(weights: Path, images: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """By torchvision's own AlexNet."""
    network = alexnet(num_classes=10).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        return np.asarray(network(images).argmax(dim=1).numpy() == labels)


@pytest.mark.slow
def test_it_is_that_repair_before_and_after(
    report: dict[str, Any], digits_baseline: Path, digits_test: ImageDataset
) -> None:
    result = measured("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["agree"] and found["edit_set_size"] == 3 and found["drawdown_count"] == 593
    figures = {figure["name"]: figure["measured"] for figure in found["figures"]}
    assert all(figure["measured"] == pytest.approx(report[figure["name"]]) for figure in found["figures"])
    chosen, whole = report["edit_test_indices"], load_edit_set(Path(report["edit_set_path"]))
    np.testing.assert_array_equal(to_inputs(digits_test.images[chosen]), whole.images[report["edit_images"]])
    outside = np.setdiff1d(np.arange(596), chosen)
    for when, weights in (("before", digits_baseline), ("after", Path("made/repaired.pth"))):
        answers = right(weights, to_inputs(digits_test.images), digits_test.labels)
        assert figures[f"drawdown_accuracy_{when}"] == pytest.approx(answers[outside].mean())
        assert figures[f"edit_accuracy_{when}"] == pytest.approx(answers[chosen].mean())
        assert figures[f"test_accuracy_{when}"] == pytest.approx(answers.mean())
    table = measured()
    assert table.exit_code == 0 and "the report agrees" in table.stdout and "593 test images outside" in table.stdout


def test_figures_that_are_not_so_are_named(report: dict[str, Any]) -> None:
    wrong = ["min_margin", "edit_accuracy_before", "test_accuracy_after", "drawdown_points", "generalization_after"]
    REPORT.write_text(json.dumps({**report, **{name: report[name] + 0.002 for name in wrong}}))
    result = measured("--json")
    assert result.exit_code == 1 and f"does not agree with what was measured: {', '.join(wrong)}." in result.stderr
    found = json.loads(result.stdout)
    assert not found["agree"] and [figure["name"] for figure in found["figures"] if not figure["agrees"]] == wrong


def test_a_report_with_fields_that_are_no_more_is_read(report: dict[str, Any]) -> None:
    former = {"keep": 500, "kept_images": 3, "keep_price": 0.1, "layer_budget": 300.0, "layers": [{"layer": "x"}]}
    REPORT.write_text(json.dumps({**report, **former}))
    assert measured("--json").exit_code == 0
    page = read_report(REPORT)
    assert page is not None and page["edit_set_size"] == 3


def _other_weights(report: dict[str, Any]) -> None:
    state = torch.load("made/repaired.pth", weights_only=True)
    state["features.0.bias"][0] += 1e-6
    Path("made/repaired.pth").unlink()
    torch.save(state, "made/repaired.pth")


def _other_edit_set(report: dict[str, Any]) -> None:
    path = Path(report["edit_set_path"])
    save_edit_set(load_edit_set(path).subset(4, 1), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_weights, "The repaired weights made/repaired.pth are not those of the repair"),
        (_other_edit_set, "The edit set data/edit_sets/digits/misclassified_edit_dataset.pt are not those"),
        ({"first_weights_hash": "0" * 64}, "The weights .* are not those of the repair"),
        ({"dataset_hash": "0" * 64}, "The test images digits are not those of the repair"),
        ({"edit_images": [0, 1, 2]}, "The edit set .* are not those"),
        ({"edit_images": [0, 1, 10**6]}, "The edit set .* are not those"),
        ({"output_path": "gone.pth"}, r"gone\.pth does not exist"),
        ({"status": "infeasible"}, "ended with the status infeasible"),
        ({"output_path": None}, "kept no weights"),
        ({"edit_images": ["x"]}, "is no report of a repair"),
        ({"drawdown_points": "none"}, "is no report of a repair"),
    ],
)
def test_other_files_than_those_of_the_repair_are_seen(
    report: dict[str, Any], change: Callable[[dict[str, Any]], None] | dict[str, Any], message: str
) -> None:
    if isinstance(change, dict):
        REPORT.write_text(json.dumps({**report, **change}))
    else:
        change(report)
    result = measured()
    assert result.exit_code in (1, 2) and result.stdout == "" and "Traceback" not in result.output
    assert re.search(message, result.stderr), result.stderr


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"status": "repaired"}', "nonsense"])
def test_what_is_no_report_is_refused(workplace: Path, content: str) -> None:
    REPORT.parent.mkdir()
    REPORT.write_text(content)
    result = measured()
    assert result.exit_code in (1, 2) and "repaired.json" in result.stderr and "Traceback" not in result.output


def test_a_report_names_its_own_files(workplace: Path) -> None:
    result = measured("--weights", "x.pth")
    assert result.exit_code == 2 and "leave out --weights" in result.stderr


def test_a_report_that_was_moved_with_its_weights_is_measured(report: dict[str, Any]) -> None:
    shutil.move("made", "moved")
    result = CliRunner().invoke(eval_script.app, ["--report", "moved/repaired.json", "--json"])
    assert result.exit_code == 0, result.output
