"""`--layer auto`: every layer's outcome is told, the least training drawdown wins, and the budget is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

import edits.best_layer
import edits.training_images
import run_repair
from edits.attempt import Attempt, attempt
from edits.options import RepairOptions
from edits.task import Task
from edits.training_drawdown import TrainingDrawdown
from edits.workbench import open_workbench
from editset_helpers.choice import choose
from editset_helpers.edit_set import load_edit_set
from helpers.cli import DatasetName
from helpers.datasets import ImageDataset
from helpers.errors import ToolError
from helpers.preprocessing import to_inputs
from model_classes.weights import read_weights

EDIT_SET = Path("data/edit_sets/digits/misclassified_edit_dataset.pt")
LAYERS = ["classifier.6", "classifier.4", "classifier.1", *(f"features.{place}" for place in (10, 8, 6, 3, 0))]


pytestmark = pytest.mark.usefixtures("repairs_folder")


def run(weights: Path, *options: str) -> Result:
    words = ["misclassified", "--dataset", "digits", "--weights", str(weights), "--output", "repaired.pth", "--json"]
    return CliRunner().invoke(
        run_repair.app, [*words, "--layer", "auto", "--max-samples", "2", "--metric-images", "200", *options]
    )


def written() -> dict[str, Any]:
    path = Path("repaired.json")
    report: dict[str, Any] = json.loads((path if path.exists() else Path("repaired_failed.json")).read_text())
    return report


def accuracy(state: dict[str, torch.Tensor], images: ImageDataset) -> float:
    """Of torchvision's own AlexNet."""
    network = alexnet(num_classes=10).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        answers = torch.cat([network(part).argmax(1) for part in torch.split(to_inputs(images.images), 500)])
    return float((answers.numpy() == images.labels).mean())


def test_the_layer_that_training_images_suffer_least_from_is_kept(
    digits_baseline: Path, digits_train: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits.best_layer, "HIDDEN_LAYERS", ("classifier.4", "features.10"))
    states: dict[str, dict[str, torch.Tensor]] = {}

    def watched(task: Task) -> Attempt:
        tried = attempt(task)
        if tried.repaired is not None:
            states[task.options.layer] = tried.repaired.state
        return tried

    monkeypatch.setattr(edits.best_layer, "attempt", watched)
    result = run(digits_baseline, "--layer-budget", "3000", "--prepare", "none")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [tried["layer"] for tried in report["layers"]] == ["classifier.6", "classifier.4", "features.10"]
    assert [tried["pattern"] for tried in report["layers"]] == [None, "relinearise", "relinearise"]
    before = accuracy(read_weights(digits_baseline), digits_train)
    repaired = [tried for tried in report["layers"] if tried["status"] == "repaired"]
    for tried in repaired:
        lost = 100 * (before - accuracy(states[tried["layer"]], digits_train))
        assert tried["training_drawdown_points"] == pytest.approx(lost, abs=1e-9)
        assert tried["edit_accuracy"] == 1.0 and tried["seconds"] > 0
        assert f"{tried['layer']}: repaired" in result.stderr
    best = min(repaired, key=lambda tried: float(tried["training_drawdown_points"]))
    assert report["layer"] == best["layer"] and report["layer_budget"] == 3000
    state, base = torch.load("repaired.pth", weights_only=True), read_weights(digits_baseline)
    changed = {name for name in base if not torch.equal(base[name], state[name])}
    assert changed == {f"{best['layer']}.{part}" for part in ("weight", "bias")}
    network = alexnet(num_classes=10).eval()
    network.load_state_dict(state)
    edit_set = load_edit_set(EDIT_SET).subset(2, 0)
    with torch.no_grad():
        logits = network(edit_set.images)
    own = logits.gather(1, edit_set.labels[:, None])
    assert float((own - logits.scatter(1, edit_set.labels[:, None], -torch.inf)).amin(dim=1).min()) >= 2.0
    assert Path(report["outcomes_path"]).is_file() and written() == report
    assert {path.name for path in Path().glob("*repaired*")} == {
        "repaired.pth",
        "repaired.json",
        "repaired_outcomes.pt",
        "repaired_certificate.npz",
    }


def test_the_drawdown_on_training_images_decides(digits_baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"classifier.6": 0.5, "classifier.4": -0.25, "features.10": 0.0}
    monkeypatch.setattr(edits.best_layer, "HIDDEN_LAYERS", ("classifier.4", "features.10"))
    monkeypatch.setattr(TrainingDrawdown, "points", lambda self, state, first_layer: costs[first_layer])
    result = run(digits_baseline, "--layer-budget", "3000", "--prepare", "none")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["layer"] == "classifier.4" and report["norm"] == "l2"
    assert [tried["training_drawdown_points"] for tried in report["layers"]] == [0.5, -0.25, 0.0]


