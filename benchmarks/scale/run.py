"""One size of the scaling benchmark: run_repair.py in a process of its own, and its report as a record."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.one import ALL
from benchmarks.scale.machine import Machine
from edits.outcome.report import current
from helpers.cli import DatasetName
from helpers.errors import ToolError

RUN_REPAIR = Path(__file__).parents[2] / "run_repair.py"
PHASES = (
    "load",
    "edit set",
    "program",
    "metric",
    "prepare",
    "activations",
    "solve",
    "write and verify",
    "evaluate",
    "generalization",
)


@dataclass(frozen=True)
class Context:
    """What all runs share: the network, its images and how many of them there are, and the machine."""

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    weights_hash: str
    sample_images: int
    test_images: int
    machine: Machine


@dataclass(frozen=True)
class Run:
    """One repair. ``size`` is what was asked for, ``seconds_process`` is the whole process, imports and all.

    ``margins`` and ``iterations`` are of each step of the preparation, with spaces between; ``rows`` and
    ``solver_iterations`` of the program at the last layer. ``drawdown`` is in percentage points, ``peak_memory_mb`` in
    MiB, the rates of the machine in 1e9 operations or bytes a second. ``sample_images`` are training images that
    metrics are taken from.
    """

    size: str
    prepare: str
    weights_hash: str
    edit_images: int
    status: str
    norm: str
    margins: str
    iterations: str
    rows: int | None
    rounds: int | None
    solver: str | None
    solver_iterations: int | None
    gap: float | None
    drawdown: float | None
    peak_memory_mb: float
    seconds_load: float
    seconds_edit_set: float
    seconds_program: float
    seconds_metric: float
    seconds_prepare: float
    seconds_activations: float
    seconds_solve: float
    seconds_write_and_verify: float
    seconds_evaluate: float
    seconds_generalization: float
    seconds_process: float
    sample_images: int
    test_images: int
    gflops32: float
    gflops64: float
    gigabytes: float

    @property
    def key(self) -> tuple[str, str, str]:
        """What the run is about."""
        return self.size, self.prepare, self.weights_hash

    @property
    def machine(self) -> Machine:
        """The machine it ran on."""
        return Machine(self.gflops32, self.gflops64, self.gigabytes)

    def seconds(self, phase: str) -> float:
        """Of one of `PHASES`."""
        return float(getattr(self, _column(phase)))


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
    """The record of a report, see `edits.outcome.report.RepairReport`."""
    return Run(
        size=size,
        prepare=prepare,
        weights_hash=context.weights_hash,
        edit_images=report["edit_set_size"],
        status=report["status"],
        norm=report["norm"],
        margins=" ".join(map(str, report["prepare_margins"])),
        iterations=" ".join(map(str, report["prepare_iterations"])),
        **{name: report[name] for name in ("rows", "rounds", "solver", "solver_iterations", "gap", "peak_memory_mb")},
        drawdown=report["drawdown_points"],
        **{_column(phase): report["seconds"].get(phase, 0.0) for phase in PHASES},
        seconds_process=round(seconds, 4),
        sample_images=context.sample_images,
        test_images=context.test_images,
        gflops32=context.machine.gflops32,
        gflops64=context.machine.gflops64,
        gigabytes=context.machine.gigabytes,
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
