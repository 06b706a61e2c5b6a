"""What scripts import before they know what to do."""

from __future__ import annotations

import subprocess
import sys
import time
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
    asked = [sys.executable, "-X", "importtime", str(CHECKOUT / script), *rest, "--help"]
    begun = time.perf_counter()
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert time.perf_counter() - begun < 2.0  # a tenth of it, where nothing else runs
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "usage" in done.stdout.lower()
    assert not imported & SLOW


def test_the_options_are_those_of_sytorch() -> None:
    assert [*options.NORMS] == [*sytorch.NormName]
    assert [*options.SOLVERS] == [*sytorch.SolverName]
