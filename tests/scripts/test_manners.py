"""How the scripts behave in a shell: what they refuse, what they tell before the work, and that JSON stays clean."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

import edits.pipeline
import experiment_runner
import run_repair
import train
from edits.options import MANY_IMAGES, REACHES, RepairOptions
from edits.outcome.measuring import measure_repair
from edits.record.report import RepairReport
from experiments.experiment import SetType
from experiments.plan import Sweep
from helpers.arguments import repeated
from tests.conftest import CHECKOUT

BASE = Path("artifacts/alexnet_base_digits.pth")
OUTPUT = Path("artifacts/alexnet_repaired_digits.pth")
FAILED = Path("artifacts/alexnet_repaired_digits_failed.json")
DIGITS = ("--dataset", "digits", "--prepare", "none")
FEW = ("misclassified", *DIGITS, "--max-samples", "3")
SWEEP = ("--edit-set-sizes", "2", "--edit-set-types", "misclassified", "--output", "results/few.csv")


@pytest.fixture(scope="module")
def folder(module_folder: Path, digits_baseline: Path) -> Path:
    (module_folder / "artifacts").mkdir()
    for path in (digits_baseline, digits_baseline.with_suffix(".json")):
        (module_folder / "artifacts" / path.name).symlink_to(path)
    return module_folder


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder with a baseline and no repair."""
    monkeypatch.chdir(folder)
    yield folder
    for path in Path("artifacts").glob("alexnet_repaired*"):
        path.unlink()


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repairs that cost 7 points, and 12 of one class."""

    def measured(report: RepairReport, *rest: Any, **more: Any) -> None:
        measure_repair(report, *rest, **more)
        report.drawdown_points, report.worst_class, report.worst_class_drawdown_points = 7.0, "3", 12.0

    monkeypatch.setattr(edits.pipeline, "measure_repair", measured)


def _repair(*arguments: str) -> Result:
    return CliRunner().invoke(run_repair.app, arguments)


def _sweep(*arguments: str) -> Result:
    return CliRunner().invoke(experiment_runner.app, [*SWEEP, *arguments])


def _files(folder: Path) -> dict[Path, int]:
    """All there is, and when it was written; but for the cache, which the tests of other processes fill, too."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "cache"}


def test_phases_are_told_json_is_clean_and_what_exists_is_kept(project: Path) -> None:
    told = _repair(*FEW, "--json", "--verbose", "--log", "run.log")
    assert told.exit_code == 0 and json.loads(told.stdout)["status"] == "repaired"
    phases = [line.partition(":")[0] for line in told.stderr.splitlines() if re.search(r": \d+\.\d\d s$", line)]
    assert {"load", "edit set", "program", "solve", "write and verify", "certify"} <= {*phases}
    assert "repair of 3 images: about" in told.stderr
    logged = [line[20:] for line in Path("run.log").read_text().splitlines()]
    assert logged[1:] == told.stderr.splitlines()
    before = {path: path.read_bytes() for path in Path("artifacts").glob("alexnet_repaired*")}
    again = _repair(*FEW)
    assert (again.exit_code, again.stdout) == (1, "")
    assert (
        again.stderr
        == f"error: {OUTPUT} exists and was kept; --force replaces that repair, --output writes elsewhere.\n"
    )
    assert {path: path.read_bytes() for path in Path("artifacts").glob("alexnet_repaired*")} == before
    quiet = _repair(*FEW, "--margin", "1", "--force", "--quiet")
    assert quiet.exit_code == 0 and quiet.stderr == "" and quiet.stdout.startswith("repaired: ")
    assert OUTPUT.read_bytes() != before[OUTPUT]


def test_a_log_that_cannot_be_written_is_refused_before_the_work(project: Path) -> None:
    for result in (_repair(*FEW, "--log", "none/log"), _sweep(*DIGITS, "--log", "none/log")):
        assert (result.exit_code, result.stdout) == (1, "") and "Cannot write the log none/log" in result.stderr
    assert not OUTPUT.exists() and not Path("results").exists()
    both = CliRunner().invoke(train.app, ["--quiet", "--verbose", "--force", "--dataset", "digits"])
    assert both.exit_code == 2 and BASE.is_symlink()


def test_a_repair_that_costs_too_much_is_none(project: Path, costly: None) -> None:
    OUTPUT.write_bytes(b"kept")
    result = _repair(*FEW, "--max-drawdown", "6.5", "--force")
    assert result.exit_code == 8 and "costs 7.00 points of accuracy, and --max-drawdown allows 6.5" in result.stderr
    assert OUTPUT.read_bytes() == b"kept"
    assert {path.name for path in Path("artifacts").glob("alexnet_repaired*")} == {OUTPUT.name, FAILED.name}
    report = json.loads(FAILED.read_text())
    assert report["status"] == "too_costly" and report["output_path"] is report["outcomes_path"] is None
    noted = _repair(*FEW, "--force", "--json")
    lost = "the repair costs much accuracy: 7.00 points overall, 12.00 of class 3"
    assert noted.exit_code == 0 and f"note: {lost}" in noted.stderr
    assert json.loads(noted.stdout)["message"].startswith(lost)
    for wrong in ("-1", "nan"):
        assert _repair(*FEW, "--max-drawdown", wrong, "--force").exit_code == 2


