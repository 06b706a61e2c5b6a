"""Scripts whose streams are closed or full, or that Ctrl-C ends while they are still imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import start
from helpers.cli import say
from helpers.start import is_script
from tests.conftest import CHECKOUT

SCRIPTS = sorted(path.name for path in CHECKOUT.glob("*.py") if "new_app(" in path.read_text(encoding="utf-8"))
COMMANDS = sorted(
    str(path.relative_to(CHECKOUT))
    for pattern in ("*.py", "benchmarks/**/*.py", "tools/*.py")
    for path in CHECKOUT.glob(pattern)
    if "new_app(" in path.read_text(encoding="utf-8")
)
SCRIPT = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from helpers import start
start.begin()
import os, signal
from helpers.cli import new_app, print_json, say, tells_failures
from helpers.errors import ToolError
app = new_app("Says what it is told.")

@app.command()
@tells_failures
def main(
    words: str, as_json: bool = False, lines: int = 1, fail: bool = False, interrupt: bool = False, late: bool = False
) -> None:
    say("a note")
    if fail:
        raise ToolError(words)
    if interrupt:
        os.kill(os.getpid(), signal.SIGINT)
    if late:
        import works
        works.run()
    if as_json:
        print_json([words] * lines)
    else:
        print("\\n".join([words] * lines))

app()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that is quick to start."""
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def shell(script: Path, arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script with arguments and redirections."""
    return subprocess.run(
        f'"{sys.executable}" "{script}" {arguments}',
        shell=True,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", ["x", "x --as-json", "x --lines 99999", "x --lines 99999 --as-json", "--help"])
@pytest.mark.parametrize(("stream", "reason"), [("> /dev/full", "No space"), (">&-", "standard output is closed")])
def test_a_result_that_cannot_be_printed_is_told(script: Path, arguments: str, stream: str, reason: str) -> None:
    done = shell(script, f"{arguments} {stream}")
    assert done.returncode == 1
    assert done.stderr.removeprefix("a note\n").startswith(f"error: Cannot print the result: {reason}")
    assert done.stderr.removeprefix("a note\n").count("\n") == 1


def test_a_reader_that_went_away_is_no_failure_of_ours(script: Path) -> None:
    done = shell(script, "x --lines 99999 | head -1")
    assert (done.stdout, done.stderr) == ("x\n", "a note\n")


@pytest.mark.parametrize("stream", ["2>&-", "2> /dev/full", "<&- 2>&-"])
def test_notes_that_cannot_be_printed_leave_the_result_alone(script: Path, stream: str) -> None:
    done = shell(script, f"x --as-json {stream}")
    assert (done.returncode, json.loads(done.stdout)) == (0, ["x"])
    done = shell(script, f"x --fail {stream}")
    assert (done.returncode, done.stdout) == (1, "")


def test_all_streams_may_be_closed(script: Path) -> None:
    assert shell(script, "x <&- >&- 2>&-").returncode == 1


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1"])
def test_signs_that_an_encoding_lacks_are_escaped(script: Path, encoding: str) -> None:
    done = shell(script, "\"$(printf '\\377')猫\"", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\\udcff\\u732b\n"
    done = shell(script, "猫 --fail", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (1, "a note\nerror: \\u732b\n")


def test_an_error_is_one_line_whatever_a_name_holds(script: Path) -> None:
    done = shell(script, "\"$(printf 'a\\nb\\033[2Jc')\" --fail")
    assert (done.returncode, done.stderr) == (1, "a note\nerror: a\\nb\\x1b[2Jc\n")


def test_ctrl_c_at_work(script: Path) -> None:
    done = shell(script, "x --interrupt")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "a note\ninterrupted: nothing was half written\n"


def test_say_never_writes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say("a note")
    assert capsys.readouterr().out == ""


def _until(lines: Iterator[str], module: str) -> None:
    """Read what ``-X importtime`` says until a module is imported."""
    for line in lines:
        if line.rstrip().endswith(f" {module}"):
            return
    pytest.fail(f"{module} was not imported")


@pytest.mark.parametrize(
    ("script", "module"),
    [*((script, "helpers.start") for script in SCRIPTS), ("eval.py", "numpy"), ("eval.py", "torch._C")],
)
def test_ctrl_c_during_the_imports(workplace: Path, script: str, module: str) -> None:
    asked = ["--help"] if module == "helpers.start" else []  # without it, the script imports what it works with
    command = [sys.executable, "-X", "importtime", str(CHECKOUT / script), *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        _until(iter(process.stderr), module)
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert "".join(said).endswith("interrupted: nothing was half written\n")
    assert len(said) == 1


IMPORT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
except KeyboardInterrupt:
    raise RuntimeError("the import makes another error of it") from None
"""


def test_ctrl_c_while_a_part_is_imported_late_is_heard_when_it_is_there(script: Path) -> None:
    """The fault, found by kills: an import made another error of it, and the run ended with a traceback."""
    (script.parent / "another.py").write_text(IMPORT)
    (script.parent / "works.py").write_text("import time\ndef run():\n    import another\n    time.sleep(30)\n")
    begun = time.monotonic()
    result = shell(script, "x --late")
    assert time.monotonic() - begun < 15  # not when the 30 seconds are over
    assert result.returncode == 130 and result.stdout == ""
    assert result.stderr.endswith("interrupted: nothing was half written\n") and "Traceback" not in result.stderr


def test_nothing_of_this_touches_a_process_that_is_no_script() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert set() == start.CLOSED


@pytest.mark.parametrize("path", COMMANDS)
def test_commands_of_every_folder_hear_ctrl_c_from_their_first_import_on(path: str) -> None:
    """The fault: benchmarks that moved into rooms were no scripts any more, and Ctrl-C during imports ended in a
    traceback."""
    assert is_script(str(CHECKOUT / path))


def test_neither_tests_nor_other_programs_are_scripts(tmp_path: Path) -> None:
    files = [CHECKOUT / "tests/kills.py", CHECKOUT / "helpers/start.py", tmp_path / "run_repair.py"]
    assert not any(is_script(str(file)) for file in [*files, CHECKOUT.parent / "benchmarks/own.py"])
    assert not is_script(None)


LEAVING = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
import atexit, threading
from helpers import start
atexit.register(print, "tidied up")
threading.Timer(0.2, print, ["a thread has ended"]).start()
print("the result")
start.leave(3)
"""


def test_who_leaves_waits_for_threads_tidies_up_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(LEAVING)
    done = shell(tmp_path / "leaving.py", "", PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines() == ["the result", "a thread has ended", "tidied up"]
