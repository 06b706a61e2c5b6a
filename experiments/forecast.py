"""What a sweep would run and about how long that takes, told without running or writing anything."""

from __future__ import annotations

from pathlib import Path

from edits.forecast import Lacking, Place, in_words, lacking, made_first
from edits.pace import STARTED, seconds_of
from experiments.experiment import Context, Experiment
from experiments.plan import Sweep, plan
from experiments.sweep import Executor, as_begun, check_same_sweep
from experiments.table.reading import read_file
from experiments.table.row import FAILED
from experiments.table.values import statuses


def forecast_sweep(
    place: Place, sweeps: tuple[Sweep, Sweep], context: Context, table: Path | None, executor: Executor
) -> dict[str, str]:
    """How many experiments are run, of what, with which options, and what is made first: for people, in words.

    Args:
        place: the network and its images, if they are there.
        sweeps: what is asked, and with the defaults of then.
        context: where files go.
        table: what is in it is not run again; None where it is set aside.
        executor: who runs.
    """
    sweep, former = sweeps
    experiments = plan(sweep, context)
    known = set[str]()
    if table is not None and table.is_file() and place.bench is not None:
        file = read_file(table)
        ids = file.column("experiment_id")
        experiments = as_begun(ids, experiments, former, context)
        check_same_sweep(table, ids, experiments)
        known = {name for name, status in zip(ids, statuses(file), strict=True) if status != FAILED}
    coming = [experiment for experiment in experiments if not known & set(experiment.names)]
    missing, norms = Lacking(), dict.fromkeys(experiment.options.norm for experiment in experiments)
    for options in dict.fromkeys(experiment.options for experiment in coming):
        missing |= lacking(place, options)
    seconds = sum(_seconds(experiment, sweep.beside) for experiment in coming) / executor.workers
    return {
        "experiments": f"{len(experiments)}, of which {len(experiments) - len(coming)} are in the table",
        "edit sets": _edit_sets(sweep, context),
        "weights": f"{place.weights} -> {context.folder}",
        **in_words(experiments[0].options, " and ".join(norms)),
        "combined": _combined(experiments),
        **made_first(missing, seconds),
    }


def _edit_sets(sweep: Sweep, context: Context) -> str:
    told = f"{', '.join(sweep.types)}; {', '.join(map(str, sweep.sizes))} {sweep.split} images"
    told += "" if sweep.predicted_class is None else f" that are taken for class {sweep.predicted_class}"
    return told + "".join(f", and all of {path}" for path, _ in context.also)


def _seconds(experiment: Experiment, beside: int) -> float:
    images = beside + experiment.size * max(1, experiment.iteration)
    return seconds_of(experiment.options, images * (1 + len(experiment.options.region.moves))) - STARTED


def _combined(experiments: list[Experiment]) -> str:
    """Which options differ between experiments, and how."""
    told = []
    for name in ("param_bound", "margin", "norm", "metric", "layer"):
        values = dict.fromkeys(str(getattr(experiment.options, name)) for experiment in experiments)
        told += [f"{name.replace('_', ' ')} {', '.join(values)}"] if len(values) > 1 else []
    return "; ".join(told) or "one program"
