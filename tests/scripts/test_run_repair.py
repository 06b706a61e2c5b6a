"""`run_repair.py` from the command line, on the digits: what it promises, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import gurobipy
import pytest
import torch
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

import edits.methods.last_layer
import edits.options
import edits.outcome.claims
import edits.pipeline
import run_repair
from checker.certificate import Certificate
from edits.methods.hidden_layer import HiddenLayer
from edits.methods.last_layer import LastLayer
from edits.methods.writing import Repaired
from edits.network.prepared import Network
from edits.options import RepairOptions
from edits.outcome.certificate import Claim
from edits.outcome.claims import refuted_claim, repaired_claim
from edits.task import Task
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from helpers.cli import DatasetName
from helpers.errors import ToolError
from model_classes.changes import changes_content
from model_classes.weight_files import save_weights
from model_classes.weights import read_weights, weights_hash
from sytorch import Contradiction, Metric
from tests.conftest import CHECKOUT, raising, with_cache

BASE = Path("artifacts/alexnet_base_digits.pth")
OUTPUT = Path("artifacts/alexnet_repaired_digits.pth")
FAILED = Path("artifacts/alexnet_repaired_digits_failed.json")
EDIT_SET = Path("data/edit_sets/digits/misclassified_edit_dataset.pt")
LAST = {"classifier.6.weight", "classifier.6.bias"}
HIDDEN = {"classifier.4.weight", "classifier.4.bias"}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(module_folder: Path, digits_baseline: Path) -> Path:
    """A project's folder with a baseline; caches and edit sets stay from test to test, as they do for a user."""
    folder = module_folder
    (folder / "artifacts").mkdir()
    for path in (digits_baseline, digits_baseline.with_suffix(".json")):
        (folder / "artifacts" / path.name).symlink_to(path)
    return folder


@pytest.fixture(autouse=True)
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    yield
    for path in Path("artifacts").glob("alexnet_repaired*"):
        path.unlink()
    assert not list(Path("artifacts").glob(".*")), "a temporary file was left behind"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(run_repair.app, arguments)


def _misclassified(*options: str) -> Result:
    return _run("misclassified", "--dataset", "digits", "--force", *options)


