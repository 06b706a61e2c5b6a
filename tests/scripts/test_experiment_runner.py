"""Sweeps on the real digits: rows, failures, resuming after kill -9, locks, processes, Ray, analysis."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import analysis
import eval as evaluation
import experiment_runner
import sytorch
import verify
from checker.certificate import Certificate
from edits.network.workbench import Workbench
from edits.options import REACHES, RepairOptions
from editset_helpers.building import select
from editset_helpers.copies import SHIFT, copies
from editset_helpers.edit_set import load_edit_set, save_edit_set
from editset_helpers.regions import Region
from editset_helpers.selection import Selection
from experiments.analysis.summary import read_tables, summarise
from experiments.experiment import Context, Experiment, SetType, Sizing
from experiments.plan import Sweep, plan
from experiments.single import _bench_at
from experiments.table.row import COLUMNS, LATER, NUMBERS
from experiments.table.writing import open_table
from experiments.workers import run_in_processes, run_on_ray
from helpers.arguments import repeated
from helpers.cli import DatasetName
from helpers.errors import ToolError
from helpers.evaluation import predict_logits
from helpers.images.datasets import load_dataset
from model_classes.alexnet import load_alexnet
from tests.conftest import raising

CHECKOUT = Path(__file__).parents[2]
# What rows of older tables leave empty, and a sweep of the last layer alone fills.
NOT_TOLD = ["certificate_path", "outside_wrong", "outside_mended", "outside_broken", "experiment_seconds"]
ISSUE_COLUMNS = [
    "experiment_id",
    "timestamp",
    "repair_set_type",
    "repair_set_focus",
    "requested_repair_set_size",
    "edit_set_sizing_strategy",
    "actual_repair_set_size",
    "edit_set_path",
    "target_class",
    "param_bound",
    "margin",
    "baseline_model_path",
    "baseline_accuracy_test_set",
    "baseline_accuracy_edit_set",
    "repair_runtime_seconds",
    "gurobi_barrier_iterations",
    "repair_successful",
    "repaired_model_path",
    "repaired_accuracy_test_set",
    "repaired_accuracy_edit_set",
    "repaired_accuracy_drawdown_set",
    "error_message",
]
TIMES = [
    *("timestamp", "repair_runtime_seconds", "peak_memory_mb", "seconds_prepare", "seconds_solve"),
    "experiment_seconds",
]
SMALL = [
    *("--dataset", "digits", "--edit-set-sizes", "2", "4"),
    *("--edit-set-types", "misclassified", "class_homogeneous_correct", "--target-classes", "0", "7"),
]
TABLE = Path("results/sweep.csv")
ALONE = RepairOptions(prepare="none")


@pytest.fixture(scope="module")
def ready(module_folder: Path, digits_baseline: Path) -> Path:
    """A folder with the digits' baseline where the scripts look for it, and warm caches."""
    folder = module_folder
    (folder / "artifacts").mkdir()
    for path in digits_baseline.parent.glob("alexnet_base_digits*"):
        shutil.copy(path, folder / "artifacts")
    with contextlib.chdir(folder):
        run_sweep(*SMALL, "--output", "results/unbroken.csv")
    return folder