def test_in_a_sweep_it_is_a_row_and_is_not_tried_again(project: Path, costly: None) -> None:
    asked = (*DIGITS, "--max-drawdown", "0")
    result = _sweep(*asked)
    assert result.exit_code == 6 and re.search(r"1 of 1: misclassified_n2_s0_\w+ too_costly, drawdown 7", result.stderr)
    [row] = pd.read_csv("results/few.csv", keep_default_na=False).to_dict("records")
    assert (row["status"], row["more_options"], row["repaired_model_path"]) == ("too_costly", "--max-drawdown 0", "")
    before = Path("results/few.csv").read_bytes()
    told = _sweep(*asked, "--dry-run")
    assert told.exit_code == 0 and "1, of which 1 are in the table" in told.stdout
    assert _sweep(*asked).exit_code == 6 and Path("results/few.csv").read_bytes() == before
    Path("results/few.csv").unlink()


def test_a_dry_run_writes_nothing_and_says_what_is_lacking(project: Path, workplace: Path) -> None:
    for result in (_repair(*FEW, "--dry-run"), _sweep("--dataset", "digits", "--dry-run")):
        assert result.exit_code == 0, result.output
        assert "artifacts/alexnet_base_digits.pth, trained, about 25 seconds" in result.stdout
        assert "1,201 training images through the convolutions" in result.stdout
    assert list(workplace.iterdir()) == []


def test_a_dry_run_counts_the_pictures_of_a_folder(workplace: Path, image_folder: Path) -> None:
    told = _repair("misclassified", "--data-root", str(image_folder), "--dry-run").stdout
    assert "10 test images through the network" in told and "6 training images through the convolutions" in told


def test_a_dry_run_knows_classes_by_name_before_there_are_images(workplace: Path, image_folder: Path) -> None:
    kind = ("--edit-set-types", "class_homogeneous_correct")
    for place, name in (((), "frog"), (("--data-root", str(image_folder)), "dog"), (("--dataset", "digits"), "7")):
        told = _sweep(*place, *kind, "--target-classes", name, "--dry-run")
        assert told.exit_code == 0 and "experiments" in told.stdout, told.output
    assert "There is no class 'frog'" in _sweep("--dataset", "digits", "--target-classes", "frog", "--dry-run").output


def test_a_dry_run_tells_options_as_they_are_resolved(project: Path) -> None:
    before = _files(project)
    told = json.loads(_repair("misclassified", "--dataset", "digits", "--reach", "exact", "--dry-run", "--json").stdout)
    assert told["prepared"] == "spare units, reach exact" and told["program"].startswith("least l1")
    sweep = _sweep("--dataset", "digits", "--edit-set-sizes", f"3,{MANY_IMAGES + 1}", "--dry-run")
    assert "least l1 and l2 of classifier.6" in sweep.stdout and "norm l1, l2" in sweep.stdout
    assert _files(project) == before


def _given(app: typer.Typer) -> set[str]:
    command: Any = typer.main.get_command(app)
    command = getattr(command, "commands", {"misclassified": command})["misclassified"]
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


def test_sweeps_take_the_options_of_a_repair_and_have_its_defaults() -> None:
    lists = {"--param-bound", "--margin", "--norm", "--metric", "--layer", "--seed"}
    of_one = {"--max-samples", "--also", "--split", "--predicted-class", "--exclude-disputed", "--json"}  # which images
    lacking = {f"{name}s" if name in lists else name for name in _given(run_repair.app) - of_one} - _given(
        experiment_runner.app
    )
    assert not lacking
    sweep = Sweep((MANY_IMAGES, MANY_IMAGES + 1), (SetType.MISCLASSIFIED,), ())
    few, many = (sweep.programs(size)[0] for size in sweep.sizes)
    usual = run_repair.read_request().options
    assert few == usual == RepairOptions() and few.plants
    assert (few.norm, many.norm) == ("l1", "l2")
    hidden = Sweep((1,), (SetType.MISCLASSIFIED,), (), layers=("classifier.4",)).programs(1)[0]
    assert hidden == run_repair.read_request(layer="classifier.4").options


def test_what_tables_have_no_column_for_is_told_as_typed() -> None:
    asked = run_repair.read_request(shifts=1, flip=True, ridge=0.01, metric_images=500, max_drawdown=2.5).options
    assert asked.more == "--shifts 1 --flip --ridge 0.01 --metric-images 500 --max-drawdown 2.5"
    assert RepairOptions(reach=REACHES["exact"]).more == "none"


def test_lists_have_commas_too() -> None:
    lists = {"--sizes", "--names"}
    assert " ".join(repeated(["--sizes", "1,2", "3,", "--names=a,b", "--one", "x,y"], lists)) == (
        "--sizes 1 --sizes 2 --sizes 3 --names a --names b --one x,y"
    )


@pytest.mark.parametrize("arguments", [["--version"], ["misclassified", "--version"]])
def test_the_version_is_that_of_the_project(arguments: list[str]) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    result = _repair(*arguments)
    assert result.exit_code == 0 and re.fullmatch(rf"alexnet-repair {version}( \(\w+(-dirty)?\))?\n", result.stdout)
    assert CliRunner().invoke(train.app, ["--version"]).stdout == result.stdout
