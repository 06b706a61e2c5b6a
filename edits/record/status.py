"""The report of a task before anything is done, and what it says where there is no repair."""

from __future__ import annotations

import math
from collections.abc import Callable

from edits.options import LAST_LAYER, PLANTED_LAYER, RepairOptions
from edits.record.report import RepairReport
from edits.task import Task
from editset_helpers.edit_set import EditSet
from editset_helpers.regions import Region
from helpers.errors import NotProvedError, NotVerifiedError, ToolError
from helpers.images.datasets import ImageDataset
from sytorch import Contradiction, SolverTimeLimitError

NAMED = 6
MUCH, MUCH_OF_A_CLASS = 5.0, 10.0  # points of drawdown that a message is about
ANY_CHANGE = 1e6  # a larger change of a weight is none


def asked(task: Task) -> RepairReport:
    """The report of a task before anything is done."""
    bench, options, earlier = task.bench, task.options, task.earlier
    here = (str(bench.weights_path), bench.weights_hash)
    first = here if earlier is None else earlier.report.first_weights or (None, None)
    return RepairReport(
        status="repaired",
        message=None,
        timestamp=task.began,
        command=task.command,
        edit_set_path=str(task.edit_set_path),
        edit_set_hash=task.edit_set.content_hash,
        edit_set_size=len(task.edit_set),
        shifts=options.region.shifts,
        flip=options.region.flip,
        copies=len(task.constrained) - len(task.edit_set),
        dataset=bench.test.name,
        dataset_hash=bench.test.content_hash,
        edit_images=task.edit_set.file_positions.tolist(),
        edit_test_indices=task.location.indices.tolist(),
        drawdown_note=task.location.note,
        edit_source=task.edit_set.source,
        relabeled=task.edit_set.relabeled,
        disputed_images=list(task.disputed),
        data_root=None if bench.data_root is None else str(bench.data_root),
        weights_path=str(bench.weights_path),
        weights_hash_before=bench.weights_hash,
        layer=options.layer,
        param_bound=options.param_bound,
        margin=options.margin,
        norm=options.norm,
        metric=options.metric,
        prepare=options.preparation,
        reach=options.reach.name if options.plants else "none",
        pattern=options.pattern if options.is_hidden else None,
        earlier=[] if earlier is None else earlier.steps,
        earlier_images=0 if earlier is None else len(earlier.member.edit_set),
        first_weights_path=first[0],
        first_weights_hash=first[1],
    )


def tell_refutation(report: RepairReport, task: Task, refuted: Contradiction) -> None:
    """Say that no change has the margins, or none of the form that was searched: which images, and what may help."""
    report.status = "infeasible" if refuted.proved_for_all_changes else "not_proved"
    report.message = explain(refuted, task.numbered, task.options, task.bench.test)
    report.contradicting_images, report.smallest_bound = contradicting_images(refuted, task.numbered)


def tell_failure(report: RepairReport, task: Task, error: Exception) -> None:
    """Say why there is no repair where nothing is refuted.

    Raises:
        ToolError: the failure is none of the repair: no licence, or a solver that gave up.
    """
    if isinstance(error, SolverTimeLimitError):
        limit = task.options.time_limit
        report.status, report.message = "time_limit", f"no repair was proved within {limit:g} seconds."
    elif isinstance(error, NotProvedError):
        report.status, report.message = "not_proved", str(error)
    elif isinstance(error, NotVerifiedError):
        report.status, report.message = "not_verified", str(error)
    else:
        raise ToolError(str(error)) from error


def tell_cost(report: RepairReport, options: RepairOptions) -> None:
    """Say that a repair costs more than was allowed, so that it is none; or, where any cost is, that it costs much."""
    cost, most, of_class = report.drawdown_points, options.max_drawdown, report.worst_class_drawdown_points
    if most is None:
        if cost is not None and of_class is not None and (cost > MUCH or of_class > MUCH_OF_A_CLASS):
            lost = f"{cost:.2f} points overall, {of_class:.2f} of class {report.worst_class}"
            report.message = f"the repair costs much accuracy: {lost}; --max-drawdown refuses what costs too much."
    elif cost is None or cost > most:
        what = "costs an accuracy that nobody can tell" if cost is None else f"costs {cost:.2f} points of accuracy"
        report.status, report.outcomes_path = "too_costly", None
        report.message = f"the repair {what}, and --max-drawdown allows {most:g}; allow more, or repair fewer images."


def explain(contradiction: Contradiction, edit_set: EditSet, options: RepairOptions, test: ImageDataset) -> str:
    """One or two sentences: which images, or copies of them, contradict each other, and what to change."""
    class_names = test.class_names
    stage = f" (after spare units of {PLANTED_LAYER} became detectors)" if options.plants else ""
    if options.layer.startswith(LAST_LAYER):
        stage = f"{stage} when only {options.layer} changes" if options.is_hidden else stage
    else:
        stage = f" with the activation pattern behind {options.layer} fixed (--pattern relinearise lets it change)"
    if not contradiction.proved_for_all_changes:
        return (
            f"no change{stage} of the form that {options.norm} in the {options.metric} metric allows stays within "
            f"{options.param_bound:g}, though others may; try --norm l2, --metric identity or a larger --param-bound."
        )
    names = [image_name(image, edit_set, class_names, options.region) for image in contradiction.images]
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    if contradiction.refuted_bound >= ANY_CHANGE:
        return f"these images look alike to the layer{stage} but have different labels; no change can help: {listed}."
    what = "this image cannot have its margin" if len(names) == 1 else "these images contradict each other"
    enough = contradiction.sufficient_bound
    found = "; which is enough is not known" if enough is None else f" and {_digits(enough, math.ceil)} is enough"
    return (
        f"{what} within the bound {options.param_bound:g}{stage}: {listed}. No --param-bound below "
        f"{_digits(contradiction.refuted_bound, math.floor)} can work{found}; raise it, or lower --margin."
    )


def _digits(value: float, towards: Callable[[float], int]) -> str:
    """Four digits, rounded to the side on which the sentence stays true."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{towards(value / unit) * unit:.4g}"


def contradicting_images(contradiction: Contradiction, edit_set: EditSet) -> tuple[list[int], float | None]:
    """The images by test index where the set says it, else by position; the least bound if any helps.

    A copy counts as its image.
    """
    indices = edit_set.test_indices()
    images = dict.fromkeys(position % len(edit_set) for position in contradiction.images)
    named = [int(image if indices is None else indices[image]) for image in images]
    return named, contradiction.refuted_bound if contradiction.refuted_bound < ANY_CHANGE else None


def image_name(position: int, edit_set: EditSet, class_names: tuple[str, ...], region: Region) -> str:
    """``image 4 (a cat, test image 9077)``, or ``a mirrored copy of image 4 (...)``."""
    image, move = region.source(position, len(edit_set))
    label = class_names[int(edit_set.labels[image])]
    facts, kinds = edit_set.metadata[image], (("image_idx", "test"), ("training_idx", "training"))
    source = next((f", {kind} image {facts[key]}" for key, kind in kinds if key in facts), "")
    copy = "" if move is None else f"{move} of "
    place = f"{facts['edit_image']} of {facts['edit_set']}" if "edit_image" in facts else f"{image}"
    return f"{copy}image {place} ({label}{source})"