def _report(*options: str) -> dict[str, Any]:
    result = _misclassified("--json", *options)
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one repair of the last layer, all misclassified digits."""
    kept = tmp_path_factory.mktemp("plain")
    with contextlib.chdir(folder):
        report = _report("--prepare", "none")
        (kept / "report").write_text(json.dumps(report))
        for path in Path("artifacts").glob("alexnet_repaired*"):
            path.rename(kept / path.name)
    return kept


@pytest.fixture
def repaired(plain: Path, project: None) -> dict[str, Any]:
    """The report of that repair, whose files are there."""
    for path in plain.glob("alexnet_repaired*"):
        (Path("artifacts") / path.name).hardlink_to(path)
    found: dict[str, Any] = json.loads((plain / "report").read_text())
    return found


def _changed(state: dict[str, torch.Tensor]) -> set[str]:
    before = read_weights(BASE)
    return {name for name in before if not torch.equal(before[name], state[name])}


@pytest.mark.parametrize(
    ("prepare", "changed"),
    [pytest.param("none", LAST, marks=pytest.mark.slow), ("auto", LAST | HIDDEN)],
)
def test_torchvisions_own_network_gives_every_image_its_margin(prepare: str, changed: set[str]) -> None:
    base = BASE.read_bytes()
    report = _report("--prepare", prepare, "--param-bound", "1.5")
    state = torch.load(OUTPUT, weights_only=True)
    network = alexnet(num_classes=10).eval()
    network.load_state_dict(state)
    edit_set = load_edit_set(EDIT_SET)
    with torch.no_grad():
        logits = network(edit_set.images)
    own = logits.gather(1, edit_set.labels[:, None])
    others = logits.scatter(1, edit_set.labels[:, None], -torch.inf).max(dim=1, keepdim=True).values
    assert float((own - others).min()) >= 2.0
    assert report["min_margin"] == pytest.approx(float((own - others).min()), abs=1e-5)
    assert report["status"] == "repaired" and report["edit_accuracy_after"] == 1.0 and report["gap"] <= 1e-6
    assert _changed(state) == changed
    before = read_weights(BASE)
    largest = max(float((state[name].double() - before[name].double()).abs().max()) for name in changed)
    assert largest == report["max_abs_change"] <= 1.5
    assert BASE.read_bytes() == base


def test_the_report_agrees_with_eval(repaired: dict[str, Any]) -> None:
    evaluate, report = __import__("eval").evaluate, repaired
    for when, weights in (("before", BASE), ("after", OUTPUT)):
        measured = evaluate(weights, DatasetName.DIGITS, edit_set=EDIT_SET)
        assert measured.test.accuracy == report[f"test_accuracy_{when}"]
        assert measured.edit_set.edit_accuracy == report[f"edit_accuracy_{when}"]
        assert measured.edit_set.drawdown_accuracy == report[f"drawdown_accuracy_{when}"]
        assert measured.weights_hash == report[f"weights_hash_{when}"]
    assert json.loads(OUTPUT.with_suffix(".json").read_text()) == report


@pytest.mark.parametrize("prepare", ["none", pytest.param("auto", marks=SLOW)])
def test_the_same_command_makes_the_same_weights(prepare: str) -> None:
    first, second = _report("--prepare", prepare), _report("--prepare", prepare)
    assert first["weights_hash_after"] == second["weights_hash_after"]


@pytest.mark.parametrize("norm", ["l1", *(pytest.param(norm, marks=SLOW) for norm in ("linf", "linf+l1", "l2"))])
def test_solvers_and_paths_agree(norm: str) -> None:
    options = ["--prepare", "none", "--norm", norm, "--max-samples", "4"]
    objectives = [
        _report(*options, *more)["objective"]
        for more in (["--solver", "gurobi"], ["--solver", "highs", "--whole-program"])
    ]
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-6)


@pytest.mark.slow
def test_a_whole_program_in_the_weights_themselves() -> None:
    options = ["--metric", "identity", "--norm", "linf+l1", "--max-samples", "2"]
    found, asked = _report(*options), _report(*options, "--whole-program", "--solver", "highs")
    assert found["path"] == asked["path"] == "whole"
    assert found["columns"] == asked["columns"] == 2 * 10 * 4097 + 1
    assert found["objective"] == pytest.approx(asked["objective"], rel=1e-6)
    assert found["prepare"] == "none"


def test_spare_units_become_detectors_and_the_rest_is_as_before() -> None:
    found = _report("--prepare", "spare-units", "--margin", "1")
    images = found["edit_set_size"]
    assert (found["prepare"], found["planted_units"], found["norm"]) == ("spare-units", images, "l1")
    assert (found["reach"], found["planted_loss"]) == ("near", 0.0)
    assert found["not_separable"] == found["nearest_training_images"] == []
    assert 0 < found["largest_ordinary_response"] < 1 and 0 <= found["detected_alone"] <= images
    assert found["outside_detected"] is not None and found["max_abs_change"] <= 5.0
    state = torch.load(OUTPUT, weights_only=True)
    assert _changed(state) == LAST | HIDDEN
    moved = state["classifier.4.weight"] != read_weights(BASE)["classifier.4.weight"]
    assert int(moved.any(dim=1).sum()) == images
    assert Certificate(Path(found["certificate_path"])).check().accepted


def test_images_share_units_where_units_are_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here hardly any may be taken out: one for each label is left."""
    monkeypatch.setattr("sytorch.spare_units.planting.TOLERATED_LOSS", -1.0)
    found = _report("--margin", "1")
    labels = load_edit_set(EDIT_SET).labels.tolist()
    assert found["planted_units"] == len(set(labels)) < len(labels)
    assert found["status"] == "repaired" and Certificate(Path(found["certificate_path"])).check().accepted


def test_a_bound_that_leaves_nothing_to_plant_leaves_the_last_layer() -> None:
    result = _misclassified("--param-bound", "0.001")
    assert result.exit_code == 3 and "leaves no unit of classifier.4 to plant" in result.stderr
    assert json.loads(FAILED.read_text())["prepare"] == "none"
    asked = _misclassified("--param-bound", "0.001", "--prepare", "spare-units")
    assert asked.exit_code == 2 and "Raise --param-bound, or take --prepare none" in asked.stderr


@pytest.mark.parametrize("old", ["none", "mirrored", "shifted"])
def test_the_old_name_of_the_reach_works_for_a_release(old: str) -> None:
    result = _misclassified("--prepare-copies", old, "--dry-run")
    assert result.exit_code == 0 and "is called --reach" in result.stderr
    assert f"spare units, reach {'exact' if old == 'none' else 'near'}" in result.stdout


