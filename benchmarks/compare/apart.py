"""Running one method in a process of its own, with a limit on its patience, and making a row of whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare.one import MARGIN, PARAM_BOUND
from benchmarks.compare.row import Row
from benchmarks.opponents.methods import METHODS
from helpers.cli import DatasetName
from helpers.files.writing import read_json


@dataclass(frozen=True)
class Context:
    """What all rows share.

    Attributes:
        dataset, data_root, weights: the network and its images.
        weights_hash: names the network.
        time_limit: seconds that a solver, or one learning rate, may take.
        memory_limit: GiB that a method's process may use.
    """

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    weights_hash: str
    time_limit: float
    memory_limit: float

    @property
    def patience(self) -> float:
        """Seconds after which a process is ended: three learning rates within the limit, loading and judging."""
        return 4 * self.time_limit + 600


def run_apart(context: Context, method: str, size: str, seed: int) -> Row:
    """The row of one method on one edit set; a process that dies or does not end gives a row that says so."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "row.json"
        code, errors = _run([*_command(context, method, size, seed), "--output", str(output)], context.patience)
        if code == 0:
            return Row(**read_json(output))
    return _failed(context, method, size, seed, _why(code, errors, context))


def not_tried(context: Context, method: str, size: str, seed: int, smaller: str) -> Row:
    """The row of a method that ran out of time or memory on a smaller edit set, and is spared the larger one."""
    return _failed(context, method, size, seed, ("not tried", f"it ran out on {smaller} images"))


def _command(context: Context, method: str, size: str, seed: int) -> list[str]:
    told = {
        "--method": method,
        "--size": size,
        "--seed": str(seed),
        "--time-limit": f"{context.time_limit:g}",
        "--memory-limit": f"{context.memory_limit:g}",
        "--dataset": context.dataset.value,
        "--weights": str(context.weights),
    }
    if context.data_root is not None:
        told["--data-root"] = str(context.data_root)
    return [sys.executable, "-m", "benchmarks.compare.one", *(word for pair in told.items() for word in pair)]


def _run(command: list[str], patience: float) -> tuple[int | None, str]:
    """Exit code and standard error; the code is None where patience ended. Nothing that was started is left behind."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        try:
            code: int | None = process.wait(patience)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        errors.seek(0)
        return code, errors.read()


def _why(code: int | None, errors: str, context: Context) -> tuple[str, str]:
    """Status and message."""
    if code is None:
        return "time limit", f"the process did not heed the limit and was ended after {context.patience:.0f} s"
    refused = "MemoryError" in errors or "bad_alloc" in errors or "not enough memory" in errors
    if refused or code == -signal.SIGKILL:
        return "out of memory", f"needs more than {context.memory_limit:g} GiB"
    last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
    return "failed", f"the process ended with code {code}: {last}"


def _failed(context: Context, method: str, size: str, seed: int, why: tuple[str, str]) -> Row:
    return Row(
        method=method,
        size=size,
        seed=seed,
        label=METHODS[method].label,
        status=why[0],
        message=why[1],
        margin=MARGIN,
        param_bound=PARAM_BOUND,
        time_limit=context.time_limit,
        weights_hash=context.weights_hash,
    )
