"""Repair one layer of AlexNet, so that every image of an edit set is classified right by a margin, and prove it."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edits.options import (
    LAST_LAYER,
    KeptWeights,
    MetricName,
    NormName,
    PatternName,
    PrepareName,
    ReachName,
    RepairOptions,
    SolverName,
    norm_for,
    read_reach,
)
from editset_helpers.regions import Region
from editset_helpers.selection import Selection
from helpers.arguments import knowing
from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    DisputedOption,
    DryRunOption,
    JsonOption,
    PredictedClassOption,
    SplitOption,
    WeightsOption,
    command_line,
    new_app,
    print_json,
    say,
    shared_options,
    tells_failures,
    works_long,
)
from helpers.errors import (
    InfeasibleError,
    NotProvedError,
    NotVerifiedError,
    TimeLimitError,
    TooCostlyError,
    ToolError,
    UsageError,
)
from helpers.files.outputs import possible_output, result_paths, writable_output
from helpers.files.paths import edit_sets, repaired_weights

if TYPE_CHECKING:
    from edits.earlier import Earlier
    from edits.network.workbench import Workbench
    from edits.record.report import RepairReport
    from editset_helpers.joining import Member

FAILURES = {
    "infeasible": InfeasibleError,
    "time_limit": TimeLimitError,
    "not_verified": NotVerifiedError,
    "not_proved": NotProvedError,
    "too_costly": TooCostlyError,
}

app = new_app(__doc__)
Command = knowing(
    {
        "--pattern held": "--pattern fixed",
        "--prepare-copies none": "--reach exact",
        "--prepare-copies mirrored": "--reach near",
        "--prepare-copies shifted": "--reach near",
    }
)


@dataclass(frozen=True)
class Job:
    """What to repair, on which images, those of the sets ``also`` among them, and where the result goes.

    With ``norm_by_size`` the size of the edit set decides what is minimised. ``disputed`` is a file of test images
    without which drawdown is told once more.
    """

    dataset: DatasetName = DatasetName.CIFAR10
    data_root: Path | None = None
    weights: Path | None = None
    output: Path | None = None
    max_samples: int | None = None
    seed: int = 0
    norm_by_size: bool = False
    also: tuple[Path, ...] = ()
    kept_weights: KeptWeights = "full"
    disputed: Path | None = None


def repair(source: Selection | Path, job: Job, options: RepairOptions) -> RepairReport:
    """Repair a network on an edit set, making whatever is missing: the baseline, and the edit set of a selection.

    Args:
        source: an edit set's file, or the selection that it holds.
        job: which network and images.
        options: which program.

    Raises:
        ToolError: files or images are missing or damaged, options do not fit, or the solver fails.
    """

    from edits.earlier import find_earlier
    from edits.forecast import tell_time
    from edits.network.workbench import open_workbench
    from edits.pipeline import check_layer, repair_edit_set
    from edits.task import task_of
    from editset_helpers.class_order import load_for
    from editset_helpers.edit_set import forget_content
    from editset_helpers.joining import Member
    from editset_helpers.lists import read_numbers
    from helpers.doubts import tell_doubts
    from helpers.files.tensors import check_readable
    from model_classes.training import ensure_baseline

    output = writable_output(job.output or repaired_weights(job.dataset, job.data_root))
    if job.disputed is not None:
        check_readable(job.disputed, "disputed images")
    weights = ensure_baseline(
        job.dataset, job.data_root, job.weights, lambda: check_before_training(source, job, options)
    )
    bench = replace(open_workbench(job.dataset, job.data_root, weights), repeats=False)
    check_layer(bench, options)
    disputed = () if job.disputed is None else tuple(read_numbers(job.disputed, bench.test).tolist())
    if isinstance(source, Selection) and source.split == "train":  # all of them may be half a gigabyte
        source = replace(source, max_samples=job.max_samples, seed=job.seed)
    with bench.clock.phase("edit set"):
        earlier = find_earlier(bench)
    tell_doubts((bench if earlier is None else earlier.network).test_logits, bench.test)
    with bench.clock.phase("edit set"):
        path = source if isinstance(source, Path) else find_edit_set(source, bench, earlier)
        networks, sets = [weights], [path, *job.also]
        if earlier is not None:
            networks.append(earlier.base.weights_path)
            sets.append(earlier.member.path)
        refuse_overwriting(output, networks, sets)
        asked = Member(path, load_for(path, bench.test))
        if earlier is not None and isinstance(source, Selection):
            asked = earlier.without_repaired(asked)
        asked = replace(asked, edit_set=asked.edit_set.subset(job.max_samples, job.seed))
        members = [asked, *(Member(other, load_for(other, bench.test)) for other in job.also)]
        forget_content()
    warn_of_other_weights(asked, bench)
    task = replace(task_of(bench, members, options, output, earlier), kept_weights=job.kept_weights)
    if job.norm_by_size and not options.is_hidden:
        images = len(task.edit_set) * (1 + len(options.region.moves))
        task = replace(task, options=replace(options, norm=norm_for(images, options.metric)))
    tell_time(task)
    return repair_edit_set(replace(task, disputed=disputed))


def check_before_training(source: Selection | Path, job: Job, options: RepairOptions) -> None:
    """Raise `ToolError` where there can be no such repair, whatever a training gives: class, layer, file, numbers."""
    from edits.network.workbench import untrained_workbench
    from edits.pipeline import check_layer
    from editset_helpers.class_order import load_for
    from editset_helpers.lists import read_numbers
    from helpers.files.paths import baseline_weights

    bench = untrained_workbench(job.dataset, job.data_root, baseline_weights(job.dataset, job.data_root))
    check_layer(bench, options)
    if isinstance(source, Selection):
        source.check(bench.test)
    for path in (*([source] if isinstance(source, Path) else []), *job.also):
        load_for(path, bench.test)
    if job.disputed is not None:
        read_numbers(job.disputed, bench.test)


def find_edit_set(selection: Selection, bench: Workbench, earlier: Earlier | None) -> Path:
    """The file of a selection by the workbench's network and images, which is made where it is missing."""
    from editset_helpers.generation import Source, find_or_make

    network = bench.network if earlier is None else earlier.network
    source = Source(bench.test, bench.model, bench.weights_path, bench.weights_hash, lambda: network.test_logits)
    if selection.split == "train":
        source = replace(source, images=bench.training, logits=lambda: bench.training_images.logits)
    return find_or_make(selection, source, edit_sets(bench.dataset, bench.data_root), command_line())


