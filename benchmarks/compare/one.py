"""One method on one edit set, in a process of its own, so that its memory is its own: a row as JSON."""

from __future__ import annotations

import resource
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare.judge import judge
from benchmarks.compare.row import Row
from benchmarks.opponents.case import Attempt, Case
from benchmarks.opponents.methods import METHODS
from edits.network.workbench import open_workbench
from edits.options import RepairOptions
from editset_helpers.building import select
from editset_helpers.selection import Selection
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, print_json, tells_failures
from helpers.errors import ToolError, UsageError
from helpers.evaluation import is_right
from helpers.files.writing import write_json
from helpers.stopwatch import peak_memory_mb
from model_classes.training import ensure_baseline

ALL = "all"
MARGIN, PARAM_BOUND = RepairOptions.margin, RepairOptions.param_bound

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    method: Annotated[str, typer.Option(help="One of `benchmarks.opponents.methods`.")],
    *,
    size: Annotated[str, typer.Option(help="Edit images, or all.")] = "10",
    seed: Annotated[int, typer.Option(min=0, help="Which images, when fewer than all.")] = 0,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds.")] = 120.0,
    memory_limit: Annotated[float, typer.Option(min=1, help="GiB that the process may use.")] = 16.0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: Annotated[Path | None, typer.Option(help="Where the row goes. [default: standard output]")] = None,
) -> None:
    """Run one method, judge what it made, and write the row."""
    _limit_memory(memory_limit)
    if method not in METHODS:
        raise UsageError(f"There is no method {method!r}; the methods are {', '.join(METHODS)}.")
    with tempfile.TemporaryDirectory() as folder:
        case = open_case(dataset, data_root, weights, size, seed=seed, time_limit=time_limit, folder=Path(folder))
        row = run_method(method, size, case)
    if output is None:
        print_json(asdict(row))
    else:
        write_json(output, asdict(row))


def open_case(
    dataset: DatasetName,
    data_root: Path | None,
    weights: Path | None,
    size: str,
    *,
    seed: int,
    time_limit: float,
    folder: Path,
) -> Case:
    """Load the network and choose the misclassified images: of the test images, or of the training images if too few.

    Raises:
        ToolError: images or weights are missing, or no image is misclassified.
    """
    bench = open_workbench(dataset, data_root, ensure_baseline(dataset, data_root, weights))
    selection = Selection("misclassified", max_samples=None if size == ALL else int(size), seed=seed)
    mistakes = int((~is_right(bench.test_logits, bench.test.labels)).sum())
    if (selection.max_samples or 0) > mistakes:
        drawn = replace(selection, split="train")
        edit_set = select(drawn, bench.training, bench.training_images.logits)
    else:
        edit_set = select(selection, bench.test, bench.test_logits)
    return Case(bench, edit_set, MARGIN, PARAM_BOUND, time_limit, seed, folder)


def run_method(name: str, size: str, case: Case) -> Row:
    """Run a method and judge it; what goes wrong is told in the row."""
    method = METHODS[name]
    row = Row(
        method=name,
        size=size,
        seed=case.seed,
        label=method.label,
        edit_images=len(case.edit_set),
        status="failed",
        margin=case.margin,
        param_bound=case.bound,
        time_limit=case.time_limit,
        weights_hash=case.bench.weights_hash,
    )
    try:
        attempt = method.run(case)
    except (ToolError, MemoryError) as error:
        return replace(row, message=str(error) or "out of memory")
    return _judged(row, case, attempt)


def _judged(row: Row, case: Case, attempt: Attempt) -> Row:
    """The row with what the attempt took, read before the judge needs memory, and what the judge says of it."""
    row = replace(
        row,
        seconds=round(attempt.seconds, 3),
        peak_memory_mb=round(peak_memory_mb(), 1),
        licence=attempt.licence,
        message=attempt.message,
    )
    if attempt.state is None:
        return replace(row, status=attempt.status)
    verdict = judge(case.bench, attempt.state, case.edit_set)
    status = "repaired" if verdict.smallest_margin >= case.margin else "margin missed"
    return replace(row, status=status, **asdict(verdict))


def _limit_memory(gigabytes: float) -> None:
    """More is refused by the operating system, which is better than the machine going down; Linux counts it so."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)


if __name__ == "__main__":
    app()
