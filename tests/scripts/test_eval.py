from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from editset_helpers.edit_set import EditSet, save_edit_set
from helpers.cli import DatasetName
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs

eval_script: Any = importlib.import_module("eval")
DIGITS = ["--dataset", "digits"]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(eval_script.app, [*DIGITS, *arguments])


@pytest.fixture
def network(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A small network that takes the place of the digits' baseline."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 10)).eval()
    monkeypatch.setattr("model_classes.alexnet.load_alexnet", lambda path, num_classes: model)
    Path("artifacts").mkdir()
    Path("artifacts/alexnet_base_digits.pth").touch()
    return model


def _save(
    digits_test: ImageDataset, rows: list[int], path: str, *, disturbed: int = 0, shift: int = 0, **provenance: Any
) -> Path:
    """An edit set of the given test digits; disturbed by some 255ths, or with numbers that are too large."""
    metadata = [{"image_idx": row + shift} for row in rows]
    images, labels = to_inputs(digits_test.images[rows]), torch.from_numpy(digits_test.labels[rows])
    images[:, :, 30, 30] = (images[:, :, 30, 30] - disturbed / 255).abs()
    save_edit_set(
        EditSet(images, labels, metadata, {"dataset_hash": digits_test.content_hash, **provenance}), Path(path)
    )
    return Path(path)


def test_the_numbers_are_those_of_a_plain_forward_pass(network: nn.Module, digits_test: ImageDataset) -> None:
    report = eval_script.evaluate(dataset=DatasetName.DIGITS, batch_size=100)
    with torch.no_grad():
        logits = network(to_inputs(digits_test.images))
    labels = torch.from_numpy(digits_test.labels)
    assert report.test.accuracy == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert report.test.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert report.edit_set is None
    assert report.dataset_hash == digits_test.content_hash


def test_drawdown_leaves_the_edit_set_out(network: nn.Module, digits_test: ImageDataset) -> None:
    with torch.no_grad():
        right = (network(to_inputs(digits_test.images)).argmax(1) == torch.from_numpy(digits_test.labels)).tolist()
    rows = [*[row for row, is_right in enumerate(right) if is_right][:12], right.index(False)]
    edits = eval_script.evaluate(dataset=DatasetName.DIGITS, edit_set=_save(digits_test, rows, "some.pt")).edit_set
    assert edits.count == 13
    assert edits.edit_accuracy == pytest.approx(12 / 13)
    assert edits.drawdown_count == 596 - 13
    assert edits.drawdown_accuracy == pytest.approx((sum(right) - 12) / (596 - 13))


def test_the_table_says_what_the_json_says(network: nn.Module, digits_test: ImageDataset) -> None:
    path = str(_save(digits_test, [0, 5, 9], "some.pt"))
    report = json.loads(_run("--edit-set", path, "--json").stdout)
    table = _run("--edit-set", path)
    assert table.exit_code == 0
    lines = [line.split() for line in table.stdout.splitlines() if line]
    assert ["accuracy", f"{100 * report['test']['accuracy']:.2f}", "%"] in lines
    assert f"drawdown accuracy (593 outside the edit set)  {100 * report['edit_set']['drawdown_accuracy']:.2f} %" in (
        table.stdout
    )
    confusion = [line[4:] for line in lines if len(line) == 14 and line[0].isdigit()]
    assert [[int(count) for count in row] for row in confusion] == report["test"]["confusion"]
    assert sum(map(sum, report["test"]["confusion"])) == 596


def test_images_that_are_not_here_take_nothing_from_the_drawdown(network: nn.Module) -> None:
    torch.save({"images": torch.rand(2, 3, 64, 64), "labels": torch.tensor([3, 1])}, "foreign.pt")
    result = _run("--edit-set", "foreign.pt", "--json")
    edits = json.loads(result.stdout)["edit_set"]
    assert (edits["drawdown_count"], edits["drawdown_note"], edits["count"]) == (596, None, 2)
    assert "foreign.pt does not name its classes" in result.stderr


def test_images_that_are_nearly_here_leave_no_drawdown_and_it_is_said(
    network: nn.Module, digits_test: ImageDataset
) -> None:
    path = _save(digits_test, [0, 5, 9], "some.pt", disturbed=20)
    edits = json.loads(_run("--edit-set", str(path), "--json").stdout)["edit_set"]
    assert (edits["drawdown_accuracy"], edits["drawdown_count"], edits["count"]) == (None, None, 3)
    assert "drawdown is not given" in edits["drawdown_note"]
    table = _run("--edit-set", str(path)).stdout
    assert "drawdown accuracy (outside the edit set)  " in table and f"note: {edits['drawdown_note']}" in table


def test_drawdown_is_told_with_and_without_disputed_images(network: nn.Module, digits_test: ImageDataset) -> None:
    path = _save(digits_test, [0, 5, 9], "some.pt")
    Path("disputed.txt").write_text("5 # in the set\n100\n101\n")
    edits = json.loads(_run("--edit-set", str(path), "--exclude-disputed", "disputed.txt", "--json").stdout)["edit_set"]
    with torch.no_grad():
        right = network(to_inputs(digits_test.images)).argmax(1).numpy() == digits_test.labels
    assert (edits["drawdown_count"], edits["undisputed_count"]) == (593, 591)
    assert edits["undisputed_accuracy"] == pytest.approx(np.delete(right, [0, 5, 9, 100, 101]).mean())
    assert edits["drawdown_accuracy"] == pytest.approx(np.delete(right, [0, 5, 9]).mean())
    Path("all.txt").write_text("\n".join(map(str, range(596))))
    assert (
        "all test images outside the edit set are disputed"
        in _run("--edit-set", str(path), "--exclude-disputed", "all.txt").stderr
    )
    table = _run("--edit-set", str(path), "--exclude-disputed", "disputed.txt").stdout
    assert re.search(rf"591 of these undisputed\) +{100 * edits['undisputed_accuracy']:.2f} %", table)


def test_wrong_numbers_are_put_right(network: nn.Module, digits_test: ImageDataset) -> None:
    right, wrong = (_save(digits_test, [0, 5, 9], name, shift=by) for name, by in (("right.pt", 0), ("wrong.pt", 7)))
    edits = [eval_script.evaluate(dataset=DatasetName.DIGITS, edit_set=path).edit_set for path in (right, wrong)]
    assert edits[0].drawdown_accuracy == edits[1].drawdown_accuracy and edits[1].drawdown_count == 593
    assert edits[0].drawdown_note is None and "found by pixels" in edits[1].drawdown_note


def test_every_image_in_the_edit_set_leaves_no_drawdown(network: nn.Module, digits_test: ImageDataset) -> None:
    path = _save(digits_test, list(range(596)), "all.pt")
    edits = eval_script.evaluate(dataset=DatasetName.DIGITS, edit_set=path).edit_set
    assert edits.drawdown_accuracy is None


def test_an_edit_set_of_other_classes_is_refused(network: nn.Module, digits_test: ImageDataset) -> None:
    names = ["zero", *map(str, range(1, 10))]
    result = _run("--edit-set", str(_save(digits_test, [0, 1, 300], "other.pt", class_names=names)))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "holds images of 'zero'" in result.stderr and "--data-root it came from" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--edit-set", "nowhere.pt"], 1, "nowhere.pt does not exist"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--dataset", "mnist"], 2, "mnist"),
        (["--data-root", "x"], 2, "--data-root"),
        (["--exclude-disputed", "x.txt"], 2, "name the --edit-set"),
        (["--exclude-disputed", "x.txt", "--report", "x.json"], 2, "leave out --exclude-disputed"),
    ],
)
def test_bad_arguments(network: nn.Module, arguments: list[str], exit_code: int, message: str) -> None:
    result = _run(*arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (None, "gone.pth does not exist"),
        (lambda path: path.touch(), "empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04half"), "damaged"),
        (lambda path: torch.save({"classifier.6.weight": torch.rand(10, 9)}, path), "not an AlexNet"),
    ],
)
def test_faulty_weights(workplace: Path, write: Any, message: str) -> None:
    if write is not None:
        write(Path("gone.pth"))
    result = _run("--weights", "gone.pth")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_baseline_says_how_to_make_it(workplace: Path) -> None:
    result = _run()
    assert result.exit_code == 1
    assert "train.py" in result.stderr