def refuse_overwriting(output: Path, networks: list[Path], sets: list[Path]) -> None:
    """Raise `UsageError` where the repair, its report or its outcomes would take the place of what it is made from."""
    from editset_helpers.edit_set import metadata_path
    from model_classes.weights import base_file

    made = {path.resolve() for path in result_paths(output)}
    bases = map(base_file, networks) if any(path.exists() for path in made) else ()  # they may be changes of others
    for source in (*networks, *filter(None, bases), *sets, *map(metadata_path, sets)):
        if source.resolve() in made:
            raise UsageError(
                f"--output {output} would overwrite {source}, which the repair is made from; name another."
            )


def refuse_replacing(output: Path) -> None:
    """Raise `ToolError` where there is a repair, or anything else, under the names of this one."""
    there = next((path for path in result_paths(output) if path.is_file()), None)
    if there is not None:
        raise ToolError(f"{there} exists and was kept; --force replaces that repair, --output writes elsewhere.")


def tell_forecast(source: Selection | Path, request: Request) -> None:
    """Print what a repair would be made from, what it would make, and about how long that takes."""
    from edits.forecast import forecast_repair, listed, open_place

    job = request.job
    told = forecast_repair(
        open_place(job.dataset, job.data_root, job.weights),
        source,
        request.options,
        job.output or repaired_weights(job.dataset, job.data_root),
        max_samples=job.max_samples,
        also=job.also,
        norm_by_size=job.norm_by_size,
    )
    if request.as_json:
        print_json(told)
    else:
        print(listed(told))


