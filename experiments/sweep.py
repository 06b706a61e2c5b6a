"""A sweep: what is not yet in the table is run, and every row is on disk as soon as its experiment ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edits.pipeline import check_layer
from experiments import leftovers
from experiments.experiment import Context, Experiment
from experiments.plan import Sweep, plan
from experiments.single import bench_of, warm_up
from experiments.table.row import FAILED, SETTLED, Row
from experiments.table.writing import ResultTable, open_table, plan_path
from experiments.workers import run_here, run_in_processes, run_on_ray
from helpers import progress
from helpers.cli import say
from helpers.errors import UsageError
from helpers.files.places import explained_os_errors
from helpers.files.publishing import settle_folder
from helpers.files.writing import read_json, write_json


@dataclass(frozen=True)
class Executor:
    """Who runs the experiments: so many processes, or a Ray cluster at an address."""

    workers: int = 1
    ray: str | None = None


def run_sweep(
    sweep: Sweep,
    context: Context,
    output: Path,
    executor: Executor,
    *,
    restart: bool = False,
    former: Sweep | None = None,
) -> int:
    """Run every experiment that is not in the table yet, or failed there for a reason from outside.

    Args:
        sweep: what is asked.
        context: the network, its images, and where files go.
        output: the table.
        executor: who runs.
        restart: whether to begin a new table.
        former: what the same command line asked for when there were other defaults, if that differs.

    Returns:
        How many of all in the table failed.

    Raises:
        UsageError: the table holds experiments of another sweep or is no table, or an option can never work.
        ToolError: another runner writes the table, it cannot be written, or the workers fail.
    """
    experiments = plan(sweep, context)
    for options in dict.fromkeys(experiment.options for experiment in experiments):
        check_layer(bench_of(context), options)
    with open_table(output, restart) as table, leftovers.shared(context.edit_sets):
        experiments = as_begun(table.ids, experiments, former, context)
        check_same_sweep(table.path, table.ids, experiments)
        missing = _missing(table, experiments)
        _write_plan(output, experiments, context)
        leftovers.remove_of(output)
        with explained_os_errors(context.folder):  # now rather than in each experiment
            context.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=context.folder).close()
        settle_folder(context.folder)
        leftovers.remove_of_experiments(context.folder)
        table.begin()
        if missing:
            for options in dict.fromkeys(experiment.options for experiment in missing):
                warm_up(context, options)
            _run(table, missing, context, executor, len(experiments))
        table.sort([name for experiment in experiments for name in experiment.names])
        return len(table) - table.repaired


def as_begun(
    ids: Sequence[str], experiments: list[Experiment], former: Sweep | None, context: Context
) -> list[Experiment]:
    """The experiments; with the defaults of then where the table, of these names, was begun with them."""
    if former is None or not ids or _foreign(ids, experiments) != [*ids]:
        return experiments
    with contextlib.suppress(UsageError):
        others = plan(former, context)
        if not _foreign(ids, others):
            told = "--prepare none --norms l1, as far as neither is given"
            say(f"note: the table was begun with the defaults of then ({told}), and goes on with them.")
            return others
    return experiments


def _missing(table: ResultTable, experiments: list[Experiment]) -> list[Experiment]:
    """What is to be run, the failures that another try may not meet again among it."""
    done = set(table.ids) - set(table.failed)
    missing = [experiment for experiment in experiments if not done & set(experiment.names)]
    if table.ids:
        again = f", {len(table.failed)} of which failed for a reason from outside" if table.failed else ""
        count = len(experiments)
        say(f"{table.path} holds {len(done)} of {count} experiments: going on with the other {len(missing)}{again}")
    return missing


def _run(table: ResultTable, missing: list[Experiment], context: Context, executor: Executor, planned: int) -> None:
    asked = {experiment.id: experiment for experiment in missing}
    with progress.loop("experiments", len(missing), "experiment") as steps:
        for made in _rows(context, missing, executor):
            row, before = made, table.status_of(asked[made.experiment_id].upon)
            if made.status == FAILED and before in SETTLED:  # it would fail again
                row = replace(made, status="not_solved", error_message=f"the step before ended as {before}.")
            table.put(row, in_place_of=asked[row.experiment_id].names)
            steps.update()
            steps.detail = f"{table.repaired} repaired, {len(table) - table.repaired} failed"
            cost = "" if row.drawdown_points is None else f", drawdown {row.drawdown_points:.2f} points"
            progress.progress(f"{len(table)} of {planned}: {row.experiment_id} {row.status}{cost}")


def _rows(context: Context, missing: list[Experiment], executor: Executor) -> Iterator[Row]:
    if executor.ray is not None:
        return run_on_ray(context, missing, executor.ray)
    if executor.workers == 1:
        return run_here(context, missing)
    return run_in_processes(context, missing, min(executor.workers, len(missing)))


def check_same_sweep(table: Path, ids: Sequence[str], experiments: list[Experiment]) -> None:
    """Raise `UsageError` where a table's names are not of these experiments, or twice there."""
    known = {name: experiment.id for experiment in experiments for name in experiment.names}
    if foreign := _foreign(ids, experiments):
        raise UsageError(
            f"{table} holds {len(foreign)} experiments that are not of this sweep ({foreign[0]}), which has other "
            "options, weights or images: give another --output, or --force to set that table aside."
        )
    if len({known[name] for name in ids}) < len(ids):
        raise UsageError(f"{table} holds an experiment twice: give --force to set it aside.")


def _foreign(ids: Sequence[str], experiments: list[Experiment]) -> list[str]:
    known = {name for experiment in experiments for name in experiment.names}
    return [name for name in ids if name not in known]


def _write_plan(output: Path, experiments: list[Experiment], context: Context) -> None:
    """How many rows there are to be, for those who watch."""
    path = plan_path(output)
    if path.exists() and not _is_plan(read_json(path)):
        raise UsageError(f"{path} is there and not of a sweep, whose plan would take its place: move it away.")
    leftovers.remove_of(path)
    ids = [experiment.id for experiment in experiments]
    write_json(path, {"planned": len(experiments), "command": context.command, "ids": ids})


def _is_plan(facts: Any) -> bool:
    return isinstance(facts, dict) and {"planned", "command", "ids"} <= facts.keys()