def test_one_class_and_any_file() -> None:
    by_class = _run("by-class", "--target-class", "8", "--dataset", "digits", "--prepare", "none")
    assert by_class.exit_code == 0, by_class.stderr
    assert by_class.stdout.startswith("repaired: ")
    result = _run("file", str(EDIT_SET), "--dataset", "digits", "--prepare", "none", "--output", "other.pth")
    assert result.exit_code == 0 and Path("other.pth").is_file()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--margin", "0"], 2, "--margin is a finite number above 0"),
        (["--margin", "-1"], 2, "--margin is a finite number above 0"),
        (["--margin", "nan"], 2, "--margin is a finite number above 0"),
        (["--param-bound", "-1"], 2, "--param-bound is a finite number above 0"),
        (["--param-bound", "inf"], 2, "--param-bound is a finite number above 0"),
        (["--time-limit", "0"], 2, "--time-limit is a number of seconds above 0"),
        (["--ridge", "0"], 2, "--ridge is a finite number above 0"),
        (["--layer", "classifier.7"], 2, "choose from: features.0"),
        (["--layer", "auto"], 2, "choose from: features.0"),
        (["--norm", "l3"], 2, "l1"),
        (["--metric", "euclid"], 2, "identity"),
        (["--metric", "per-class", "--norm", "l1"], 2, "--metric per-class is for --norm l2"),
        (["--metric", "per-class", "--whole-program"], 2, "--metric per-class is for --norm l2"),
        (["--solver", "cplex"], 2, "gurobi"),
        (["--solver", "first-order"], 2, "gurobi"),
        (["--prepare", "features.2"], 2, "spare-units"),
        (["--prepare", "spare-units", "--metric", "identity"], 2, "--prepare spare-units is for --metric training"),
        (["--reach", "far"], 2, "near"),
        (["--max-samples", "0"], 2, "--max-samples"),
        (["--weights", "missing.pth"], 1, "missing.pth"),
        (["--output", "artifacts"], 2, "name a file"),
        (["--output", "/proc/nowhere/x.pth"], 1, "Cannot write"),
        (["--data-root", "nowhere"], 2, "--data-root"),
    ],
)
def test_a_bad_option_is_one_sentence(options: list[str], code: int, words: str) -> None:
    result = _misclassified("--prepare", "none", *options)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output and not OUTPUT.exists()


def test_an_unknown_class_and_a_missing_file() -> None:
    unknown = _run("by-class", "--target-class", "10", "--dataset", "digits")
    assert unknown.exit_code == 2 and "10" in unknown.stderr.splitlines()[-1]
    missing = _run("file", "nothing.pt", "--dataset", "digits")
    assert missing.exit_code == 1 and "nothing.pt does not exist" in missing.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["by-class", "--target-class", "10"], "There is no class"),
        (["misclassified", "--predicted-class", "horse"], "There is no class"),
        (["misclassified", "--layer", "classifier.9"], "classifier.9"),
        (["misclassified", "--layer", "classifier.4", "--norm", "l1"], "l2"),
        (["file", "broken.pt"], "broken.pt"),
        (["misclassified", "--also", "broken.pt"], "broken.pt"),
        (["misclassified", "--exclude-disputed", "numbers.txt"], "10000"),
    ],
)
def test_what_cannot_be_is_told_before_a_baseline_is_trained(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_cache: Path
) -> None:
    monkeypatch.chdir(with_cache(tmp_path, warm_cache))
    monkeypatch.setattr("model_classes.training.train_alexnet", lambda *_, **__: pytest.fail("it was trained"))
    Path("broken.pt").write_bytes(b"no edit set")
    Path("numbers.txt").write_text("10000\n")
    result = _run(*words, "--dataset", "digits")
    assert result.exit_code in (1, 2) and told in result.stderr.splitlines()[-1], result.stderr


def test_a_bound_too_small_names_the_images_and_writes_no_weights() -> None:
    OUTPUT.write_bytes(b"kept")
    result = _misclassified("--prepare", "none", "--param-bound", "0.001")
    assert result.exit_code == 3
    assert "within the bound 0.001: image" in result.stderr
    assert OUTPUT.read_bytes() == b"kept"
    report = json.loads(FAILED.read_text())
    assert report["status"] == "infeasible" and report["contradicting_images"]
    assert report["smallest_bound"] > 0.001
    assert _misclassified("--prepare", "none", "--norm", "l2", "--param-bound", "0.001").exit_code == 3
    alone = _misclassified("--prepare", "none", "--param-bound", "0.001", "--max-samples", "1")
    assert "this image cannot have its margin within the bound 0.001" in alone.stderr


