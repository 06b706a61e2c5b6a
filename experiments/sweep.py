"""A sweep: what is not yet in the table is run, and every row is on disk as soon as its experiment ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from experiments.plan import Experiment, Ground, Sweep, plan
from experiments.row import COLUMNS, Row
from experiments.single import bench_of, warm_up
from experiments.table import ResultTable, open_table
from experiments.workers import run_here, run_in_processes, run_on_ray
from helpers.cli import say
from helpers.errors import UsageError
from helpers.files import write_json


@dataclass(frozen=True)
class Crew:
    """Who runs the experiments: so many processes, or a Ray cluster at an address."""

    workers: int = 1
    ray: str | None = None


def run_sweep(sweep: Sweep, ground: Ground, output: Path, crew: Crew, restart: bool = False) -> int:
    """Run every experiment that is not in the table yet; returns how many of all in it failed.

    Raises:
        UsageError: the table holds experiments of another sweep, or an option can never work.
        ToolError: another runner writes the table, it cannot be written, or the workers fail.
    """
    experiments = plan(sweep, ground)
    for experiment in experiments:
        bench_of(ground).check_layer(experiment.options.layer)
    with open_table(output, restart) as table:
        _check_same_sweep(table, experiments)
        _remove_leftovers(ground.folder)
        done = set(table.ids)
        missing = [experiment for experiment in experiments if experiment.id not in done]
        facts = {"planned": len(experiments), "command": ground.command, "ids": [e.id for e in experiments]}
        write_json(output.with_name(f"{output.stem}_sweep.json"), facts)
        if done:
            say(f"{output} holds {len(done)} of {len(experiments)} experiments: going on with the other {len(missing)}")
        if missing:
            for options in dict.fromkeys(experiment.options for experiment in missing):
                warm_up(ground, options)
            _run(table, missing, ground, crew, len(experiments))
        table.sort([experiment.id for experiment in experiments])
        return len(table.rows) - _successes(table)


def _run(table: ResultTable, missing: list[Experiment], ground: Ground, crew: Crew, planned: int) -> None:
    good = _successes(table)
    with tqdm(total=planned, initial=len(table.rows), unit="experiment", disable=None) as bar:
        bar.set_description(missing[0].set_name)
        coming = iter(missing[1:])
        for row in _rows(ground, missing, crew):
            table.append(row)
            good += row.repair_successful
            following = next(coming, None)
            bar.set_description(row.experiment_id if following is None else following.set_name)
            bar.set_postfix(repaired=good, failed=len(table.rows) - good)
            bar.update()


def _rows(ground: Ground, missing: list[Experiment], crew: Crew) -> Iterator[Row]:
    if crew.ray is not None:
        return run_on_ray(ground, missing, crew.ray)
    if crew.workers == 1:
        return run_here(ground, missing)
    return run_in_processes(ground, missing, min(crew.workers, len(missing)))


def _check_same_sweep(table: ResultTable, experiments: list[Experiment]) -> None:
    foreign = [name for name in table.ids if name not in {experiment.id for experiment in experiments}]
    if foreign:
        raise UsageError(
            f"{table.path} holds {len(foreign)} experiments that are not of this sweep ({foreign[0]}): give another "
            "--output-file, or --restart to set that table aside."
        )
    if len(set(table.ids)) < len(table.ids):
        raise UsageError(f"{table.path} holds an experiment twice: give --restart to set it aside.")


def _remove_leftovers(folder: Path) -> None:
    """What a killed sweep was just writing; nobody else writes here, for the table is locked."""
    for path in folder.glob(".*.*"):
        path.unlink(missing_ok=True)


def _successes(table: ResultTable) -> int:
    return sum(row[COLUMNS.index("repair_successful")] == "True" for row in table.rows)
