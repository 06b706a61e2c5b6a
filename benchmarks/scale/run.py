"""One size of the scaling benchmark: run_repair.py in a process of its own, and its report as a record."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.one import ALL
from edits.outcome.report import current
from helpers.cli import DatasetName
from helpers.errors import ToolError

RUN_REPAIR = Path(__file__).parents[2] / "run_repair.py"
PHASES = (
    "load",
    "edit set",
    "program",
    "ordinary images",
    "prepare",
    "metric",
    "activations",
    "solve",
    "write and verify",
    "evaluate",
    "generalization",
    "certify",
)
SHORT = 0.05  # seconds


@dataclass(frozen=True)
class Context:
    """What all runs share: the network and where its images are."""

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    weights_hash: str


@dataclass(frozen=True)
class Run:
    """One repair. ``size`` is what was asked for, ``seconds_process`` is the whole process, imports and all.

    ``rows`` and ``gap`` are of the program at the last layer. ``drawdown`` is in percentage points,
    ``peak_memory_mb`` in MiB.
    """

    size: str
    prepare: str
    weights_hash: str
    edit_images: int
    status: str
    norm: str
    solver: str | None
    rows: int | None
    gap: float | None
    drawdown: float | None
    peak_memory_mb: float
    seconds_load: float
    seconds_edit_set: float
    seconds_program: float
    seconds_ordinary_images: float
    seconds_prepare: float
    seconds_metric: float
    seconds_activations: float
    seconds_solve: float
    seconds_write_and_verify: float
    seconds_evaluate: float
    seconds_generalization: float
    seconds_certify: float
    seconds_process: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What the run is about."""
        return self.size, self.prepare, self.weights_hash

    def seconds(self, phase: str) -> float:
        """Of one of `PHASES`."""
        return float(getattr(self, _column(phase)))


def long_phases(runs: Sequence[Run]) -> list[str]:
    """The phases that take `SHORT` or more in one of the runs."""
    return [phase for phase in PHASES if max(run.seconds(phase) for run in runs) >= SHORT]


def run_size(context: Context, size: str, prepare: str) -> Run:
    """Repair so many misclassified images.

    Raises:
        ToolError: the process wrote no report.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "repaired.pth"
        started = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable,
                str(RUN_REPAIR),
                "misclassified",
                *_words(context, size, prepare),
                "--output",
                str(output),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        report = output.with_suffix(".json")
        if not report.exists():
            told = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ToolError(f"The repair of {size} images wrote no report: {told[-1]}")
        return as_run(current(json.loads(report.read_text(encoding="utf-8"))), context, size, prepare, seconds)


def as_run(report: dict[str, Any], context: Context, size: str, prepare: str, seconds: float) -> Run:
    """The record of a report, see `edits.outcome.report.RepairReport`; a phase that it lacks took no time.

    Raises:
        ToolError: the report has seconds of a phase that the table has no column for.
    """
    if unknown := [phase for phase in report["seconds"] if phase not in PHASES]:
        raise ToolError(f"The table has no column for the phase {unknown[0]!r}: add it to `PHASES` and `Run`.")
    return Run(
        size=size,
        prepare=prepare,
        weights_hash=context.weights_hash,
        edit_images=report["edit_set_size"],
        **{name: report[name] for name in ("status", "norm", "solver", "rows", "gap", "peak_memory_mb")},
        drawdown=report["drawdown_points"],
        **{_column(phase): report["seconds"].get(phase, 0.0) for phase in PHASES},
        seconds_process=round(seconds, 4),
    )


def _words(context: Context, size: str, prepare: str) -> list[str]:
    told = {"--dataset": context.dataset.value, "--weights": str(context.weights), "--prepare": prepare}
    if context.data_root is not None:
        told["--data-root"] = str(context.data_root)
    if size != ALL:
        told["--max-samples"] = size
    return [word for pair in told.items() for word in pair]


def _column(phase: str) -> str:
    return f"seconds_{phase.replace(' ', '_')}"
