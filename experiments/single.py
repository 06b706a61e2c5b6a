"""One experiment: choose the images, repair, measure, and say it in a row. A failure is a row, too."""

from __future__ import annotations

import datetime
import functools
import hashlib
import time
from dataclasses import replace
from pathlib import Path

import torch

import sytorch
from edits.earlier import Earlier, repaired
from edits.methods.hidden_layer import metric_count
from edits.methods.preparation import sample_size
from edits.network.workbench import Workbench, open_workbench
from edits.options import PLANTED_LAYER, RepairOptions
from edits.pipeline import check_layer, repair_edit_set
from edits.record.report import RepairReport
from edits.task import task_of
from editset_helpers.building import candidates, select
from editset_helpers.class_order import load_for
from editset_helpers.edit_set import EditSet, load_edit_set, metadata_path, save_edit_set
from editset_helpers.joining import Member
from editset_helpers.location import locate
from experiments.experiment import Context, Experiment, Sizing
from experiments.table.row import FAILED, Row
from helpers.cli import DatasetName
from helpers.errors import ToolError
from helpers.evaluation import is_right
from helpers.files.writing import load_tensors
from helpers.images.datasets import ImageDataset
from helpers.images.input_spec import InputSpec, spec_of
from sytorch import part_named

REPAIRING = ("program", "ordinary images", "metric", "prepare", "solve", "write and verify", "certify")


class TooFewImagesError(ToolError):
    """No image qualifies, or fewer than a strict experiment asks for."""


def bench_at(dataset: DatasetName, data_root: Path | None, weights: Path) -> Workbench:
    """A network and its images, loaded once in each process and again when the weights file is another."""
    there = weights.stat() if weights.exists() else None
    state = there and (there.st_ino, there.st_size, there.st_mtime_ns)
    return _bench_at(dataset, data_root, weights, state, spec_of(weights))


@functools.lru_cache(maxsize=1)
def _bench_at(
    dataset: DatasetName, data_root: Path | None, weights: Path, _state: tuple[int, ...] | None, _spec: InputSpec
) -> Workbench:
    return open_workbench(dataset, data_root, weights)


def bench_of(context: Context) -> Workbench:
    """Those of a sweep."""
    return bench_at(context.dataset, context.data_root, context.weights)


def warm_up(context: Context, options: RepairOptions) -> None:
    """Compute what all experiments share, so that it is in the cache before several processes want it."""
    bench = bench_of(context)
    check_layer(bench, options)
    if options.plants:
        with bench.clock.phase("ordinary images"):
            bench.hidden_units(PLANTED_LAYER, sample_size(options)).fill_cache()
    elif not options.is_hidden:
        bench.metric(options)
    elif options.metric != "identity":
        bench.layer_metric(part_named(options.layer).layer, metric_count(options))
    _ = bench.test_logits


def run_experiment(context: Context, experiment: Experiment) -> Row:
    """Run one experiment and return its row; what goes wrong is told in its ``error_message``.

    Raises:
        KeyboardInterrupt: Ctrl-C; there is no row then.
    """
    begin = time.perf_counter()
    row = _run(context, experiment)
    return replace(row, experiment_seconds=round(time.perf_counter() - begin, 4))


def _run(context: Context, experiment: Experiment) -> Row:
    bench = bench_of(context)
    bench.clock.seconds.clear()
    row = _asked(context, experiment, bench)
    try:
        earlier = _earlier(context, experiment, bench)
        edit_set = _choose(context, experiment, bench, earlier)
        row = _with_edit_set(row, experiment, edit_set, context, bench)
        if len(edit_set) < experiment.size and experiment.sizing is Sizing.STRICT:
            raise TooFewImagesError(
                f"only {len(edit_set)} images qualify, fewer than {experiment.size}, and sizing is strict."
            )
        members = [Member(Path(str(row.edit_set_path)), edit_set)]
        members += [Member(path, load_for(path, bench.test)) for path, _ in context.also]
        report = _repair(context, experiment, bench, members, earlier)
    except ToolError as error:
        return replace(row, status=_status_of(error), error_message=str(error))
    except Exception as error:
        return replace(row, error_message=f"unexpected {type(error).__name__}: {error}"[:500])
    row = _with_report(row, report)
    return _as_step(row, experiment, report, bench) if experiment.iteration and row.repair_successful else row


