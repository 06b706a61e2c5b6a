"""The scaling benchmark: floors against sums by hand, runs on the real digits, a table that is gone on with."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.records import read_records, write_records
from benchmarks.scale import scale
from benchmarks.scale.floors import Floor, floor_of
from benchmarks.scale.machine import Machine, measure
from benchmarks.scale.page import dominating, page
from benchmarks.scale.run import PHASES, Run
from helpers.errors import ToolError

M, N = 4096, 4097
SECONDS: dict[str, Any] = {f"seconds_{phase.replace(' ', '_')}": 0.1 for phase in PHASES if phase != "prepare"}
RUN = Run(
    size="2",
    prepare="auto",
    weights_hash="abc",
    edit_images=2,
    status="repaired",
    norm="l2",
    margins="5 3",
    iterations="10 20",
    rows=7,
    rounds=1,
    solver="first-order",
    solver_iterations=4,
    gap=1e-12,
    drawdown=-0.25,
    peak_memory_mb=900.0,
    **SECONDS,
    seconds_prepare=3.0,
    seconds_process=9.0,
    sample_images=100,
    test_images=50,
    gflops32=100.0,
    gflops64=50.0,
    gigabytes=10.0,
)


def test_the_floor_of_the_preparation_is_the_sum_of_its_products() -> None:
    floor = floor_of(RUN, "prepare")
    assert floor is not None
    steps = sum(2 * r * r * M + r * M * M + 2 * 2 * 2 * N + 6 * N * M * 2 + 100 * 2 * 2 * (N + M) for r in (5, 3))
    assert floor.single == N * N * 2 + steps
    assert floor.double == 2 * N * M * 2
    assert floor.streamed == 4 * 25 * 22 + 4 * 9 * 32
    assert floor.held == 8 * N * N + 4 * M * M + 12 * M * N + 4 * 4 + 4 * 25 + 8 * 5 * M


def test_the_floor_of_the_metric_takes_what_is_less() -> None:
    """Two images move the sample by thin factors, ten thousand by the whole change."""
    few, many = floor_of(RUN, "metric"), floor_of(replace(RUN, edit_images=10_000), "metric")
    assert few is not None and many is not None
    assert few.single == 100 * (2 * 2 * (N + M) + N * N)
    assert many.single == 100 * (2 * N * M + N * N)


def test_the_floor_of_the_program_depends_on_its_norm() -> None:
    floor, linear = floor_of(RUN, "solve"), floor_of(replace(RUN, norm="l1"), "solve")
    assert floor is not None and linear is not None
    assert linear.double == 2 * N * N * 2 + 2 * 4 * N
    assert floor.double == linear.double + 8 / 3
    assert (linear.streamed, floor.streamed) == (0, 16 * 49 + 4 * 49 * 4)
    other = floor_of(replace(RUN, solver="gurobi 13.0"), "solve")
    assert other is not None and other.streamed == 16 * 49


def test_without_a_preparation_only_the_program_has_a_floor() -> None:
    alone = replace(RUN, prepare="none", margins="", iterations="")
    assert [phase for phase in PHASES if floor_of(alone, phase) is not None] == ["solve"]
    assert [phase for phase in PHASES if floor_of(RUN, phase) is None] == [
        phase for phase in PHASES if phase not in ("metric", "prepare", "activations", "solve")
    ]


def test_a_floors_seconds_are_at_the_machines_rates() -> None:
    assert Floor(2e11, 5e10, 3e10, 1.0).seconds(Machine(100.0, 50.0, 10.0)) == pytest.approx(2 + 1 + 3)


def test_the_machine_has_rates() -> None:
    machine = measure(side=64, copied=2**16)
    assert min(machine.gflops32, machine.gflops64, machine.gigabytes) > 0


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = [RUN, replace(RUN, prepare="none", margins="", rows=None, gap=None, solver=None)]
    write_records(tmp_path / "scale.csv", runs)
    assert read_records(tmp_path / "scale.csv", Run) == runs
    assert read_records(tmp_path / "none.csv", Run) == []
    (tmp_path / "scale.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ToolError, match="another table"):
        read_records(tmp_path / "scale.csv", Run)


def test_the_page_names_what_dominates_and_how_far_above_its_floor_it_is() -> None:
    assert dominating(RUN) == "prepare"
    floor = floor_of(RUN, "prepare")
    assert floor is not None
    last = page([RUN]).split("## What dominates")[1]
    [line] = [line for line in last.splitlines() if line.startswith("| 2 ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:5] == ["2", "auto", "prepare", "3.00", "77 %"]
    assert cells[-1] == f"{3.0 / floor.seconds(RUN.machine):.1f}"


@pytest.fixture(scope="module")
def scaled(digits_baseline: Path, module_folder: Path) -> Path:
    with contextlib.chdir(module_folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "measure", lambda: Machine(100.0, 50.0, 10.0))
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
        assert run.seconds_prepare > 0 and run.seconds_solve > 0 and run.peak_memory_mb > 100
        assert sum(run.seconds(phase) for phase in PHASES) < run.seconds_process
        assert int(run.margins.split()[0]) >= run.edit_images
        assert len(run.margins.split()) == len(run.iterations.split())
    for name in ("scale.md", "scale_auto.png", "scale_auto.svg"):
        assert (scaled / "out" / name).stat().st_size > 0


@pytest.mark.slow
def test_a_run_that_is_there_is_not_made_again(
    scaled: Path, digits_baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scaled)
    monkeypatch.setattr(scale, "measure", lambda: Machine(100.0, 50.0, 10.0))
    monkeypatch.setattr(scale, "run_size", lambda *_: pytest.fail("made again"))
    _run(digits_baseline, "--sizes", "2", "4")
    assert "--sizes are numbers" in _run(digits_baseline, "--sizes", "0", code=2)