@pytest.mark.parametrize("keep", [0, 1, 600, 1200])
def test_who_judges_is_not_kept(digits_baseline: Path, keep: int) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    judges, kept = TrainingDrawdown(bench, keep).judges, choose(len(bench.training), keep or None, 0)[: keep or 0]
    assert len(judges) == len(set(judges.tolist())) == 1201 - keep and not set(judges) & set(kept)


@pytest.mark.parametrize("judges", [50, 10_000])
def test_layers_are_judged_by_images_that_none_of_them_kept(
    digits_baseline: Path, monkeypatch: pytest.MonkeyPatch, judges: int
) -> None:
    """The accuracy is that of the others, run through the whole network."""
    monkeypatch.setattr(edits.training_images, "JUDGES", judges)
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    training = TrainingDrawdown(bench, 700)
    state = {name: value.clone() for name, value in bench.model.state_dict().items()}
    state["classifier.6.bias"][3] += 4.0
    assert not set(training.judges) & set(bench.training_images.sample(700))
    assert len(training.judges) == min(judges, 501)
    others = replace(
        bench.training, images=bench.training.images[training.judges], labels=bench.training.labels[training.judges]
    )
    before = accuracy(dict(bench.model.state_dict()), others)
    for first in ("classifier.6", "features.10"):
        assert training.points(state, first) == pytest.approx(100 * (before - accuracy(state, others)), abs=1e-9)


def test_a_keep_set_that_leaves_nobody_to_judge_is_refused(digits_baseline: Path) -> None:
    result = run(digits_baseline, "--keep", "1201", "--prepare", "none")
    assert result.exit_code == 2 and "--keep 1201 leaves, and it leaves none of 1201" in result.stderr
    assert not Path("repaired.pth").exists()


def test_nothing_is_repaired_within_no_time(digits_baseline: Path) -> None:
    Path("repaired.pth").write_bytes(b"kept")
    result = run(digits_baseline, "--layer-budget", "1e-9")
    assert result.exit_code == 7 and "no layer was repaired within 1e-09 seconds" in result.stderr
    assert "Traceback" not in result.output and Path("repaired.pth").read_bytes() == b"kept"
    report = written()
    assert report["status"] == "no_layer" and [tried["layer"] for tried in report["layers"]] == LAYERS
    assert {tried["status"] for tried in report["layers"]} <= {"not_tried", "time_limit"}


def test_every_failure_is_listed_with_its_reason(digits_baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits.best_layer, "HIDDEN_LAYERS", ("classifier.4", "features.10"))

    def broken(task: Task) -> Attempt:
        if task.options.layer == "features.10":
            raise ToolError("it broke.")
        return attempt(task)

    monkeypatch.setattr(edits.best_layer, "attempt", broken)
    result = run(digits_baseline, "--layer-budget", "3000", "--prepare", "none", "--param-bound", "1e-6")
    assert result.exit_code == 7, result.output
    last, hidden, convolution = written()["layers"]
    assert last["status"] == "infeasible" and "within the bound 1e-06" in last["message"]
    assert hidden["status"] == "failed" and "linearise anew" in hidden["message"]
    assert (convolution["status"], convolution["message"]) == ("failed", "it broke.")
    assert not Path("repaired.pth").exists()


def test_steps_that_linearise_anew_keep_the_time_limit(digits_baseline: Path) -> None:
    words = ["misclassified", "--dataset", "digits", "--weights", str(digits_baseline), "--output", "repaired.pth"]
    options = ["--layer", "classifier.4", "--pattern", "relinearise", "--max-samples", "1", "--metric-images", "200"]
    result = CliRunner().invoke(run_repair.app, [*words, *options, "--time-limit", "1e-9"])
    assert result.exit_code == 4 and "no repair was proved within 1e-09 seconds" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "auto", "--layer-budget", "0"], "--layer-budget is a number of seconds above 0"),
        (["--layer", "auto", "--layer-budget", "nan"], "--layer-budget is a number of seconds above 0"),
        (["--layer-budget", "10"], "--layer-budget belongs to --layer auto"),
    ],
)
def test_a_bad_budget_is_one_sentence(options: list[str], words: str) -> None:
    result = CliRunner().invoke(run_repair.app, ["misclassified", "--dataset", "digits", *options])
    assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1


def test_hidden_layers_are_tried_alone() -> None:
    asked = RepairOptions(prepare="classifier.1", norm="linf", keep=100, pattern="relinearise")
    first, *others = edits.best_layer.layers_to_try(asked)
    assert first == asked and [options.layer for options in others] == LAYERS[1:]
    for options in others:
        assert options == replace(asked, layer=options.layer, norm="l2", prepare="none", keep=0)