def warn_of_other_weights(member: Member, bench: Workbench) -> None:
    """Say that a set was chosen by another network's mistakes; it can be repaired all the same."""
    if member.edit_set.provenance.get("weights_hash", bench.weights_hash) != bench.weights_hash:
        say(
            f"note: {member.path} was chosen with other weights than {bench.weights_path}; "
            "some images may be right already."
        )


MaxSamplesOption = Annotated[int | None, typer.Option(min=1, help="At most so many images. [default: all of the set]")]
SeedOption = Annotated[int, typer.Option(min=0, help="Which images, when fewer than all.")]
BoundOption = Annotated[float, typer.Option(help="The largest change of any weight. Lower it to stay close.")]
MarginOption = Annotated[
    float, typer.Option(help="Required margin of every edit image: its own logit minus the largest other.")
]
LayerOption = Annotated[
    str,
    typer.Option(
        help="The layer that changes: classifier.6, .4, .1, features.10, ... .0; or a part of it: classifier.4.bias, "
        "classifier.4[0:400] (units), classifier.4[0:400].bias."
    ),
]
PatternOption = Annotated[
    PatternName,
    typer.Option(
        help="For other layers than the last. fixed: the activation pattern stays, and the repair is proved; "
        "relinearise: it may change, in steps."
    ),
]
NormOption = Annotated[
    NormName | None,
    typer.Option(
        help="What is minimised. [default: l1; l2 for more than 200 images, for other layers, with --metric per-class]"
    ),
]
MetricOption = Annotated[
    MetricName,
    typer.Option(
        help="training: least effect on ordinary images; per-class: on each class's logit by itself, for l2 (a minute "
        "once); identity: least change of the weights themselves."
    ),
]
SolverOption = Annotated[
    SolverName, typer.Option(help="auto: Gurobi where its licence admits the program, else HiGHS.")
]
TimeLimitOption = Annotated[float | None, typer.Option(help="Seconds for the whole repair. [default: none]")]
OutputOption = Annotated[
    Path | None,
    typer.Option(help="The repaired weights; the report is beside them. [default: artifacts/alexnet_repaired.pth]"),
]
WholeOption = Annotated[
    bool,
    typer.Option(
        "--whole-program", help="Write the program out at once, as linf and linf+l1 always do (for checking)."
    ),
]
MetricImagesOption = Annotated[
    int | None,
    typer.Option(
        help="Training images, all right, that stand for ordinary ones, half most in doubt. "
        "[default: 20000; all with --prepare none]",
    ),
]
RidgeOption = Annotated[
    float, typer.Option(help="Ridge of the training metric. Raise it if --param-bound is in the way.")
]
PrepareOption = Annotated[
    PrepareName,
    typer.Option(
        help="spare-units: units of classifier.4 that ordinary images do not need become detectors of the edit images; "
        "none: only --layer changes. [auto: spare-units, with --metric training]"
    ),
]
ReachOption = Annotated[
    ReachName,
    typer.Option(
        help="What the detectors are on for besides the edit images; nothing is promised of that. exact: hardly "
        "anything; near: mirrored and shifted copies; wide: more of these, at a price in drawdown."
    ),
]
ShiftsOption = Annotated[
    int,
    typer.Option(
        help="Every edit image is to be right shifted, too, by up to so many of its 32 x 32 pixels, any way. "
        "The report's generalization is then of copies that are like those constrained."
    ),
]
KeepOption = Annotated[
    KeptWeights,
    typer.Option(
        help="full: the whole network, 228 MB; changed-layer: what changed and the name of the weights before, few MB."
    ),
]
AlsoOption = Annotated[
    list[Path] | None, typer.Option(metavar="PATH", help="And the images of this edit set; may be given again.")
]
DrawdownOption = Annotated[
    float | None,
    typer.Option(help="Refuse a repair that costs more points of accuracy outside the edit set. [default: none]"),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a repair that exists.")]
FlipOption = Annotated[
    bool, typer.Option("--flip", help="And mirrored, with --shifts mirrored and shifted. Not for digits, mostly.")
]


@dataclass(frozen=True)
class Request:
    """What the options that all commands share ask for."""

    job: Job
    options: RepairOptions
    as_json: bool
    force: bool
    dry_run: bool


def read_request(
    *,
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 0,
    param_bound: BoundOption = 5.0,
    margin: MarginOption = 2.0,
    layer: LayerOption = LAST_LAYER,
    norm: NormOption = None,
    metric: MetricOption = "training",
    solver: SolverOption = "auto",
    time_limit: TimeLimitOption = None,
    whole_program: WholeOption = False,
    metric_images: MetricImagesOption = None,
    ridge: RidgeOption = 1e-3,
    prepare: PrepareOption = "auto",
    reach: ReachOption = "near",
    pattern: PatternOption = "fixed",
    shifts: ShiftsOption = 0,
    flip: FlipOption = False,
    max_drawdown: DrawdownOption = None,
    exclude_disputed: DisputedOption = None,
    also: AlsoOption = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: OutputOption = None,
    keep_weights: KeepOption = "full",
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> Request:
    """The options that all commands share."""
    options = RepairOptions(
        layer=layer,
        param_bound=param_bound,
        margin=margin,
        norm=norm or norm_for(1, metric, layer),
        metric=metric,
        solver=solver,
        time_limit=time_limit,
        whole_program=whole_program,
        metric_images=metric_images,
        ridge=ridge,
        prepare=prepare,
        pattern=pattern,
        region=Region(shifts, flip),
        reach=read_reach(reach),
        max_drawdown=max_drawdown,
    )
    job = Job(
        dataset,
        data_root,
        weights,
        output,
        max_samples,
        seed,
        norm_by_size=norm is None,
        also=tuple(also or ()),
        kept_weights=keep_weights,
        disputed=exclude_disputed,
    )
    return Request(job, options, as_json, force, dry_run)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def misclassified(
    request: Request, *, predicted_class: PredictedClassOption = None, split: SplitOption = "test"
) -> None:
    """Repair images of every class that the network classifies wrong."""
    run(Selection("misclassified", predicted_class=predicted_class, split=split), request)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def by_class(
    request: Request,
    *,
    target_class: Annotated[str, typer.Option(help="The class: its number, or its name.")],
    predicted_class: PredictedClassOption = None,
    split: SplitOption = "test",
) -> None:
    """Repair images of one class that the network classifies wrong."""
    run(Selection("by-class", target_class, predicted_class=predicted_class, split=split), request)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def file(request: Request, *, path: Annotated[Path, typer.Argument(help="An edit set, *.pt.", metavar="PATH")]) -> None:
    """Repair the images of any edit set."""
    from helpers.files.tensors import check_readable

    check_readable(path, "edit set")  # before a baseline is trained
    run(path, request)


def run(source: Selection | Path, request: Request) -> None:
    """Repair, and show the report; raises the failure that its status names."""
    output = request.job.output or repaired_weights(request.job.dataset, request.job.data_root)
    if request.dry_run:
        possible_output(output)
        tell_forecast(source, request)
        return
    if not request.force:
        refuse_replacing(output)
    from edits.record.report import report_table

    report = repair(source, request.job, request.options)
    if report.status == "repaired" and report.message:
        say(f"note: {report.message}")
    if request.as_json:
        print_json(report.as_json())
    elif report.status == "repaired":
        print(report_table(report))
    if report.status in FAILURES:
        raise FAILURES[report.status](f"{report.message}")


if __name__ == "__main__":
    app()
