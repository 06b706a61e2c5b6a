"""Those who wait are told: a line that ticks on a terminal, elsewhere a line for each phase, and a log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import progress
from helpers.errors import ToolError, UsageError
from helpers.stopwatch import Stopwatch


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that takes seconds takes some hundredths of one."""
    for name, seconds in (("TICK", 0.01), ("ESTIMATED", 0.03), ("SILENT", 0.05)):
        monkeypatch.setattr(progress, name, seconds)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "_is_terminal", lambda: True)
    yield


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_each_phase_has_one_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Stopwatch()
    with progress.shown():
        for name in ("solve", "certify", "solve"):
            with clock.phase(name):
                pass
    assert _said(capsys) == "solve: the least change\ncertify: the proof, and the checker's look at it\n"


def test_nothing_is_told_where_nobody_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the workers of a sweep, whose lines would go between those of others."""
    with Stopwatch().phase("solve"), progress.loop("images", 3, "image"):
        progress.progress("a row")
    assert _said(capsys) == ""


@pytest.mark.usefixtures("hasty")
def test_a_loop_says_how_long_it_takes_once_that_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(), Stopwatch().phase("metric"):
        for _ in progress.parts(50_000, 5_000, "training images, once for this network"):
            time.sleep(0.02)
    assert "training images, once for this network: 50,000 images, about 1 second\n" in _said(capsys)


@pytest.mark.usefixtures("hasty")
def test_a_long_phase_says_again_and_again_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(), Stopwatch().phase("solve"):
        time.sleep(0.8)
    assert 6 <= _said(capsys).count("solve: ") <= 17


@pytest.mark.usefixtures("hasty")
def test_long_work_is_not_silent_between_its_phases(capsys: pytest.CaptureFixture[str]) -> None:
    for long in (True, False):
        with progress.shown(long=long):
            with Stopwatch().phase("load"):
                pass
            time.sleep(0.3)
        assert ("at work: 0 s so far" in _said(capsys)) is long


@pytest.mark.usefixtures("hasty")
def test_what_comes_before_the_first_phase_is_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(long=True):
        time.sleep(0.3)
        assert "starting: 0 s so far" in _said(capsys)


@pytest.mark.usefixtures("hasty", "terminal")
def test_no_line_ticks_while_somebody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(long=True), progress.paused():
        _said(capsys)
        time.sleep(0.1)
        assert _said(capsys) == ""


@pytest.mark.usefixtures("hasty")
def test_a_phase_whose_time_is_known_says_it_first_and_then_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(), Stopwatch().phase("solve", 60.0):
        time.sleep(0.1)
    assert _said(capsys).startswith("solve: the least change, about a minute\nsolve: 0 s so far, about a minute left\n")


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_one_line_ticks_and_is_gone_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown():
        with Stopwatch().phase("metric"), progress.loop("images", 4, "image") as steps:
            steps.update(2)
            progress.note("note: something")
        progress.note("the end")
    said = _said(capsys)
    assert "\rmetric [00:00]" in said and "metric | images:   0%" in said
    assert said.count("\n") == 2 and "\rnote: something\n" in re.sub("\r +", "", said)
    assert said.endswith("\nthe end\n")


@pytest.mark.usefixtures("terminal")
def test_verbose_tells_the_seconds_of_each_phase_on_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(verbose=True), Stopwatch().phase("solve"):
        time.sleep(0.01)
    assert re.search(r"solve: 0\.0\d s\n", _said(capsys))


def test_within_a_loop_phases_have_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(), progress.loop("experiments", 3, "experiment"), Stopwatch().phase("solve"):
        progress.progress("1 of 3: repaired")
    assert _said(capsys) == "1 of 3: repaired\n"


def test_quiet_tells_errors_only_and_the_log_has_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    for _ in range(2):  # appended
        with progress.shown(quiet=True, log=log, command="run.py --quiet"), Stopwatch().phase("solve"):
            progress.note("note: something")
            progress.complaint("error: this")
    assert _said(capsys) == "error: this\n" * 2
    lines = log.read_text().splitlines()
    told = ["run.py --quiet", "solve: the least change", "note: something", "error: this"] * 2
    assert [line[20:] for line in lines] == told
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of them"), progress.shown(quiet=True, verbose=True):
        pass
    for log in (tmp_path, tmp_path / "none" / "log", Path("/dev/full")):
        with pytest.raises(ToolError, match=f"Cannot write the log {log}"), progress.shown(log=log):
            pytest.fail("the work began")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 second"), (4, "4 seconds"), (41, "40 seconds"), (62, "a minute"), (960, "16 minutes"), (9e3, "2 hours")],
)
def test_durations_in_words(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == f"about {told}"


def test_units_of_a_loop_are_told_as_one_says_them() -> None:
    assert [progress.plural(unit) for unit in ("image", "batch", "step")] == ["images", "batches", "steps"]