@pytest.mark.usefixtures("plain")
def test_one_image_with_two_labels_is_impossible() -> None:
    one = load_edit_set(EDIT_SET).subset(1, 0)
    labels = torch.tensor([3, 4])
    save_edit_set(EditSet(one.images.repeat(2, 1, 1, 1), labels, [{}, {}]), Path("twice_edit_dataset.pt"))
    result = _run("file", "twice_edit_dataset.pt", "--dataset", "digits")
    assert result.exit_code == 3
    index = one.metadata[0]["image_idx"]  # the set says none; its pixels do
    named = f"image 0 (3, test image {index}), image 1 (4, test image {index})"
    assert named in result.stderr and "no change can help" in result.stderr


def test_the_time_limit() -> None:
    result = _misclassified("--prepare", "none", "--time-limit", "1e-9")
    assert result.exit_code == 4 and not OUTPUT.exists()
    assert json.loads(FAILED.read_text())["status"] == "time_limit"


def test_the_time_of_the_metric_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Network.metric

    def slow(network: Network, options: RepairOptions) -> Metric:
        time.sleep(1.5)
        return made(network, options)

    monkeypatch.setattr(Network, "metric", slow)
    monkeypatch.setattr(LastLayer, "solve", lambda *_: pytest.fail("no time is left for it"))
    assert _misclassified("--prepare", "none", "--time-limit", "1").exit_code == 4


def test_weights_that_fail_the_forward_pass_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits.methods.last_layer, "rounding_allowance", lambda outputs: -1.0)
    OUTPUT.write_bytes(b"kept")
    result = _misclassified("--prepare", "none")
    assert result.exit_code == 5 and "misses the margin 2 by" in result.stderr
    assert OUTPUT.read_bytes() == b"kept"


def test_rounding_that_eats_a_margin_is_met_by_a_larger_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits.methods.last_layer, "rounding_allowance", lambda outputs: 1e-7)
    report = _report("--prepare", "none", "--max-samples", "3")
    assert report["min_margin"] >= 2.0


