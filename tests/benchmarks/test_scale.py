"""The scaling benchmark: records of reports, page and plot, runs on the real digits, a table that is gone on with."""

from __future__ import annotations

import contextlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.records import read_records, write_records
from benchmarks.scale import scale
from benchmarks.scale.page import page
from benchmarks.scale.plot import REST, draw, stacked
from benchmarks.scale.run import PHASES, Context, Run, as_run, long_phases
from edits.outcome.report import RepairReport
from helpers.cli import DatasetName
from helpers.errors import ToolError

CONTEXT = Context(DatasetName.DIGITS, None, Path("weights.pth"), "abc")
REPORT = RepairReport(
    status="repaired",
    message=None,
    timestamp="",
    command="",
    edit_set_path="",
    edit_set_hash="",
    edit_set_size=2,
    dataset="digits",
    data_root=None,
    weights_path="weights.pth",
    weights_hash_before="abc",
    norm="l2",
    solver="first-order",
    rows=1007,
    gap=1e-12,
    drawdown_points=-0.25,
    peak_memory_mb=900.0,
    seconds={"ordinary images": 1.0, "prepare": 3.0, "solve": 0.5, "load": 0.01},
)
RUN = as_run(REPORT.as_json(), CONTEXT, "all", "auto", 9.0)


def test_a_run_is_what_its_report_says() -> None:
    assert RUN.key == ("all", "auto", "abc")
    assert (RUN.edit_images, RUN.status, RUN.norm, RUN.solver) == (2, "repaired", "l2", "first-order")
    assert (RUN.rows, RUN.gap, RUN.drawdown, RUN.peak_memory_mb) == (1007, 1e-12, -0.25, 900.0)
    assert {phase: RUN.seconds(phase) for phase in PHASES if RUN.seconds(phase)} == REPORT.seconds
    assert RUN.seconds_process == 9.0


def test_every_phase_has_a_column_and_no_other_is_lost() -> None:
    columns = {field.name.removeprefix("seconds_") for field in fields(Run) if field.name.startswith("seconds_")}
    assert columns == {phase.replace(" ", "_") for phase in PHASES} | {"process"}
    with pytest.raises(ToolError, match="no column for the phase 'dream'"):
        as_run(replace(REPORT, seconds={"dream": 1.0}).as_json(), CONTEXT, "2", "auto", 9.0)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [RUN, replace(RUN, prepare="none", rows=None, gap=None, solver=None, drawdown=None)]
    write_records(tmp_path / "scale.csv", runs)
    assert read_records(tmp_path / "scale.csv", Run) == runs
    assert read_records(tmp_path / "none.csv", Run) == []
    (tmp_path / "scale.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ToolError, match="another table"):
        read_records(tmp_path / "scale.csv", Run)


def test_the_page_has_a_table_for_each_kind_of_preparing() -> None:
    alone = replace(RUN, prepare="none", rows=None, gap=None, solver=None, drawdown=None, seconds_prepare=0.04)
    _, prepared, none = page([RUN, alone]).split("## --prepare ")
    assert prepared.startswith("auto\n\n![Seconds and memory](scale_auto.svg)\n")
    assert none.startswith("none\n\n![Seconds and memory](scale_none.svg)\n")
    end = ["process (s)", "peak memory (MB)", "rows", "norm", "solver", "gap", "drawdown", "outcome"]
    assert _cells(prepared) == [
        ["images", "ordinary images", "prepare", "solve", *end],
        ["2", "1.00", "3.00", "0.50", "9.0", "900", "1,007", "l2", "first-order", "1e-12", "-0.25", "repaired"],
    ]
    assert _cells(none) == [
        ["images", "ordinary images", "solve", *end],
        ["2", "1.00", "0.50", "9.0", "900", "-", "l2", "-", "-", "-", "repaired"],
    ]


def _cells(section: str) -> list[list[str]]:
    """The cells of its table, without the line below the header."""
    header, _, *lines = (line for line in section.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines)]


def test_a_phase_that_is_long_in_one_run_is_shown_for_all() -> None:
    assert long_phases([RUN]) == ["ordinary images", "prepare", "solve"]
    assert long_phases([RUN, replace(RUN, seconds_load=0.05)]) == ["load", "ordinary images", "prepare", "solve"]


def test_bars_add_up_to_the_process() -> None:
    short: dict[str, Any] = {field.name: 0.0 for field in fields(Run) if field.name.startswith("seconds_")}
    none = replace(RUN, **short | {"seconds_process": 2.0})
    parts = stacked([RUN, none])
    assert list(parts) == ["ordinary images", "prepare", "solve", REST]
    assert parts["prepare"] == [3.0, 0.0]
    assert [sum(values) for values in zip(*parts.values(), strict=True)] == pytest.approx([9.0, 2.0])
    assert stacked([none]) == {REST: [2.0]}


def test_each_kind_of_preparing_has_its_plots(tmp_path: Path) -> None:
    names = [f"scale_{kind}.{ending}" for kind in ("auto", "none") for ending in ("png", "svg")]
    assert draw([RUN, replace(RUN, prepare="none")], tmp_path) == [tmp_path / name for name in names]
    assert all((tmp_path / name).stat().st_size > 0 for name in names)


def test_the_command_writes_a_table_and_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first size is run twice, for the first run fills the caches; a size that is there is not run again."""
    asked: list[str] = []

    def pretend(context: Context, size: str, prepare: str) -> Run:
        asked.append(size)
        report = replace(REPORT, edit_set_size=int(size))
        return as_run(report.as_json(), context, size, prepare, 9.0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scale, "run_size", pretend)
    monkeypatch.setattr(scale, "ensure_baseline", lambda *_: Path("weights.pth"))
    monkeypatch.setattr(scale, "open_workbench", lambda *_: CONTEXT)
    _run(Path("weights.pth"), "--sizes", "4", "2")
    assert asked == ["4", "4", "2"]
    assert [run.edit_images for run in read_records(tmp_path / "out/scale.csv", Run)] == [2, 4]
    _run(Path("weights.pth"), "--sizes", "2", "3", "3")
    assert asked[3:] == ["3", "3"]
    _run(Path("weights.pth"), "--sizes", "2", "--prepare", "none")
    assert asked[5:] == ["2", "2"]
    assert "--sizes are numbers" in _run(Path("weights.pth"), "--sizes", "0", code=2)


@pytest.fixture(scope="module")
def scaled(digits_baseline: Path, module_folder: Path) -> Path:
    with contextlib.chdir(module_folder):
        _run(digits_baseline, "--sizes", "2", "4")
    return module_folder


def _run(weights: Path, *arguments: str, code: int = 0) -> str:
    told = ["--dataset", "digits", "--weights", str(weights), "--output", "out", *arguments]
    result = CliRunner().invoke(scale.app, told)
    assert result.exit_code == code, (result.output, result.exception)
    return str(result.output)


@pytest.mark.slow
def test_every_size_is_a_repair_with_its_phases(scaled: Path) -> None:
    runs = read_records(scaled / "out/scale.csv", Run)
    assert [run.edit_images for run in runs] == [2, 4]
    for run in runs:
        assert run.status == "repaired"
        assert run.seconds_ordinary_images > 0 and run.seconds_prepare > 0 and run.seconds_solve > 0
        assert run.peak_memory_mb > 100
        assert sum(run.seconds(phase) for phase in PHASES) < run.seconds_process
    for name in ("scale.md", "scale_auto.png", "scale_auto.svg"):
        assert (scaled / "out" / name).stat().st_size > 0
