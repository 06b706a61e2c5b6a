"""Two runs never write one result at the same time."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.errors import ToolError
from helpers.files.writing import exclusive

HOLD = """
import sys, time
from pathlib import Path
from helpers.files.writing import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with exclusive(path), pytest.raises(ToolError, match="Another run is writing"), exclusive(path):
        pass
    with exclusive(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_its_target_are_one_result(tmp_path: Path) -> None:
    (tmp_path / "link.pth").symlink_to(tmp_path / "w.pth")
    with exclusive(tmp_path / "w.pth"), pytest.raises(ToolError), exclusive(tmp_path / "link.pth"):
        pass


def test_long_names_that_differ_at_the_end_are_different_results(tmp_path: Path) -> None:
    with exclusive(tmp_path / ("w" * 200 + "1")), exclusive(tmp_path / ("w" * 200 + "2")):
        pass


def test_a_failure_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "w.pth"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_process(tmp_path: Path, how: signal.Signals) -> None:
    path = tmp_path / "w.pth"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ToolError, match=str(path)), exclusive(path):
            pass
        process.send_signal(how)
    with exclusive(path):
        pass
    assert list(tmp_path.iterdir()) == []


def _add_up(path: Path, counter: Path, times: int) -> None:
    while times:
        try:
            with exclusive(path):
                counter.write_text(str(int(counter.read_text()) + 1))
                times -= 1
        except ToolError:
            time.sleep(0.001)


def test_removing_the_lock_lets_no_two_in(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [multiprocessing.Process(target=_add_up, args=(tmp_path / "w.pth", counter, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "600"