def test_without_any_gurobi_licence(repaired: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = repaired["objective"]

    def no_licence(*_: Any, **__: Any) -> None:
        raise gurobipy.GurobiError(gurobipy.GRB.Error.NO_LICENSE, "No Gurobi license found")

    monkeypatch.setattr(gurobipy, "Env", no_licence)
    result = _misclassified("--prepare", "none", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0 and report["solver"].startswith("highs")
    assert result.stderr.count("HiGHS solves it instead") == 1
    assert report["objective"] == pytest.approx(expected, rel=1e-6)
    refused = _misclassified("--prepare", "none", "--solver", "gurobi")
    assert refused.exit_code == 1 and "licence" in refused.stderr


def test_ctrl_c_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LastLayer, "solve", lambda *_: signal.raise_signal(signal.SIGINT))
    OUTPUT.write_bytes(b"kept")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        result = _misclassified("--prepare", "none")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130 and "interrupted" in result.stderr
    assert OUTPUT.read_bytes() == b"kept"


@pytest.mark.usefixtures("plain")
def test_a_full_disk_leaves_everything_as_it_was() -> None:
    OUTPUT.write_bytes(b"kept")
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    script = [str(CHECKOUT / "run_repair.py"), "misclassified", "--dataset", "digits", "--prepare", "none", "--force"]
    command = [sys.executable, "-c", code, *script]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "Cannot write artifacts/alexnet_repaired_digits.pth" in result.stderr
    assert "Traceback" not in result.stderr
    assert OUTPUT.read_bytes() == b"kept"


def test_the_base_of_weights_that_are_changes_is_not_overwritten(tmp_path: Path) -> None:
    base, changes = tmp_path / "base.pth", tmp_path / "few.pth"
    base.write_bytes(BASE.read_bytes())
    change = {"classifier.6.bias": torch.full((10,), 0.001, dtype=torch.float64)}
    torch.save(changes_content(change, base, weights_hash(read_weights(base)), changes), changes)
    result = _misclassified("--weights", str(changes), "--output", str(base))
    assert result.exit_code == 2 and f"--output {base} would overwrite {base}" in result.stderr
    assert base.read_bytes() == BASE.read_bytes()


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("victim", ["weights", "edit set", "metadata"])
def test_what_a_repair_is_made_from_is_not_overwritten(victim: str, tmp_path: Path) -> None:
    weights, edit_set = tmp_path / "base.pth", tmp_path / "mine_edit_dataset.pt"
    weights.write_bytes(BASE.read_bytes())
    save_edit_set(load_edit_set(EDIT_SET), edit_set)
    output = {"weights": weights, "edit set": edit_set, "metadata": tmp_path / "mine_edit_metadata.pth"}[victim]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = ["--dataset", "digits", "--weights", str(weights), "--output", str(output)]
    result = _run("file", str(edit_set), "--force", *options)
    assert result.exit_code == 2
    assert "would overwrite" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def _kept_files() -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in Path("artifacts").glob("alexnet_repaired*")}


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("certify_repair", KeyboardInterrupt()),
        ("write_json", ToolError("Cannot write it: No space left on device.")),
        pytest.param("measure_repair", KeyboardInterrupt(), marks=SLOW),
        pytest.param("measure_repair", ToolError("The edit set is damaged."), marks=SLOW),
        pytest.param("certify_repair", ToolError("Cannot write it: No space left on device."), marks=SLOW),
        pytest.param("write_json", KeyboardInterrupt(), marks=SLOW),
    ],
)
def test_what_ends_a_repair_before_its_end_leaves_the_earlier_one_whole(
    where: str, error: BaseException, repaired: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _kept_files()
    monkeypatch.setattr(edits.pipeline, where, raising(error))
    result = _misclassified("--prepare", "none", "--margin", "3")
    assert result.exit_code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert _kept_files() == before


@pytest.mark.usefixtures("repaired")
def test_a_failed_repair_leaves_the_earlier_one_and_tells_of_itself_beside_it() -> None:
    before = _kept_files()
    assert _misclassified("--prepare", "none", "--param-bound", "0.001").exit_code == 3
    after = _kept_files()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {FAILED.name, "alexnet_repaired_digits_failed_certificate.npz"}
    _report("--prepare", "none")
    assert set(_kept_files()) == set(before)


def test_a_proof_that_the_checker_refuses_is_not_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multipliers that prove nothing, as of a solver that gave up."""

    def nothing(task: Task, network: Network, found: Contradiction, problem: HiddenLayer | None) -> Claim:
        return replace(refuted_claim(task, network, found, problem), multipliers=found.multipliers.margins * 0)

    monkeypatch.setattr(edits.outcome.claims, "refuted_claim", nothing)
    result = _misclassified("--prepare", "none", "--param-bound", "0.001")
    assert result.exit_code == 8 and "refuses the proof" in result.stderr
    assert json.loads(FAILED.read_text())["status"] == "not_proved"


def test_an_objective_that_the_checker_refuses_is_no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    def boasting(task: Task, network: Network, repaired: Repaired) -> Claim:
        claim = repaired_claim(task, network, repaired)
        return replace(claim, lower_bound=1.01 * (claim.lower_bound or 0.0))

    monkeypatch.setattr(edits.outcome.claims, "repaired_claim", boasting)
    result = _misclassified("--prepare", "none")
    assert result.exit_code == 5 and "is no lower bound of" in result.stderr and not OUTPUT.exists()
    assert json.loads(FAILED.read_text())["status"] == "not_verified"


@pytest.mark.parametrize("kept", ["full", "changed-layer"])
def test_a_file_that_holds_other_weights_than_were_verified_is_no_repair(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a disk that loses something: only the checker reads what was written."""

    def losing(content: dict[str, Any], path: Path, history: str) -> None:
        held = content if kept == "full" else content["changes"]
        held["classifier.6.weight"] = held["classifier.6.weight"] * 0.999
        save_weights(content, path, history)

    monkeypatch.setattr("edits.methods.writing.save_weights", losing)
    result = _misclassified("--prepare", "none", "--keep-weights", kept)
    assert result.exit_code == 5 and "other weights than those certified" in result.stderr and not OUTPUT.exists()
    assert json.loads(FAILED.read_text())["status"] == "not_verified"


@pytest.mark.slow
def test_a_metric_of_each_class_is_for_l2_and_proved() -> None:
    report = _report("--metric", "per-class")
    assert (report["metric"], report["norm"], report["status"]) == ("per-class", "l2", "repaired")
    assert report["prepare"] == "none"
    assert report["gap"] <= 1e-6 and report["min_margin"] >= 2.0
    other = _report("--norm", "l2", "--prepare", "none")
    assert report["objective"] != pytest.approx(other["objective"], rel=1e-3)


def test_the_edit_sets_size_decides_the_norm_unless_one_is_named(
    repaired: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repaired["norm"] == "l1"
    monkeypatch.setattr(edits.options, "MANY_IMAGES", 2)
    assert _report("--prepare", "none")["norm"] == "l2"
    assert "least l1 of" in _misclassified("--prepare", "none", "--norm", "l1", "--dry-run").stdout
