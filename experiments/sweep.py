"""A sweep: what is not yet in the table is run, and every row is on disk as soon as its experiment ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments import leftovers
from experiments.experiment import Context, Experiment
from experiments.plan import Sweep, plan
from experiments.single import bench_of, warm_up
from experiments.table.row import Row
from experiments.table.writing import ResultTable, open_table, plan_path
from experiments.workers import run_here, run_in_processes, run_on_ray
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


def run_sweep(sweep: Sweep, context: Context, output: Path, executor: Executor, restart: bool = False) -> int:
    """Run every experiment that is not in the table yet, or failed there for a reason from outside.

    Returns:
        How many of all in the table failed.

    Raises:
        UsageError: the table holds experiments of another sweep or is no table, or an option can never work.
        ToolError: another runner writes the table, it cannot be written, or the workers fail.
    """
    experiments = plan(sweep, context)
    for experiment in experiments:
        bench_of(context).check_layer(experiment.options.layer)
    with open_table(output, restart) as table, leftovers.shared(context.edit_sets):
        _check_same_sweep(table, experiments)
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
    names = {experiment.id: experiment.names for experiment in missing}
    with tqdm(total=planned, initial=planned - len(missing), unit="experiment", disable=None) as bar:
        bar.set_description(missing[0].set_name)
        coming = iter(missing[1:])
        for row in _rows(context, missing, executor):
            table.put(row, in_place_of=names[row.experiment_id])
            following = next(coming, None)
            bar.set_description(row.experiment_id if following is None else following.set_name)
            bar.set_postfix(repaired=table.repaired, failed=len(table) - table.repaired)
            bar.update()


def _rows(context: Context, missing: list[Experiment], executor: Executor) -> Iterator[Row]:
    if executor.ray is not None:
        return run_on_ray(context, missing, executor.ray)
    if executor.workers == 1:
        return run_here(context, missing)
    return run_in_processes(context, missing, min(executor.workers, len(missing)))


def _check_same_sweep(table: ResultTable, experiments: list[Experiment]) -> None:
    known = {name: experiment.id for experiment in experiments for name in experiment.names}
    foreign = [name for name in table.ids if name not in known]
    if foreign:
        raise UsageError(
            f"{table.path} holds {len(foreign)} experiments that are not of this sweep ({foreign[0]}), which has other "
            "options, weights or images: give another --output, or --force to set that table aside."
        )
    if len({known[name] for name in table.ids}) < len(table):
        raise UsageError(f"{table.path} holds an experiment twice: give --force to set it aside.")


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
