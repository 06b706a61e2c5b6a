"""PDLP in a process of its own: OR-tools brings a HiGHS that cannot be loaded beside highspy's."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.opponents.case import threads
from benchmarks.opponents.whole import Point
from benchmarks.opponents.whole_program import WholeProgram


def solve_with_pdlp(program: WholeProgram, time_limit: float) -> Point:
    """Solve with OR-tools' PDLP (Applegate et al. 2021), at its own tolerances of 1e-6."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "program.npz", Path(folder) / "point.npz"
        matrix = program.matrix
        np.savez(
            asked,
            cost=program.cost,
            upper=program.upper,
            row_lower=program.row_lower,
            row_upper=program.row_upper,
            data=matrix.data,
            indices=matrix.indices,
            indptr=matrix.indptr,
        )
        command = [
            sys.executable,
            "-m",
            "benchmarks.opponents.pdlp_process",
            str(asked),
            str(answer),
            f"{time_limit:g}",
        ]
        ended = subprocess.run([*command, str(threads())], capture_output=True, text=True, check=False)
        return _point(answer, ended)


def _point(answer: Path, ended: subprocess.CompletedProcess[str]) -> Point:
    if "ModuleNotFoundError" in ended.stderr:
        return Point(None, "unavailable", "OR-tools is not installed: uv sync --group benchmarks")
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        return Point(None, "failed", f"the process of PDLP ended: {last}")
    with np.load(answer) as found:
        return Point(np.array(found["x"]), str(found["status"]), peak_mb=float(found["peak_mb"]))