def _status_of(error: ToolError) -> str:
    """Whether the same experiment would fail again, or the reason came from outside."""
    if isinstance(error, TooFewImagesError):
        return "too_few_images"
    return "not_solved" if isinstance(error.__cause__, sytorch.SolverFailedError) else FAILED


def _asked(context: Context, experiment: Experiment, bench: Workbench) -> Row:
    options = experiment.options
    return Row(
        experiment_id=experiment.id,
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        repair_set_type=experiment.set_type,
        repair_set_focus=f"{experiment.set_type.focus}_only",
        requested_repair_set_size=experiment.size,
        edit_set_sizing_strategy=experiment.sizing,
        target_class=experiment.target_class,
        param_bound=options.param_bound,
        margin=options.margin,
        baseline_model_path=str(context.weights),
        baseline_accuracy_test_set=float(is_right(bench.test_logits, bench.test.labels).mean()),
        baseline_weights_hash=context.weights_hash,
        seed=experiment.seed,
        layer=options.layer,
        norm=options.norm,
        metric=options.metric,
        prepare=options.preparation,
        reach=options.reach.name if options.plants else "none",
        dataset=bench.test.name,
        iteration=experiment.iteration or None,
        more_options=_more(context, experiment),
        sequence="step" if experiment.iteration else "alone",
        disputed="excluded" if context.disputed else "none",
    )


def _more(context: Context, experiment: Experiment) -> str:
    """What the table has no column for, as it would be typed; ``none`` where that is as usual."""
    told = [] if experiment.options.more == "none" else [experiment.options.more]
    told += [] if experiment.predicted_class is None else [f"--predicted-class {experiment.predicted_class}"]
    told += [] if experiment.split == "test" else [f"--split {experiment.split}"]
    told += [f"--also {path}" for path, _ in context.also]
    return " ".join(told) or "none"


def _earlier(context: Context, experiment: Experiment, bench: Workbench) -> Earlier | None:
    """The steps before, whose weights are there unless the last one failed."""
    if experiment.upon is None:
        return None
    weights = context.folder / f"{experiment.upon}.pth"
    found = repaired(bench, weights) if weights.is_file() else None
    if found is None:
        raise ToolError(f"the step before, {experiment.upon}, is no repair or has kept no weights.")
    return found


def _choose(context: Context, experiment: Experiment, bench: Workbench, earlier: Earlier | None) -> EditSet:
    """Images by what the network says after the steps before, none of which they repaired."""
    images, logits = _images(experiment, bench)
    try:
        if earlier is None:
            edit_set = select(experiment.selection, images, logits)
        else:
            edit_set = select(experiment.selection, images, earlier.network.test_logits, earlier.test_positions)
    except ToolError as error:
        raise TooFewImagesError(str(error)) from error
    made_with = {"weights": str(context.weights), "weights_hash": context.weights_hash, "command": context.command}
    return replace(edit_set, provenance={**edit_set.provenance, **made_with})


def _images(experiment: Experiment, bench: Workbench) -> tuple[ImageDataset, torch.Tensor]:
    """What the images are chosen from, and the baseline's logits (N, C) of it."""
    if experiment.split == "train":
        return bench.training, bench.training_images.logits
    return bench.test, bench.test_logits


def _with_edit_set(row: Row, experiment: Experiment, edit_set: EditSet, context: Context, bench: Workbench) -> Row:
    """Write the set where its name says, unless it is there, and measure the baseline on it and outside it."""
    path = _edit_set_path(context, experiment, edit_set)
    if not _is_there(path, edit_set):
        save_edit_set(edit_set, path)
    right, outside = is_right(bench.test_logits, bench.test.labels), locate(edit_set, bench.test).outside
    (images, logits), numbers = _images(experiment, bench), edit_set.claimed_indices(experiment.split)
    return replace(
        row,
        edit_set_path=str(path),
        edit_set_hash=edit_set.content_hash,
        actual_repair_set_size=len(edit_set),
        baseline_accuracy_edit_set=float(is_right(logits, images.labels)[numbers].mean()),
        baseline_accuracy_drawdown_set=None if outside is None or not outside.any() else float(right[outside].mean()),
    )


