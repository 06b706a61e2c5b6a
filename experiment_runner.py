"""Sweep sizes and kinds of edit sets: generate, repair, evaluate, and write one row of a CSV for each experiment."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from edits.options import (
    LAST_LAYER,
    KeepWeights,
    PrepareName,
    ReachName,
    RepairOptions,
    SolverName,
    read_metric,
    read_norm,
    read_reach,
)
from editset_helpers.regions import Region
from editset_helpers.selection import resolve_class
from experiments.experiment import Context, SetType, Sizing
from helpers.arguments import knowing
from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    DisputedOption,
    DryRunOption,
    PredictedClassOption,
    SplitOption,
    WeightsOption,
    command_line,
    new_app,
    say,
    tells_failures,
    works_long,
)
from helpers.errors import ExperimentsFailedError, UsageError
from helpers.files.paths import baseline_weights, edit_sets
from helpers.text import aligned
from run_repair import (
    AlsoOption,
    DrawdownOption,
    FlipOption,
    MetricImagesOption,
    PatternOption,
    RidgeOption,
    ShiftsOption,
    WholeOption,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edits.forecast import Place
    from edits.network.workbench import Workbench
    from experiments.plan import Sweep

T = TypeVar("T")
FORMER = {
    "--repair-set-sizes": "--edit-set-sizes",
    "--batch-sizes": "--edit-set-sizes",
    "--repair-set-types": "--edit-set-types",
    "--param-bound": "--param-bounds",
    "--margin": "--margins",
    "--output-file": "--output",
    "--restart": "--force",
    "--prepare-copies none": "--reach exact",
    "--prepare-copies mirrored": "--reach near",
    "--prepare-copies shifted": "--reach near",
}

app = new_app(__doc__)


@app.command(cls=knowing(FORMER))
@works_long
@tells_failures
def main(
    *,
    edit_set_sizes: Annotated[list[int], typer.Option(min=1, help="Images in an edit set.")],
    edit_set_types: Annotated[list[SetType], typer.Option(help="Which images.")],
    target_classes: Annotated[
        list[str] | None, typer.Option(help="Classes by number or name, for the types of one class. [default: all]")
    ] = None,
    param_bounds: Annotated[
        list[float] | None, typer.Option(help="Largest changes of any weight. [default: 5.0]")
    ] = None,
    margins: Annotated[
        list[float] | None, typer.Option(help="Required margins of every edit image, in logits. [default: 2.0]")
    ] = None,
    norms: Annotated[
        list[str] | None,
        typer.Option(help="What is minimised: l1, linf, linf+l1, l2. [default: by size and layer, as run_repair.py]"),
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="In which metric: training, per-class (l2), identity. [default: training]")
    ] = None,
    layers: Annotated[list[str] | None, typer.Option(help="The layers to repair. [default: classifier.6]")] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(min=0, help="Which images, when fewer than all. [default: 0]")
    ] = None,
    sequence: Annotated[
        int | None,
        typer.Option(min=2, help="So many repairs, each upon the last, of images that it left wrong. [default: none]"),
    ] = None,
    sizing_strategy: Annotated[
        Sizing, typer.Option(help="Where fewer images qualify: flexible takes them, strict makes it an error row.")
    ] = Sizing.FLEXIBLE,
    prepare: Annotated[
        PrepareName | None,
        typer.Option(help="What is done first: spare-units become detectors; auto: with their metric. [default: auto]"),
    ] = None,
    reach: Annotated[ReachName, typer.Option(help="Of the detectors, as in run_repair.py.")] = "near",
    keep_weights: Annotated[
        KeepWeights, typer.Option(help="full: 228 MB an experiment; changed-layer: what changed, eval.py reads it.")
    ] = "changed-layer",
    solver: Annotated[SolverName, typer.Option(help="auto: Gurobi where its licence admits it, else HiGHS.")] = (
        "auto"
    ),
    time_limit: Annotated[float | None, typer.Option(help="Seconds for one repair. [default: none]")] = None,
    whole_program: WholeOption = False,
    metric_images: MetricImagesOption = None,
    ridge: RidgeOption = 1e-3,
    pattern: PatternOption = "fixed",
    shifts: ShiftsOption = 0,
    flip: FlipOption = False,
    max_drawdown: DrawdownOption = None,
    predicted_class: PredictedClassOption = None,
    split: SplitOption = "test",
    also: AlsoOption = None,
    exclude_disputed: DisputedOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the cores.")] = 1,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster to run on: auto, or HOST:PORT.")] = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: Annotated[Path, typer.Option(help="The table. One that exists is gone on with.")] = Path(
        "results/experiment_data.csv"
    ),
    force: Annotated[bool, typer.Option("--force", help="Begin anew; the old table is kept beside.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Run every combination of the lists, with spaces or commas; a killed sweep goes on where it stopped."""
    if workers > 1 and ray is not None:
        raise UsageError("--workers are processes of this machine, --ray is a cluster: give one of them.")
    if sequence is not None and (workers > 1 or ray is not None or keep_weights == "none"):
        raise UsageError("The repairs of a --sequence need the weights of the last: one worker, and weights are kept.")
    if sequence is not None and split == "train":
        raise UsageError("The images of a --sequence are test images, which every step is measured on.")
    from edits.forecast import Place, listed, open_place
    from edits.network.workbench import untrained_workbench
    from editset_helpers.class_order import load_for
    from editset_helpers.edit_set import load_edit_set
    from experiments.analysis.summary import as_text, read_tables, summarise
    from experiments.forecast import forecast_sweep
    from experiments.plan import Sweep
    from experiments.single import bench_at
    from experiments.sweep import Executor, run_sweep
    from experiments.table.writing import check_output
    from helpers.doubts import tell_doubts
    from helpers.files.tensors import check_readable
    from model_classes.training import ensure_baseline

    chosen_norms = [read_norm(name) for name in norms or []]
    chosen_metrics = [read_metric(name) for name in metrics or ["training"]]
    fixed = RepairOptions(
        solver=solver,
        time_limit=time_limit,
        whole_program=whole_program,
        metric_images=metric_images,
        ridge=ridge,
        pattern=pattern,
        region=Region(shifts, flip),
        prepare=prepare or "auto",
        reach=read_reach(reach),
        max_drawdown=max_drawdown,
    )

    def sweep_of(names: tuple[str, ...]) -> Sweep:
        return Sweep(
            sizes=_once(edit_set_sizes),
            types=_once(edit_set_types),
            classes=_once([resolve_class(name, names) for name in target_classes or map(str, range(len(names)))]),
            param_bounds=_once(param_bounds or [5.0]),
            margins=_once(margins or [2.0]),
            norms=_once(chosen_norms),
            metrics=_once(chosen_metrics),
            layers=_once(layers or [LAST_LAYER]),
            seeds=_once(seeds or [0]),
            fixed=fixed,
            sizing=sizing_strategy,
            keep_weights=keep_weights,
            sequence=sequence or 0,
            predicted_class=None if predicted_class is None else resolve_class(predicted_class, names),
            split=split,
            beside=beside,
        )

    def check() -> None:
        bench = untrained_workbench(dataset, data_root, baseline_weights(dataset, data_root))
        check_before_training(sweep_of, bench)
        for path in also or ():
            load_for(path, bench.test)

    check_output(output, force)
    if exclude_disputed is not None:
        check_readable(exclude_disputed, "disputed images")  # before a baseline is trained
    beside = sum(len(load_edit_set(path, num_classes=None)) for path in also or ())
    if dry_run:
        place = open_place(dataset, data_root, weights)
    else:
        baseline = ensure_baseline(dataset, data_root, weights, check)
        place = Place(dataset, data_root, baseline, bench_at(dataset, data_root, baseline))
    sweep = sweep_of(place.class_names)
    former = replace(sweep, norms=sweep.norms or ("l1",), fixed=replace(fixed, prepare=prepare or "none"))
    context, executor = context_of(place, sweep, output, exclude_disputed, also or ()), Executor(workers, ray)
    if dry_run:
        print(listed(forecast_sweep(place, (sweep, former), context, None if force else output, executor)))
        return
    if place.bench is not None:
        tell_doubts(place.bench.test_logits, place.bench.test)
    failed = run_sweep(sweep, context, output, executor, restart=force, former=former)
    print(aligned(as_text(summarise(read_tables([output])))))
    say(f"{output} is complete; plots of it: uv run python analysis.py {output}")
    if failed:
        raise ExperimentsFailedError(
            f"{failed} experiment{'s' * (failed > 1)} failed; error_message in {output} says why."
        )


