"""The comparison: its judge, its opponents at sizes where the right answer is known, its table."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

import sytorch
from benchmarks.compare import apart, side_by_side
from benchmarks.compare.apart import Context
from benchmarks.compare.judge import judge
from benchmarks.compare.one import open_case, run_method
from benchmarks.compare.page import behind, write_page
from benchmarks.compare.plots import draw_plots
from benchmarks.compare.row import Row
from benchmarks.compare.side_by_side import finish, plan
from benchmarks.opponents import fine_tuning
from benchmarks.opponents.case import Case
from benchmarks.opponents.closed_form import least_movement, least_squares_change
from benchmarks.opponents.fine_tuning import fine_tune
from benchmarks.opponents.methods import METHODS
from benchmarks.opponents.published import PUBLISHED
from benchmarks.opponents.trainable import Part
from benchmarks.opponents.whole import Point, solve_with_gurobi, solve_with_highs, whole
from benchmarks.opponents.whole_program import WholeProgram, whole_program
from benchmarks.records import read_records, write_records
from edits.network.workbench import open_workbench
from editset_helpers.building import select
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.images.datasets import ImageDataset
from helpers.images.input_spec import InputSpec
from helpers.images.preprocessing import CIFAR
from model_classes.alexnet import blank_alexnet
from tests.conftest import CHECKOUT

ROW = Row(
    method="ours-default",
    size="10",
    seed=0,
    label="ours, the default",
    edit_images=10,
    edit_accuracy=100.0,
    smallest_margin=2.001,
    drawdown=0.125,
    generalization=60.0,
    test_accuracy=75.0,
    seconds=1.5,
    peak_memory_mb=900.0,
    licence="no",
    status="repaired",
    message="two\nlines, a comma",
    margin=2.0,
    param_bound=5.0,
    time_limit=120.0,
    weights_hash="abc",
)


@pytest.fixture(scope="module")
def case(digits_baseline: Path, module_folder: Path) -> Iterator[Case]:
    folder = module_folder
    with contextlib.chdir(folder):
        whole = open_case(DatasetName.DIGITS, None, digits_baseline, "4", seed=0, time_limit=10, folder=folder)
        bench = replace(whole.bench, test=_few(whole.bench.test, 60, whole.edit_set.test_indices()))
        vars(bench)["training"] = _few(whole.bench.training, 60, None)
        edit_set = select(Selection("misclassified"), bench.test, bench.test_logits).subset(4, 0)
        yield replace(whole, bench=bench, edit_set=edit_set)


def _few(images: ImageDataset, count: int, others: NDArray[np.int64] | None) -> ImageDataset:
    """The first images of a split, and some others, under a name of their own."""
    chosen = np.union1d(np.arange(count), np.arange(0) if others is None else others).astype(np.int64)
    return replace(
        images, images=images.images[chosen], labels=images.labels[chosen], content_hash=f"few {images.split}"
    )


def _margins(images: int = 4, classes: int = 3, features: int = 9) -> sytorch.Margins:
    rng = np.random.default_rng(7)
    inputs = sytorch.append_one(np.maximum(rng.normal(size=(images, features)), 0))
    outputs = sytorch.AffineOutputs(rng.normal(size=(images, classes)), inputs)
    return sytorch.margin(outputs, rng.integers(0, classes, images), 1.0)


def test_the_judge_agrees_with_a_plain_forward_pass(case: Case) -> None:
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + 0.003 * torch.randn(value.shape, generator=generator)
        if name.startswith("classifier.6")
        else value
        for name, value in case.bench.model.state_dict().items()
    }
    verdict = judge(case.bench, state, case.edit_set)

    model = blank_alexnet()
    model.load_state_dict(state, assign=True)
    model.eval()
    test, labels = case.bench.test, torch.from_numpy(case.bench.test.labels)
    pixels = torch.from_numpy(np.array(test.images)).permute(0, 3, 1, 2).float() / 255
    inputs = torch.nn.functional.interpolate(pixels, (70, 70), mode="bilinear", antialias=True)[..., 3:67, 3:67]
    with torch.no_grad():
        right = model(inputs).argmax(dim=1) == labels
        logits = model(case.edit_set.images)
    outside = torch.ones(len(labels), dtype=torch.bool)
    outside[case.edit_set.test_indices()] = False
    before = case.bench.test_logits.argmax(dim=1) == labels
    own = logits[torch.arange(4), case.edit_set.labels]
    others = logits.scatter(1, case.edit_set.labels[:, None], -torch.inf).amax(dim=1)
    assert verdict.test_accuracy == pytest.approx(100 * float(right.float().mean()), abs=1e-4)
    lost = before[outside].float().mean() - right[outside].float().mean()
    assert verdict.drawdown == pytest.approx(100 * float(lost), abs=1e-4)
    assert verdict.smallest_margin == pytest.approx(float((own - others).min()), abs=1e-4)
    assert verdict.edit_accuracy == 100 * float((own > others).float().mean())


def test_weights_that_did_not_change_cost_nothing(case: Case) -> None:
    verdict = judge(case.bench, case.bench.model.state_dict(), case.edit_set)
    assert (verdict.edit_accuracy, verdict.drawdown, verdict.largest_change) == (0.0, 0.0, 0.0)


def test_the_judge_prepares_images_as_the_network_wants_them(case: Case) -> None:
    spec = InputSpec(replace(CIFAR, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)))
    test = replace(case.bench.test, spec=spec)
    bench = open_workbench(case.bench.dataset, None, case.bench.weights_path)
    bench = replace(bench, test=replace(test, content_hash="normalised"))
    edit_set = select(Selection("misclassified", max_samples=4), bench.test, bench.test_logits)
    verdict = judge(bench, bench.model.state_dict(), edit_set)
    right = (bench.test_logits.argmax(dim=1).numpy() == test.labels).mean()
    assert verdict.drawdown == 0 and verdict.test_accuracy == pytest.approx(100 * right)


def test_the_closed_form_reaches_its_targets_with_the_least_change() -> None:
    rng = np.random.default_rng(3)
    inputs, wanted = rng.normal(size=(4, 9)), rng.normal(size=(4, 3))
    moment = np.cov(rng.normal(size=(9, 40)))
    metric = sytorch.second_moment_metric(moment, 1e-3)
    change = least_squares_change(inputs, wanted, metric)
    np.testing.assert_allclose(inputs @ change.T, wanted, atol=1e-6)
    # Any other change with these targets differs by one that no edit image sees: the two are orthogonal in the metric.
    unseen = np.linalg.svd(inputs)[2][4:]
    definite = moment + 1e-3 * np.trace(moment) / 9 * np.eye(9)
    np.testing.assert_allclose(change @ definite @ unseen.T, 0.0, atol=1e-6)


def test_the_targets_are_the_nearest_logits_with_the_margin() -> None:
    margins = _margins()
    movement = least_movement(margins.required)
    assert margins.shortfall(movement).max() <= 1e-12
    for image, label in enumerate(margins.labels):
        rows = np.eye(3)[label] - np.delete(np.eye(3), label, axis=0)
        required = np.delete(margins.required[image], label)
        constraint = {"type": "ineq", "fun": lambda x, rows=rows, required=required: rows @ x - required}
        nearest = minimize(lambda x: x @ x, np.zeros(3), constraints=[constraint], tol=1e-12)
        np.testing.assert_allclose(movement[image], nearest.x, atol=1e-5)


@pytest.mark.parametrize("bound", [0.3, 5.0])
def test_without_the_outputs_the_whole_program_is_sytorchs_own(bound: float) -> None:
    margins = _margins()
    expected = sytorch.minimise("linf+l1", sytorch.IdentityMetric()).subject_to(margins, bound).solve("highs")
    program = whole_program(margins, bound, count_outputs=False)
    for point in (solve_with_highs(program, 10), solve_with_gurobi(program, 10)):
        assert point.x is not None and point.status == "optimal"
        assert program.cost @ point.x == pytest.approx(expected.objective, rel=1e-5)
        change = program.change(point.x)
        assert margins.shortfall(margins.outputs.inputs @ change.T).max() <= 1e-5
        assert np.abs(change).max() <= bound + 1e-6


def test_the_whole_program_counts_the_outputs() -> None:
    margins = _margins()
    program = whole_program(margins, 5.0)
    point = solve_with_highs(program, 10)
    assert point.x is not None
    change = program.change(point.x)
    both = np.abs(np.concatenate([change.ravel(), (margins.outputs.inputs @ change.T).ravel()]))
    assert program.cost @ point.x == pytest.approx(both.max() + both.mean(), rel=1e-4)
    weights = sytorch.minimise("linf+l1", sytorch.IdentityMetric()).subject_to(margins, 5.0).solve("highs").change
    least = np.abs(np.concatenate([weights.ravel(), (margins.outputs.inputs @ weights.T).ravel()]))
    assert both.max() + both.mean() <= least.max() + least.mean() + 1e-6


@pytest.mark.parametrize("method", ["ours-identity-l1", "closed-form", "right-images", "whole-gurobi"])
def test_a_method_gives_a_judged_row_or_says_why_not(case: Case, method: str) -> None:
    row = run_method(method, "4", case)
    assert row.edit_images == 4 and row.seconds is not None and row.peak_memory_mb is not None
    if method == "whole-gurobi":
        assert row.status in {"licence refused", "repaired"} and row.licence == "yes"
    else:
        assert (row.status, row.edit_accuracy) == ("repaired", 100.0), row.message
        assert row.smallest_margin is not None and row.smallest_margin >= 2.0


def test_a_point_without_values_has_its_reason(case: Case) -> None:
    def stopped(_: WholeProgram, __: float) -> Point:
        return Point(None, "time limit reached")

    attempt = whole(stopped)(case)
    assert (attempt.state, attempt.status) == (None, "time limit reached")


@pytest.mark.parametrize("part", [Part.LAST_LAYER, pytest.param(Part.CLASSIFIER, marks=pytest.mark.slow)])
def test_fine_tuning_stops_when_every_margin_is_there(case: Case, part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "BATCH", 16)
    before = {name: value.clone() for name, value in case.bench.model.state_dict().items()}
    tuned = fine_tune(case, part, fine_tuning.Setting(1e-3, 1.0))
    assert tuned.missing == 0
    verdict = judge(case.bench, tuned.state, case.edit_set)
    assert verdict.edit_accuracy == 100.0 and verdict.smallest_margin >= case.margin
    changed = {name for name in before if not torch.equal(before[name], tuned.state[name])}
    last = {"classifier.6.weight", "classifier.6.bias"}
    assert changed == last if part is Part.LAST_LAYER else changed > last
    assert all(name.startswith("classifier") for name in changed)
    assert all(torch.equal(before[name], value) for name, value in case.bench.model.state_dict().items())


def test_fine_tuning_tells_how_many_margins_are_missing(case: Case) -> None:
    method = fine_tuning.fine_tuning(Part.WHOLE, fine_tuning.Setting(1e-4, 1.0))
    attempt = method(replace(case, time_limit=0.0))
    assert "4 images lack the margin" in attempt.message


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = tmp_path / "results" / "side_by_side.csv"
    rows = [ROW, replace(ROW, method="whole-gurobi", edit_images=None, drawdown=None, status="licence refused")]
    write_records(table, rows)
    assert read_records(table, Row) == rows


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "notes on the lab meeting, no newline at the end", "method,"])
def test_what_is_no_table_is_told_and_left(tmp_path: Path, content: str) -> None:
    table = tmp_path / "side_by_side.csv"
    table.write_text(content)
    with pytest.raises(ToolError, match="give another --output"):
        read_records(table, Row)
    assert table.read_text() == content


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    write_records(tmp_path / "table.csv", [ROW])
    written = (tmp_path / "table.csv").read_text()
    for damaged in (written[:-5], written[:-1] + ",\n", written.replace("2.001", "two")):
        (tmp_path / "other.csv").write_text(damaged)
        with pytest.raises(ToolError, match="damaged line"):
            read_records(tmp_path / "other.csv", Row)


def test_a_finished_row_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, int]] = []

    def run(context: Context, method: str, size: str, seed: int) -> Row:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((method, size, seed))
        return replace(ROW, method=method, size=size, seed=seed, weights_hash=context.weights_hash)

    monkeypatch.setattr(side_by_side, "run_apart", run)
    monkeypatch.setattr(side_by_side, "warm_up", lambda *_: "abc")
    monkeypatch.setattr(side_by_side, "ensure_baseline", lambda *_: tmp_path / "weights.pth")

    def compare(limit: float = 120.0) -> None:
        methods = ["ours-default", "ours-l1", "closed-form"]
        side_by_side.main.__wrapped__(  # type: ignore[attr-defined]
            sizes=["10", "all"], methods=methods, time_limit=limit, output=tmp_path
        )

    with pytest.raises(KeyboardInterrupt):
        compare()
    rows = read_records(tmp_path / "side_by_side.csv", Row)
    assert len(rows) == 3 and all(re.fullmatch(r"20\d\d-\d\d-\d\d", row.measured) for row in rows)
    first = made.copy()
    made.clear()
    compare()
    assert len(made) == 3 and not set(made) & set(first)
    for name in ("side_by_side.md", "drawdown.png", "drawdown.svg", "seconds.png", "seconds.svg"):
        assert (tmp_path / name).stat().st_size > 0
    lines = (tmp_path / "side_by_side.csv").read_text().splitlines(keepends=True)
    (tmp_path / "side_by_side.csv").write_text("".join(lines[:2]))
    with pytest.raises(UsageError, match="another --time-limit"):
        compare(limit=60.0)


def test_a_method_of_each_way_has_a_plot_and_the_rest_has_one_of_its_own(tmp_path: Path) -> None:
    rows = read_records(CHECKOUT / "docs/benchmarks/side_by_side.csv", Row)
    names = [path.name for path in draw_plots(rows, tmp_path)]
    columns = ("drawdown", "generalization", "seconds")
    assert names[1::2] == [f"{column}{kind}.svg" for column in columns for kind in ("", "_others")]
    text = {name: (tmp_path / name).read_text() for name in names[1::2]}
    assert "closed form of ROME and" in text["drawdown.svg"]
    assert "ours: last layer, l1" not in text["drawdown.svg"]
    assert "ours: last layer, l1" in text["drawdown_others.svg"]


@pytest.mark.parametrize(
    ("status", "message", "spared"),
    [
        ("time limit reached", "", True),
        ("out of memory", "", True),
        ("margin missed", "stopped: time limit reached; 3 rows", True),
        ("margin missed", "no guarantee", False),
        ("repaired", "", False),
        ("licence refused", "", False),
    ],
)
def test_a_method_that_ran_out_is_spared_larger_edit_sets(status: str, message: str, spared: bool) -> None:
    done = [replace(ROW, method="whole-ipm", size="50", status=status, message=message)]
    sizes = [side_by_side.hopeless(done, "whole-ipm", size) for size in ("10", "50", "100", "all")]
    assert sizes == [None, None, *["50" if spared else None] * 2]
    assert side_by_side.hopeless(done, "whole-gurobi", "100") is None
    done.append(replace(ROW, method="ours-l1", size="all", edit_images=40))
    assert side_by_side.hopeless(done, "whole-ipm", "all") is None


def test_the_plan_takes_all_images_once() -> None:
    assert plan(["10", "all"], [0, 1], ["ours-l1"]) == [
        ("ours-l1", "10", 0),
        ("ours-l1", "10", 1),
        ("ours-l1", "all", 0),
    ]
    for sizes, methods in ((["0"], ["ours-l1"]), (["ten"], ["ours-l1"]), (["10"], ["magic"])):
        with pytest.raises(UsageError):
            plan(sizes, [0], methods)


def test_the_page_says_first_where_the_default_is_behind(tmp_path: Path) -> None:
    better = replace(ROW, method="tune-whole", label="fine-tuning: whole network", drawdown=-0.5, generalization=70.0)
    best = replace(better, method="tune-last", label="fine-tuning: last layer", generalization=80.0, drawdown=0.125)
    dear = replace(ROW, method="whole-ipm", label="the whole program", drawdown=9.0, seconds=0.5)
    faster = replace(ROW, method="closed-form", label="closed form", drawdown=0.99, seconds=1.0)
    missed = replace(better, method="tune-classifier", status="margin missed", drawdown=-9.0)
    elsewhere = replace(better, size="50", drawdown=-8.0)
    told = behind([ROW, better, best, dear, faster, missed, elsewhere])
    assert told == [
        "10 images, seed 0: drawdown 0.12; less with fine-tuning: whole network (-0.50).",
        "10 images, seed 0: 60.0 % of the copies right; more with fine-tuning: last layer (80.0), fine-tuning: whole "
        "network (70.0).",
        "10 images, seed 0: 1.50 s; less, with a drawdown below 1, with closed form (1.00).",
    ]
    write_records(tmp_path / "side_by_side.csv", [ROW, better, faster, missed])
    finish(tmp_path / "side_by_side.csv", tmp_path)
    page = (tmp_path / "side_by_side.md").read_text()
    assert page.index("is not ahead") < page.index("| method |")


def test_published_figures_stand_apart_and_name_their_source(tmp_path: Path) -> None:
    measured, published = write_page([ROW], tmp_path).read_text().split("## Published figures, not measured here")
    assert not any(item.method in measured for item in PUBLISHED)
    assert {item.method for item in PUBLISHED} == {"PRDNN", "APRNN", "ROME", "MEMIT"}
    lines = [line for line in published.splitlines() if line.startswith("| ")][2:]
    for item, line in zip(PUBLISHED, lines, strict=True):
        assert re.search(r"arXiv:\d{4}\.\d{5}|doi:10\.", item.source)
        assert line.count(" | ") == 5 and line.endswith(f"| {item.source} |")


def test_the_page_says_when_rows_were_measured(tmp_path: Path) -> None:
    rows = [replace(ROW, measured=day, method=day) for day in ("2026-11-25", "2026-11-26")]
    assert "\nMeasured on 2026-11-26.\n" in write_page(rows[1:], tmp_path).read_text()
    page = write_page([*rows, replace(ROW, status="not tried")], tmp_path).read_text()
    assert "\nMeasured on 2026-11-26, but for the rows that name 2026-11-25 below their table.\n" in page
    assert page.count("measured on") == 1 and "a comma; measured on 2026-11-25\n" in page


def test_the_page_claims_nothing_of_a_default_that_is_not_there(tmp_path: Path) -> None:
    for rows, told in (([], "not in this table"), ([ROW], "none has a lower drawdown")):
        page = write_page([replace(ROW, method="closed-form"), *rows], tmp_path)
        assert told in page.read_text()


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        ("sys.exit('error: the weights do not exist')", "failed", "the weights do not exist"),
        ("raise MemoryError", "out of memory", "16 GiB"),
        ("os.kill(os.getpid(), 9)", "out of memory", "16 GiB"),
        ("time.sleep(60)", "time limit", "did not heed"),
    ],
)
def test_a_process_that_dies_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, status: str, message: str
) -> None:
    command = [sys.executable, "-c", f"import os, sys, time; {ending}"]
    monkeypatch.setattr(apart, "_command", lambda *_: command)
    monkeypatch.setattr(Context, "patience", 2.0)
    row = apart.run_apart(Context(DatasetName.DIGITS, None, tmp_path, "abc", 1.0, 16.0), "ours-l1", "10", 0)
    assert row.status == status and message in row.message
    assert row.edit_images is None and row.weights_hash == "abc"


def test_every_method_has_one_name() -> None:
    assert all(name == method.name for name, method in METHODS.items())
    labels = [method.label for method in METHODS.values()]
    assert all(first != second for first, second in itertools.combinations(labels, 2))