@pytest.fixture
def place(ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, without tables of earlier tests."""
    monkeypatch.chdir(ready)
    for path in (ready / "results").glob("*sweep*"):
        path.unlink()
    shutil.rmtree(ready / "artifacts/experiments/sweep", ignore_errors=True)
    return ready


def run_sweep(*arguments: str, code: int = 0) -> str:
    """Of the last layer alone by l1, which is quick, unless the arguments say more."""
    quick = [] if "--prepare" in arguments else ["--prepare", "none"]
    quick += [] if "--norms" in arguments else ["--norms", "l1"]
    return run_as_typed(*arguments, *quick, code=code)


def run_as_typed(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(experiment_runner.app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return str(result.output)


def without_times(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=TIMES)
    table["repaired_model_path"] = table["repaired_model_path"].str.replace(f"/{path.stem}/", "/", regex=False)
    return table


def unbroken() -> pd.DataFrame:
    return without_times(Path("results/unbroken.csv"))


def test_the_columns_are_the_promised_ones() -> None:
    assert list(COLUMNS[: len(ISSUE_COLUMNS)]) == ISSUE_COLUMNS
    documented = re.findall(r"^\| `(\w+)` \|", (CHECKOUT / "EXPERIMENT_RUNNER_DESIGN_SPEC.md").read_text(), re.M)
    assert documented == list(COLUMNS)


def test_pandas_reads_sensible_types_without_options(place: Path) -> None:
    table = pd.read_csv("results/unbroken.csv")
    assert table["repair_successful"].dtype == bool
    assert table["repair_successful"].all()
    assert table["target_class"].dropna().tolist() == [0, 0, 7, 7]
    assert table["target_class"].isna().sum() == 2
    assert all(
        table[column].dtype.kind in "if" for column in ("requested_repair_set_size", "gap", "seed", "min_margin")
    )
    assert (table["actual_repair_set_size"] == table["requested_repair_set_size"]).all()
    assert set(table["repair_set_focus"]) == {"incorrect_only", "correct_only"}


def test_every_figure_is_what_the_full_forward_pass_says(place: Path) -> None:
    """Of the weights that the row names, on the images that it names: nothing is taken from caches here."""
    row = pd.read_csv("results/unbroken.csv").iloc[1]
    test = load_dataset(DatasetName.DIGITS, "test")
    edit_set = load_edit_set(Path(row["edit_set_path"]))
    before, after = (load_alexnet(Path(row[name])) for name in ("baseline_model_path", "repaired_model_path"))
    assert edit_set.content_hash == row["edit_set_hash"]
    outside = np.ones(len(test), dtype=bool)
    outside[edit_set.test_indices()] = False
    for model, prefix in ((before, "baseline"), (after, "repaired")):
        right = predict_logits(model, test).argmax(1).numpy() == test.labels
        assert right.mean() == row[f"{prefix}_accuracy_test_set"]
        assert right[outside].mean() == row[f"{prefix}_accuracy_drawdown_set"]
    logits = predict_logits(after, edit_set.images)
    own = logits.gather(1, edit_set.labels[:, None])
    rest = logits.scatter(1, edit_set.labels[:, None], -torch.inf).amax(1, keepdim=True)
    assert row["min_margin"] >= 2.0
    assert float((own - rest).min()) == pytest.approx(row["min_margin"], abs=1e-5)
    for model, when in ((before, "before"), (after, "after")):
        hits = [
            predict_logits(model, images).argmax(1) == edit_set.labels for images in copies(edit_set.images, flip=False)
        ]
        assert float(torch.cat(hits).float().mean()) == pytest.approx(row[f"generalization_{when}"])


def test_eval_reads_the_stored_change(place: Path) -> None:
    row = pd.read_csv("results/unbroken.csv").iloc[0]
    assert Path(row["repaired_model_path"]).stat().st_size < 1_000_000
    report = evaluation.evaluate(
        Path(row["repaired_model_path"]), DatasetName.DIGITS, edit_set=Path(row["edit_set_path"])
    )
    assert report.weights_hash == row["repaired_weights_hash"]
    assert report.test.accuracy == row["repaired_accuracy_test_set"]
    assert report.edit_set is not None
    assert report.edit_set.edit_accuracy == 1.0


def test_copies_are_mirrored_and_shifted() -> None:
    images = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64).float()
    mirrored, right, left, down, up = copies(images, flip=True)
    assert torch.equal(mirrored, images.flip(-1))
    assert torch.equal(right[..., SHIFT:], images[..., :-SHIFT])
    assert torch.equal(left[..., :-SHIFT], images[..., SHIFT:])
    assert torch.equal(down[..., SHIFT:, :], images[..., :-SHIFT, :])
    assert torch.equal(up[..., :-SHIFT, :], images[..., SHIFT:, :])
    assert torch.equal(right[..., 0], images[..., 0])
    assert len(list(copies(images, flip=False))) == 4


def test_a_finished_sweep_is_not_run_again_and_goes_on_with_what_is_added(place: Path) -> None:
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)]
    run_sweep(*few, "--edit-set-sizes", "4")
    first = TABLE.read_text().splitlines()[1]
    output = run_sweep(*few, "--edit-set-sizes", "2", "4")
    assert "holds 1 of 2 experiments" in output
    assert TABLE.read_text().splitlines()[2] == first
    before = TABLE.read_bytes()
    run_sweep(*few, "--edit-set-sizes", "2", "4")
    assert TABLE.read_bytes() == before


def test_restart_keeps_the_old_table_under_another_name(place: Path) -> None:
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--edit-set-sizes", "2"]
    run_sweep(*few, "--output", str(TABLE))
    old = TABLE.read_bytes()
    run_sweep(*few, "--output", str(TABLE), "--seeds", "5", "--force")
    kept = list(Path("results").glob("sweep.until-*.csv"))
    assert [path.read_bytes() for path in kept] == [old]
    assert pd.read_csv(TABLE)["seed"].tolist() == [5]


def test_another_sweeps_table_is_refused_and_left_alone(place: Path) -> None:
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)]
    run_sweep(*few, "--edit-set-sizes", "2")
    before = TABLE.read_bytes()
    assert "not of this sweep" in run_sweep(*few, "--edit-set-sizes", "3", code=2)
    assert TABLE.read_bytes() == before


def test_a_second_runner_is_refused(place: Path) -> None:
    with open_table(TABLE, restart=False):
        output = run_sweep(
            *("--dataset", "digits", "--edit-set-types", "misclassified", "--edit-set-sizes", "2"),
            *("--output", str(TABLE)),
            code=1,
        )
    assert "Another run is writing" in output


def test_failures_are_rows_and_the_exit_code_tells(place: Path) -> None:
    output = run_sweep(
        *("--dataset", "digits", "--edit-set-types", "misclassified", "--edit-set-sizes", "2", "500"),
        *("--sizing-strategy", "strict", "--param-bounds", "5", "1e-6", "--output", str(TABLE)),
        code=6,
    )
    assert "3 experiments failed" in output
    table = pd.read_csv(TABLE)
    assert table["repair_successful"].tolist() == [True, False, False, False]
    assert table["error_message"].str.contains("infeasible: ").tolist()[1]
    assert table["error_message"].str.contains("fewer than 500").tolist()[2:] == [True, True]
    assert table["baseline_accuracy_edit_set"].tolist() == [0.0] * 4
    assert table["repaired_model_path"].isna().tolist() == [False, True, True, True]
    assert table["status"].tolist() == ["repaired", "infeasible", "too_few_images", "too_few_images"]


def test_whatever_goes_wrong_in_an_experiment_the_sweep_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(task: object) -> None:
        calls.append(task)
        raise MemoryError("no room\nfor this")

    monkeypatch.setattr("experiments.single.repair_edit_set", broken)
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)]
    run_sweep(*few, "--edit-set-sizes", "2", "3", code=6)
    assert pd.read_csv(TABLE)["error_message"].tolist() == ["unexpected MemoryError: no room for this"] * 2
    assert len(calls) == 2


def _caused_by(cause: Exception) -> ToolError:
    error = ToolError("told by the solver")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (_caused_by(sytorch.LicenceError("the licence server does not answer")), "error"),
        pytest.param(ToolError("Cannot write x.pth: No space left on device."), "error", marks=pytest.mark.slow),
        pytest.param(MemoryError("no room"), "error", marks=pytest.mark.slow),
        pytest.param(OSError("stale file handle"), "error", marks=pytest.mark.slow),
        (_caused_by(sytorch.SolverFailedError("numerical trouble")), "not_solved"),
    ],
)
def test_failures_from_outside_are_tried_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)]
    with monkeypatch.context() as patch:
        patch.setattr("experiments.single.repair_edit_set", raising(error))
        run_sweep(*few, "--edit-set-sizes", "4", "2", code=6)
    assert pd.read_csv(TABLE)["status"].tolist() == [status] * 2
    if status == "error":
        output = run_sweep(*few, "--edit-set-sizes", "4", "2")
        assert "going on with the other 2, 2 of which failed for a reason from outside" in output
        assert without_times(TABLE)["requested_repair_set_size"].tolist() == ["4", "2"]
        assert pd.read_csv(TABLE)["status"].tolist() == ["repaired"] * 2
    else:
        before = TABLE.read_bytes()
        run_sweep(*few, "--edit-set-sizes", "4", "2", code=6)
        assert TABLE.read_bytes() == before


def test_a_table_saved_by_excel_is_complete(place: Path) -> None:
    """The fault: its flags read as failures, and the runner ended with "6 experiments failed"."""
    table = pd.read_csv("results/unbroken.csv", dtype=str, keep_default_na=False)
    for name in NUMBERS:
        table[name] = table[name].str.replace(".", ",")
    table["repair_successful"] = "WAHR"
    table.to_csv(TABLE, sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    before = TABLE.read_bytes()
    run_sweep(*SMALL, "--output", str(TABLE))
    assert TABLE.read_bytes() == before
    assert summarise(read_tables([TABLE])).equals(summarise(read_tables([Path("results/unbroken.csv")])))


def test_a_table_of_the_former_format_is_gone_on_with(place: Path) -> None:
    """Its names lack the training images, of which the digits have one set."""
    _, experiments = _digits_context()
    former = {experiment.id: experiment.former_id for experiment in experiments}
    made = pd.read_csv("results/unbroken.csv", dtype=str, keep_default_na=False)
    old = made.assign(experiment_id=made["experiment_id"].map(former)).drop(columns=list(LATER))
    old.iloc[[3, 1, 0]].to_csv(TABLE, index=False)
    assert "holds 3 of 6 experiments: going on with the other 3" in run_sweep(*SMALL, "--output", str(TABLE))
    table = without_times(TABLE)
    assert [name in former for name in table["experiment_id"]] == [False, False, True, False, True, True]
    ours = {"experiment_id", "repaired_model_path", *NOT_TOLD} - set(TIMES)
    assert table.drop(columns=ours).equals(unbroken().drop(columns=ours))


def test_every_row_of_a_sweep_can_be_verified_afterwards(place: Path) -> None:
    """By what the default keeps. The leads of the second seed round, which once made the checker refuse it."""
    asked = ["--edit-set-types", "misclassified", "--edit-set-sizes", "2", "--seeds", "0", "1"]
    run_sweep("--dataset", "digits", *asked, "--param-bounds", "5", "1e-6", "--output", str(TABLE), code=6)
    table = pd.read_csv(TABLE)
    assert table["status"].tolist() == ["repaired"] * 2 + ["infeasible"] * 2
    certificates = verify.paths_of(TABLE)
    assert [str(path) for path in certificates] == table["certificate_path"].tolist()
    assert all(Certificate(path).check().accepted for path in certificates)


def test_another_training_split_is_another_sweep(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: the sweep went on with rows whose metric was of other training images."""
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)]
    run_sweep(*few, "--edit-set-sizes", "2")
    before = TABLE.read_bytes()
    others = replace(load_dataset(DatasetName.DIGITS, "train"), content_hash="of other images")
    _bench_at.cache_clear()
    monkeypatch.setattr(Workbench, "training", others)
    assert "not of this sweep" in run_sweep(*few, "--edit-set-sizes", "2", code=2)
    _bench_at.cache_clear()
    assert TABLE.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--edit-set-sizes", "3", "x"], "3 x"),
        (["--edit-set-sizes", "0"], "0"),
        (["--edit-set-sizes", "2", "--target-classes", "3", "11"], "'11'"),
        (["--edit-set-sizes", "2", "--margins", "2", "-1"], "-1"),
        (["--edit-set-sizes", "2", "--param-bounds", "nan"], "nan"),
        (["--edit-set-sizes", "2", "--norms", "l1", "l7"], "l7"),
        (["--edit-set-sizes", "2", "--metrics", "euclid"], "euclid"),
        (["--edit-set-sizes", "2", "--layers", "classifier.9"], "classifier.9"),
        (["--edit-set-sizes", "2", "--time-limit", "0"], "0"),
        (["--edit-set-sizes", "2", "--workers", "2", "--ray", "auto"], "--ray"),
    ],
)
def test_a_bad_value_is_named_before_anything_is_written(place: Path, arguments: list[str], told: str) -> None:
    output = run_sweep(
        *("--dataset", "digits", "--edit-set-types", "misclassified", "--output", str(TABLE)), *arguments, code=2
    )
    assert told in output
    assert not TABLE.exists() or len(TABLE.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--target-classes", "11"], "'11'"), (["--layers", "classifier.9"], "classifier.9"), (["--margins", "-1"], "-1")],
)
def test_a_bad_value_is_named_before_a_baseline_is_trained(
    arguments: list[str], told: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_classes.training.stated_weights", lambda *_: Path("untrained.pth"))
    monkeypatch.setattr("model_classes.training.train_alexnet", lambda *_, **__: pytest.fail("it was trained"))
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--edit-set-sizes", "2"]
    assert told in run_sweep(*few, "--output", "results/untrained.csv", *arguments, code=2)


def test_a_table_that_cannot_be_written_is_told_in_one_sentence(place: Path) -> None:
    few = ["--dataset", "digits", "--edit-set-types", "misclassified", "--edit-set-sizes", "2"]
    assert "ends in .csv" in run_sweep(*few, "--output", "results", code=2)
    assert "Cannot write" in run_sweep(*few, "--output", "/proc/none/x.csv", code=1)


def test_the_commands_that_people_have_in_scripts_go_on_with_their_tables(place: Path) -> None:
    before = Path("results/unbroken.csv").read_bytes()
    asked = ["--dataset", "digits", "--repair-set-sizes", "2", "4", "--param-bound", "5.0", "--margin", "2.0"]
    types = ["--repair-set-types", "misclassified", "class_homogeneous_correct", "--target-classes", "0", "7"]
    told = run_as_typed(*asked, *types, "--output-file", "results/unbroken.csv")
    assert "holds 6 of 6 experiments" in told and "begun with the defaults of then" in told
    assert "note: --output-file is called --output now; the old name works until the next release." in told
    assert Path("results/unbroken.csv").read_bytes() == before


def test_lists_are_given_with_spaces_and_by_repeating() -> None:
    lists = {"--sizes", "--bounds"}
    given = ["--sizes", "1", "2", "--seed", "3", "--bounds", "-1", ".5", "--sizes", "4"]
    expected = "--sizes 1 --sizes 2 --seed 3 --bounds -1 --bounds .5 --sizes 4"
    assert " ".join(repeated(given, lists)) == expected
    assert list(repeated(expected.split(), lists)) == expected.split()


@pytest.mark.slow
def test_workers_make_the_same_rows_as_one_process(place: Path) -> None:
    """Sums of floats depend on the number of threads, and with them the last digits of weights and objectives."""
    run_sweep(*SMALL, "--output", str(TABLE), "--workers", "2")
    table, alone = (
        pd.read_csv(path).drop(
            columns=[*TIMES, "repaired_weights_hash", "repaired_model_path", "certificate_path", "gap"]
        )
        for path in (TABLE, "results/unbroken.csv")
    )
    pd.testing.assert_frame_equal(table, alone, rtol=1e-6)
    for name in table.columns[table.columns.str.contains("accuracy|generalization|successful|hash|id")]:
        assert table[name].equals(alone[name])


def _digits_context() -> tuple[Context, list[Experiment]]:
    weights, test = Path("artifacts/alexnet_base_digits.pth"), load_dataset(DatasetName.DIGITS, "test")
    _bench_at.cache_clear()
    row = pd.read_csv("results/unbroken.csv").iloc[0]
    hashes = row["baseline_weights_hash"], test.content_hash, load_dataset(DatasetName.DIGITS, "train").content_hash
    folders = Path("artifacts/experiments/sweep"), Path("data/edit_sets/digits/experiments")
    context = Context(DatasetName.DIGITS, None, weights, *hashes, *folders, "test")
    sweep = Sweep((2, 4), (SetType.MISCLASSIFIED, SetType.CLASS_CORRECT), (0, 7), norms=("l1",), fixed=ALONE)
    return context, plan(sweep, context)


def test_a_dead_worker_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, experiments = _digits_context()
    monkeypatch.setattr("experiments.workers._begin_worker", _die)
    with pytest.raises(ToolError, match="worker process died"):
        list(run_in_processes(context, experiments, 1))


def _die(_: int) -> None:
    os._exit(1)


@pytest.mark.slow
def test_a_ray_cluster_makes_the_same_rows_though_a_node_is_killed(place: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed: uv sync --extra ray")
    from ray.cluster_utils import Cluster

    context, experiments = _digits_context()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        rows = []
        for row in run_on_ray(context, experiments, cluster.address):
            rows.append(row)
            assert "working_dir" not in ray.get_runtime_context().runtime_env  # what Ray adds under `uv run`
            if len(rows) == 1:  # Ray chooses the node that this process is connected to, which cannot be removed
                own = ray._private.worker.global_worker.node._raylet_socket_name
                lost = next(node for node in nodes if node._raylet_socket_name != own)
                cluster.remove_node(lost, allow_graceful=False)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call, unused-ignore]
    assert sorted(row.experiment_id for row in rows) == sorted(experiment.id for experiment in experiments)
    by_id = pd.read_csv("results/unbroken.csv").set_index("experiment_id")
    for row in rows:
        assert row.repair_successful, row.error_message
        assert row.objective == pytest.approx(by_id.loc[row.experiment_id, "objective"], rel=1e-6)
        assert row.repaired_accuracy_test_set == by_id.loc[row.experiment_id, "repaired_accuracy_test_set"]


@pytest.mark.slow
def test_no_cluster_is_told(place: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed: uv sync --extra ray")
    context, experiments = _digits_context()
    with pytest.raises(ToolError, match="No Ray cluster answers"):
        next(run_on_ray(context, experiments, "127.0.0.1:1"))


def _context(**values: Any) -> Context:
    folders = {"folder": Path("f"), "edit_sets": Path("e")}
    hashes = {"weights_hash": "a", "images_hash": "b", "training_hash": "t"}
    facts = {"dataset": DatasetName.DIGITS, "data_root": None, "weights": Path("w"), "command": "c"}
    return Context(**{**facts, **folders, **hashes, **values})


def test_names_say_what_an_experiment_is_and_differ_wherever_it_does() -> None:
    context = _context()
    sweep = Sweep(
        sizes=(1, 2),
        types=tuple(SetType),
        classes=(0, 1),
        param_bounds=(1.0, 5.0),
        norms=("l1", "l2"),
        metrics=("training", "identity"),
        seeds=(0, 1),
        fixed=ALONE,
    )
    experiments = plan(sweep, context)
    assert len(experiments) == len({experiment.id for experiment in experiments}) == 2 * 5 * 2 * 2 * 2 * 2
    assert experiments[0].id.startswith("misclassified_n1_s0_")
    assert experiments[0].options == RepairOptions(param_bound=1.0, prepare="none")
    names = {name for experiment in experiments for name in experiment.names}
    for other in ({"weights_hash": "other"}, {"images_hash": "other"}):
        assert not {name for experiment in plan(sweep, _context(**other)) for name in experiment.names} & names


@pytest.mark.parametrize(
    "other",
    [
        {"sizes": (2,)},
        {"types": (SetType.CLASS_CORRECT,), "classes": (3,)},
        {"param_bounds": (4.0,)},
        {"margins": (1.0,)},
        {"norms": ("l2",)},
        {"metrics": ("identity",)},
        {"layers": ("classifier.4",)},
        {"seeds": (1,)},
        {"sizing": Sizing.STRICT},
        {"fixed": replace(ALONE, solver="highs")},
        {"fixed": replace(ALONE, time_limit=9.0)},
        {"fixed": replace(ALONE, prepare="spare-units")},
        {"fixed": replace(ALONE, max_drawdown=1.0)},
        {"fixed": replace(ALONE, region=Region(1))},
        {"keep_weights": "full"},
        {"predicted_class": 0},
        {"split": "train"},
    ],
)
def test_whatever_is_asked_otherwise_is_another_experiment(other: dict[str, Any]) -> None:
    sweep = Sweep((1,), (SetType.MISCLASSIFIED,), (), norms=("l1",), fixed=ALONE)
    [before], [after] = plan(sweep, _context()), plan(replace(sweep, **other), _context())
    assert not set(before.names) & set(after.names)


def test_other_training_images_make_another_experiment_where_they_decide_anything() -> None:
    """The fault: names said the test images alone, so a sweep went on with rows of other training images."""
    sweep = Sweep((1,), (SetType.MISCLASSIFIED,), (), norms=("l1",), fixed=ALONE)
    for asked, decide in (
        (sweep, True),
        (replace(sweep, metrics=("identity",), split="train"), True),
        (replace(sweep, metrics=("identity",)), False),
        (replace(sweep, metrics=("identity",), layers=("classifier.4",)), True),
    ):
        [before], [after] = (plan(asked, _context(training_hash=split, data_root=Path("pets"))) for split in "xy")
        assert (before.id != after.id, before.former_id is None) == (decide, decide)
        assert asked.needs_training_images == decide


def test_a_name_is_the_same_in_every_process_and_tells_options_apart() -> None:
    context = _context()
    sweep = Sweep((1,), (SetType.MISCLASSIFIED,), (), norms=("l1",), fixed=ALONE)
    [plain] = plan(sweep, context)
    [exact] = plan(replace(sweep, fixed=RepairOptions(reach=REACHES["exact"])), context)
    [prepared] = plan(replace(sweep, fixed=RepairOptions()), context)
    others = plan(replace(sweep, fixed=replace(ALONE, reach=REACHES["exact"])), context)
    assert [plain.names] == [found.names for found in others]
    assert plain.names == ["misclassified_n1_s0_3d8a22a8350e", "misclassified_n1_s0_515d0dc9"]
    [hidden] = plan(replace(sweep, layers=("classifier.4",), norms=("l2",)), context)
    assert hidden.names == ["misclassified_n1_s0_49ea1ab478d6", "misclassified_n1_s0_d67b709d"]
    assert len({name for made in (plain, exact, prepared) for name in made.names}) == 4
    assert exact.former_id is prepared.former_id is None


@pytest.mark.parametrize("lacking", [list(LATER), list(LATER)[2:]])
def test_a_table_from_before_some_columns_is_read_and_gone_on_with(place: Path, lacking: Iterable[str]) -> None:
    made = pd.read_csv("results/unbroken.csv", dtype=str, keep_default_na=False)
    made.drop(columns=list(lacking)).to_csv(TABLE, index=False)
    assert summarise(read_tables([TABLE])).equals(summarise(read_tables([Path("results/unbroken.csv")])))
    made[:-1].drop(columns=list(lacking)).to_csv(TABLE, index=False)
    run_sweep(*SMALL, "--output", str(TABLE))
    table = pd.read_csv(TABLE, dtype=str, keep_default_na=False)
    assert list(table) == list(COLUMNS)
    assert set(table["reach"]) == {"none"}
    before, new = table[:-1], table.iloc[-1]
    assert before.equals(made[:-1].assign(**{name: "" for name in lacking if name in NOT_TOLD}))
    assert new["experiment_id"] == made["experiment_id"].iloc[-1] and new["certificate_path"]


def test_drawdown_is_told_with_and_without_disputed_images(place: Path) -> None:
    Path("disputed.txt").write_text("# people read these in two ways\n" + "\n".join(map(str, range(300))))
    asked = ["--dataset", "digits", "--edit-set-sizes", "4", "--edit-set-types", "misclassified"]
    asked += ["--output", str(TABLE)]
    run_sweep(*asked)
    [plain] = pd.read_csv(TABLE).to_dict("records")
    assert plain["disputed"] == "none" and np.isnan(plain["drawdown_undisputed_points"])
    with_list = [*asked, "--exclude-disputed", "disputed.txt"]
    assert "not of this sweep" in run_sweep(*with_list, code=2)
    run_sweep(*with_list, "--force")
    [row] = pd.read_csv(TABLE).to_dict("records")
    assert row["disputed"] == "excluded" and row["drawdown_points"] == plain["drawdown_points"]
    test = load_dataset(DatasetName.DIGITS, "test")
    kept = np.arange(len(test)) >= 300
    kept[json.loads(Path(row["repaired_model_path"]).with_suffix(".json").read_text())["edit_test_indices"]] = False
    before, after = (
        (predict_logits(load_alexnet(Path(row[path])), test).argmax(dim=1).numpy() == test.labels)[kept].mean()
        for path in ("baseline_model_path", "repaired_model_path")
    )
    assert row["drawdown_undisputed_points"] == pytest.approx(100 * (before - after))
    assert "holds 1 of 1 experiments" in run_sweep(*with_list)
    assert "none.txt" in run_sweep(*asked, "--exclude-disputed", "none.txt", code=1)


def test_images_of_a_wrong_class_and_of_other_sets_are_repaired(place: Path) -> None:
    """Every experiment repairs those of ``--also``, too, which count as edit images and not as drawdown.

    Their classes are in another order, which is told once.
    """
    test = load_dataset(DatasetName.DIGITS, "test")
    wrong = predict_logits(load_alexnet(Path("artifacts/alexnet_base_digits.pth")), test).argmax(dim=1).numpy()
    mistaken = np.flatnonzero(wrong != test.labels)
    taken = int(wrong[mistaken[0]])
    assert 0 < (wrong[mistaken] == taken).sum() < len(mistaken)
    ones = select(Selection("by-class", "1", "correct", 3), test, torch.eye(10)[torch.from_numpy(wrong)])
    ones = replace(
        ones,
        labels=9 - ones.labels,
        metadata=[{"image_idx": facts["image_idx"]} for facts in ones.metadata],
        provenance={**ones.provenance, "class_names": list(test.class_names[::-1])},
    )
    save_edit_set(ones, Path("ones.pt"))
    asked = ["--dataset", "digits", "--edit-set-sizes", "9", "8", "--edit-set-types", "misclassified"]
    asked += ["--output", str(TABLE), "--predicted-class", str(taken), "--also", "ones.pt"]
    assert run_sweep(*asked).count("in another order") == 1
    row, other = pd.read_csv(TABLE).to_dict("records")
    assert row["status"] == other["status"] == "repaired" and row["baseline_accuracy_edit_set"] == 0
    assert row["more_options"] == f"--predicted-class {taken} --also ones.pt"
    numbers = {facts["image_idx"] for facts in load_edit_set(Path(row["edit_set_path"])).metadata}
    assert numbers == set(mistaken[wrong[mistaken] == taken].tolist())
    told = json.loads(Path(row["repaired_model_path"]).with_suffix(".json").read_text())
    assert set(told["edit_test_indices"]) == numbers | {facts["image_idx"] for facts in ones.metadata}
    assert "holds 2 of 2 experiments" in run_sweep(*asked)
    save_edit_set(ones.at(np.array([0])), Path("ones.pt"))
    assert "not of this sweep" in run_sweep(*asked, code=2)


@pytest.mark.slow
def test_training_images_are_repaired_and_all_test_images_judge(place: Path) -> None:
    state = torch.load("artifacts/alexnet_base_digits.pth")
    state["classifier.6.bias"][8] += 6.0  # so that some training images are taken for eights
    torch.save(state, "wrong.pth")
    asked = ["--dataset", "digits", "--edit-set-sizes", "3", "--edit-set-types", "misclassified", "--weights"]
    asked += ["wrong.pth", "--split", "train", "--output", str(TABLE)]
    run_sweep(*asked)
    [row] = pd.read_csv(TABLE).to_dict("records")
    assert (row["status"], row["actual_repair_set_size"], row["more_options"]) == ("repaired", 3, "--split train")
    assert (row["baseline_accuracy_edit_set"], row["repaired_accuracy_edit_set"]) == (0, 1)
    assert row["baseline_accuracy_drawdown_set"] == row["baseline_accuracy_test_set"]
    assert row["repaired_accuracy_drawdown_set"] == row["repaired_accuracy_test_set"]
    training, model = load_dataset(DatasetName.DIGITS, "train"), load_alexnet(Path("wrong.pth"))
    numbers = np.array([facts["training_idx"] for facts in load_edit_set(Path(row["edit_set_path"])).metadata])
    assert (predict_logits(model, training).argmax(dim=1).numpy() != training.labels)[numbers].all()
    assert "test images" in run_sweep(*asked, "--sequence", "2", code=2)


def test_a_sweep_with_spare_units_says_what_was_planted(place: Path) -> None:
    """The fault: files of changes gave back other weights than were certified where planted weights were -0.0."""
    asked = ["--dataset", "digits", "--edit-set-sizes", "2", "--edit-set-types", "misclassified", "--prepare", "auto"]
    run_sweep(*asked, "--output", "results/planted.csv")
    [row] = pd.read_csv("results/planted.csv").to_dict("records")
    assert (row["status"], row["prepare"], row["reach"]) == ("repaired", "spare-units", "near")
    assert row["planted_units"] >= 2 and row["images_not_separable"] == 0


GONE = {"keep": "0", "kept_images": "", "prepare_objective": "", "prepare_edit_accuracy": "", "prepare_copies": "none"}


def with_keep_sets(table: pd.DataFrame) -> pd.DataFrame:
    """As it was written when keep sets, and moving a hidden layer, were options; these rows have none."""
    old = table.copy()
    for place, (name, cell) in enumerate(GONE.items(), list(table).index("certificate_path")):
        old.insert(place, name, cell)
    return old


def test_a_table_from_when_there_were_keep_sets_is_gone_on_with(place: Path) -> None:
    old = with_keep_sets(pd.read_csv("results/unbroken.csv", dtype=str, keep_default_na=False))
    old.iloc[:4].to_csv(TABLE, index=False)
    assert "holds 4 of 6 experiments: going on with the other 2" in run_sweep(*SMALL, "--output", str(TABLE))
    table = without_times(TABLE)
    assert list(table) == [name for name in old if name not in TIMES]
    assert {name: set(table[name]) for name in GONE} == {name: {cell} for name, cell in GONE.items()}
    ours = ["repaired_model_path", "certificate_path"]
    assert table.drop(columns=[*GONE, *ours]).equals(unbroken().drop(columns=ours))
    assert summarise(read_tables([TABLE])).columns.equals(
        summarise(read_tables([Path("results/unbroken.csv")])).columns
    )


def test_rows_with_a_keep_set_are_left_alone_and_never_averaged_with_others(place: Path) -> None:
    old = with_keep_sets(pd.read_csv("results/unbroken.csv", dtype=str, keep_default_na=False))
    more = old.iloc[:1].assign(experiment_id="misclassified_n2_s0_0123456789ab", keep="500", kept_images="3")
    pd.concat([old, more]).to_csv(TABLE, index=False)
    before = TABLE.read_bytes()
    assert "experiments that are not of this sweep" in run_sweep(*SMALL, "--output", str(TABLE), code=2)
    assert TABLE.read_bytes() == before
    summary = summarise(read_tables([TABLE, Path("results/unbroken.csv")]))
    assert summary.loc[summary["keep"] == 500, "experiments"].tolist() == [1]
    assert summary.loc[summary["keep"] == 0, "experiments"].sum() == len(old)


@pytest.mark.parametrize("missing", [["--edit-set-sizes", "1"], ["--edit-set-types", "misclassified"]])
def test_a_missing_list_has_no_value_to_name(missing: list[str]) -> None:
    result = CliRunner().invoke(experiment_runner.app, missing)
    assert result.exit_code == 2
    assert "Missing option" in result.output
    assert "given" not in result.output


def test_analysis_writes_every_plot_and_a_summary(place: Path) -> None:
    result = CliRunner().invoke(analysis.app, ["results/unbroken.csv", "--output", "results/plots"])
    assert result.exit_code == 0, result.output
    for name in ("accuracy", "drawdown", "runtime", "iterations", "success", "classes"):
        with Image.open(f"results/plots/{name}.png") as plot:
            assert plot.size == (960, 600)
        assert "<svg" in Path(f"results/plots/{name}.svg").read_text()
    summary = pd.read_csv("results/plots/summary.csv")
    assert summary["experiments"].sum() == summary["repaired"].sum() == 6
    table = pd.read_csv("results/unbroken.csv")
    of_two = table[
        (table["repair_set_type"] == "class_homogeneous_correct") & (table["requested_repair_set_size"] == 2)
    ]
    line = summary[
        (summary["repair_set_type"] == "class_homogeneous_correct") & (summary["requested_repair_set_size"] == 2)
    ]
    assert line["drawdown_mean"].item() == pytest.approx(of_two["drawdown_points"].mean())
    assert line["accuracy"].item() == pytest.approx(100 * of_two["repaired_accuracy_test_set"].mean())
    assert Path("results/plots/summary.md").read_text().startswith("| repair set type | requested repair set size |")


def test_analysis_writes_beside_each_table(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.analysis.figures.draw_figures", lambda rows, folder: [])
    shutil.copy("results/unbroken.csv", TABLE)
    result = CliRunner().invoke(analysis.app, ["results/unbroken.csv", str(TABLE)])
    assert result.exit_code == 0, result.output
    for folder in (Path("results/unbroken_analysis"), Path("results/sweep_analysis")):
        assert {path.name for path in folder.iterdir()} == {"summary.csv", "summary.md"}
        shutil.rmtree(folder)
    assert not Path("results/analysis").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "There is no table"), ("a,b\n1,2\n", "lacks"), ("", "no readable table"), ("header", "no experiments yet")],
)
def test_analysis_of_what_is_no_table(place: Path, content: str | None, told: str) -> None:
    path = Path("results/other_sweep.csv")
    if content is not None:
        path.write_text(",".join(COLUMNS) + "\n" if content == "header" else content)
    result = CliRunner().invoke(analysis.app, [str(path)])
    assert result.exit_code == 1
    assert told in result.output


def test_the_pandas_example_of_the_page_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = re.search(r"```python\n(import matplotlib.*?)```", (CHECKOUT / "docs/experiments.md").read_text(), re.S)
    assert found is not None
    shutil.copy("results/unbroken.csv", "results/full_experiment.csv")
    exec(compile(found[1], "docs/experiments.md", "exec"), {})
    assert Path("results/by_hand.png").stat().st_size > 5000