def check_before_training(sweep_of: Callable[[tuple[str, ...]], Sweep], bench: Workbench) -> None:
    """Raise `UsageError` where a sweep asks for what can never be, whatever a training gives."""
    from edits.pipeline import check_layer

    sweep = sweep_of(bench.test.class_names)
    for size in sweep.sizes:
        for options in sweep.programs(size):
            check_layer(bench, options)


def context_of(
    place: Place, sweep: Sweep, output: Path, disputed: Path | None = None, also: Sequence[Path] = ()
) -> Context:
    """What all experiments share; hashes are empty where what they are of is still to be made.

    Raises:
        ToolError: ``disputed`` is no list of test images, or one of ``also`` is no edit set of them.
    """
    from editset_helpers.class_order import load_for
    from editset_helpers.lists import read_numbers
    from experiments.plan import results_folder

    bench = place.bench
    numbers = () if bench is None or disputed is None else tuple(read_numbers(disputed, bench.test).tolist())
    return Context(
        dataset=place.dataset,
        data_root=place.data_root,
        weights=place.weights,
        weights_hash="" if bench is None else bench.weights_hash,
        images_hash="" if bench is None else bench.test.content_hash,
        training_hash=bench.training.content_hash if bench is not None and sweep.needs_training_images else None,
        folder=results_folder(output),
        edit_sets=edit_sets(place.dataset, place.data_root) / "experiments",
        command=command_line(),
        disputed=numbers,
        also=tuple((path, "" if bench is None else load_for(path, bench.test).content_hash) for path in also),
    )


def _once(values: list[T]) -> tuple[T, ...]:
    """Without repetitions, in their order."""
    return tuple(dict.fromkeys(values))


if __name__ == "__main__":
    app()