def _edit_set_path(context: Context, experiment: Experiment, edit_set: EditSet) -> Path:
    """A name for these images, chosen by this network from these test images: no other set has it."""
    facts = "".join((context.weights_hash, context.images_hash, edit_set.content_hash))
    digits = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return context.edit_sets / f"{experiment.set_name}_{digits}_edit_dataset.pt"


def _is_there(path: Path, edit_set: EditSet) -> bool:
    if not (path.is_file() and metadata_path(path).is_file()):
        return False
    try:
        return load_edit_set(path, num_classes=None).content_hash == edit_set.content_hash
    except ToolError:  # damaged: it is written again
        return False


def _repair(
    context: Context, experiment: Experiment, bench: Workbench, members: list[Member], earlier: Earlier | None
) -> RepairReport:
    output = context.folder / f"{experiment.id}.pth"
    task = task_of(bench, members, experiment.options, output, earlier)
    task = replace(task, command=context.command, disputed=context.disputed)
    return repair_edit_set(replace(task, kept_weights=experiment.kept_weights))


def _with_report(row: Row, report: RepairReport) -> Row:
    uses_gurobi = (report.solver or "").startswith("gurobi")
    return replace(
        row,
        repair_runtime_seconds=round(sum(report.seconds.get(phase, 0.0) for phase in REPAIRING), 4),
        gurobi_barrier_iterations=(report.barrier_iterations or report.solver_iterations) if uses_gurobi else None,
        repair_successful=report.status == "repaired",
        repaired_model_path=report.output_path,
        repaired_accuracy_test_set=report.test_accuracy_after,
        repaired_accuracy_edit_set=report.edit_accuracy_after,
        repaired_accuracy_drawdown_set=report.drawdown_accuracy_after,
        error_message=None if report.status == "repaired" else f"{report.status}: {report.message}",
        solver=report.solver,
        solver_iterations=report.solver_iterations,
        objective=report.objective,
        gap=report.gap,
        min_margin=report.min_margin,
        drawdown_points=report.drawdown_points,
        drawdown_undisputed_points=report.drawdown_undisputed_points,
        generalization_before=report.generalization_before,
        generalization_after=report.generalization_after,
        peak_memory_mb=report.peak_memory_mb,
        repaired_weights_hash=report.weights_hash_after,
        prepare=report.prepare or "none",
        reach=report.reach,
        seconds_prepare=report.seconds.get("prepare"),
        seconds_solve=report.seconds.get("solve"),
        planted_units=report.planted_units,
        detected_groups=report.detected_groups,
        detected_alone=report.detected_alone,
        outside_wrong=report.outside_wrong,
        outside_mended=report.outside_mended,
        outside_broken=report.outside_broken,
        planted_loss=report.planted_loss,
        images_not_separable=None if report.planted_units is None else len(report.not_separable),
        largest_ordinary_response=report.largest_ordinary_response,
        outside_detected=report.outside_detected,
        prepare_max_abs_change=report.prepare_max_abs_change,
        certificate_path=report.certificate_path,
        status=report.status,
    )


def _as_step(row: Row, experiment: Experiment, report: RepairReport, bench: Workbench) -> Row:
    """What a step of a sequence has come to, with all before it; the images of all are of one type."""
    everything = replace(experiment.selection, max_samples=None)
    mistakes = candidates(everything, bench.test, bench.test_logits.argmax(dim=1).numpy())
    predicted = load_tensors(Path(str(report.outcomes_path)), "outcomes")["test_predicted_after"].numpy()
    return replace(
        row,
        images_so_far=report.edit_set_size,
        repaired_accuracy_type=float((predicted == bench.test.labels)[mistakes].mean()),
        last_drawdown_points=report.last_drawdown_points,
    )
