"""What scripts import before they know what to do."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import sytorch
import sytorch.last_layer.program
from edits import options
from tests.conftest import CHECKOUT

COMMANDS = [
    *((path.name,) for path in sorted(CHECKOUT.glob("*.py"))),
    *(("run_repair.py", command) for command in ("misclassified", "by-class", "file")),
    *(("editset_generator.py", command) for command in ("misclassified", "by-class", "list")),
]
SLOW = {"torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "gurobipy", "highspy", "flask"}
SLOW |= {"plotly", "PIL", "tqdm", "ray", "safetensors", "werkzeug", "onnx", "onnxruntime"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_comes_at_once(workplace: Path, command: tuple[str, ...]) -> None:
    script, *rest = command
    done, seconds = _run("-X", "importtime", str(CHECKOUT / script), *rest, "--help")
    _, least = _run("-c", "import typer.main")  # as a ratio, for other programs on the machine slow both
    assert seconds < 6 * least
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "usage" in done.stdout.lower()
    assert not imported & SLOW


def test_what_few_repairs_need_is_imported_where_it_is_needed() -> None:
    done, _ = _run("-c", "import sys, edits.pipeline; print(*sys.modules, sep='\\n')")
    assert not {"scipy.optimize", "torchvision", "pandas", "onnx"} & set(done.stdout.split())


def _run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """What a Python process told, and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_options_are_those_of_sytorch() -> None:
    assert [*options.NORMS] == [*sytorch.NormName]
    assert [*options.SOLVERS] == [*sytorch.SolverName]
