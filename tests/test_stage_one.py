"""The trials of stage one on the real digits: their table says what happened, and none is made twice."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import stage_one
from benchmarks.records import read_records
from benchmarks.stage_one import Trial, read_plan
from helpers.errors import UsageError


@pytest.fixture(scope="module")
def tried(digits_baseline: Path, module_folder: Path) -> Path:
    with contextlib.chdir(module_folder):
        _run(digits_baseline, "--sizes", "4", "--plans", "1x0.4", "2x1")
    return module_folder


def _run(weights: Path, *arguments: str) -> str:
    told = ["--dataset", "digits", "--weights", str(weights), "--output", "out", *arguments]
    result = CliRunner().invoke(stage_one.app, told)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def test_more_and_longer_steps_get_more_images_right(tried: Path) -> None:
    little, much = read_records(tried / "out/stage_one.csv", Trial)
    assert (little.edit_images, little.steps_taken) == (4, 1)
    assert much.edit_accuracy > little.edit_accuracy
    assert much.largest_change > little.largest_change > 0
    assert all(abs(trial.drawdown_repaired) < 20 for trial in (little, much))


def test_the_page_has_a_line_for_each_trial(tried: Path) -> None:
    lines = [line for line in (tried / "out/stage_one.md").read_text().splitlines() if line.startswith("| 4 (seed 0)")]
    assert [line.split(" | ")[1].removesuffix(", ended early") for line in lines] == ["1 x 0.4", "2 x 1"]


def test_a_trial_that_is_there_is_not_made_again(
    tried: Path, digits_baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tried)
    monkeypatch.setattr(stage_one, "run_trial", lambda *_, **__: pytest.fail("made again"))
    before = Path("out/stage_one.csv").stat().st_mtime_ns
    _run(digits_baseline, "--sizes", "4", "--plans", "1x0.4")
    assert Path("out/stage_one.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("plan", ["6", "0x0.4", "4x0", "4x1.5", "axb", "4x0.4x2"])
def test_a_plan_that_is_none_is_told(plan: str) -> None:
    assert read_plan("6x0.4") == (6, 0.4)
    with pytest.raises(UsageError, match="--plans are like"):
        read_plan(plan)
