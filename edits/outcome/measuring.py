"""What a repair gained and cost: every figure of the report that is measured."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edits.methods.writing import Repaired
from edits.network.applying import changes_of, first_changed
from edits.network.prepared import Network
from edits.outcome.likeness import answers_on_copies, generalization, nearest_training_images
from edits.outcome.outcomes import EditAnswers, LogitsPair, NearImages, save_outcomes
from edits.pace import expected
from edits.record.report import RepairReport
from edits.task import Task
from editset_helpers.edit_set import EditSet
from editset_helpers.location import ALL_DISPUTED, without
from helpers.cli import say
from helpers.evaluation import checked, is_right, margins, predict_logits
from helpers.files.outputs import outcomes_path
from helpers.files.publishing import Publication
from helpers.images.datasets import ImageDataset
from model_classes.alexnet import alexnet_of


def logits_before(task: Task) -> torch.Tensor:
    """The logits of the images and copies that are constrained before any change, float32 (N, C)."""
    with task.bench.clock.phase("program", expected("program", task)):
        return checked(task.bench.training_images.channels.behind(None, task.channels))


def measure_repair(
    report: RepairReport,
    task: Task,
    network: Network,
    repaired: Repaired,
    *,
    before: torch.Tensor,
    publishing: Publication,
) -> None:
    """Fill in what was solved, and what became of the images; write what became of every one.

    Args:
        report: of the task.
        task: what was asked.
        network: in which the last layer was repaired.
        repaired: the repair.
        before: see `logits_before`; figures count from the network before all repairs, if that is another.
        publishing: takes the file of outcomes.
    """
    bench, first, edit_set = task.bench, task.first, task.edit_set
    if first is not bench:
        before = predict_logits(first.model, task.constrained.images)
    changes = changes_of(bench.model, repaired.state)
    _tell_solution(report, repaired, changes)
    edit_logits, copy_logits = LogitsPair(before, repaired.logits).split(len(edit_set))
    test_logits = LogitsPair(first.test_logits, _test_logits(task, network, repaired))
    outside, labels = task.location.outside, bench.test.labels
    measure_copies(report, copy_logits, task.constrained.labels[len(edit_set) :])
    measure_accuracy(report, edit_logits, edit_set, test_logits=test_logits, test_labels=labels, outside=outside)
    measure_classes(report, test_logits, bench.test, outside)
    if task.earlier is not None and outside is not None and outside.any():
        last = LogitsPair(task.earlier.network.test_logits, test_logits.after).accuracies(labels, outside)
        report.last_drawdown_points = 100 * (last[0] - last[1])
    layer = first_changed(first.model, repaired.state)
    with bench.clock.phase("generalization", expected("generalization", task)):
        on_copies = answers_on_copies(first, repaired.state, edit_set, layer)
        report.generalization_before, report.generalization_after = generalization(on_copies, edit_set)
    if task.kept_weights != "none":
        path = outcomes_path(task.output)
        with bench.clock.phase("generalization", expected("generalization", task)):
            near = NearImages(bench.training.content_hash, nearest_training_images(bench, edit_set))
        edits = EditAnswers(edit_set, edit_logits, task.location, on_copies, near)
        moved = {name: change.float() for name, change in changes.items()}
        save_outcomes(publishing.staged(path), bench.test, test_logits, edits, moved)
        report.outcomes_path = str(path)


def _tell_solution(report: RepairReport, repaired: Repaired, changes: dict[str, torch.Tensor]) -> None:
    solution, effort = repaired.solution, repaired.solution.effort
    report.path, report.solver = solution.path, effort.solver
    report.rows, report.columns, report.programs = effort.rows, effort.columns, effort.programs
    report.solver_iterations, report.barrier_iterations = effort.iterations, effort.barrier_iterations
    report.objective = solution.objective
    if solution.path != "relinearised":
        report.lower_bound, report.gap = solution.lower_bound, solution.gap
    extremes = (torch.stack(torch.aminmax(change)) for change in changes.values())  # abs() would copy a layer
    report.max_abs_change = max((float(pair.abs().max()) for pair in extremes), default=0.0)
    report.weights_hash_after = repaired.digest


def _test_logits(task: Task, network: Network, repaired: Repaired) -> torch.Tensor:
    if not task.options.is_hidden:
        return network.test_logits_of(repaired.state)
    with task.bench.clock.phase("evaluate"):
        return predict_logits(alexnet_of(repaired.state), task.bench.test, told="test images")


def measure_copies(report: RepairReport, logits: LogitsPair, labels: torch.Tensor) -> None:
    """Fill in what became of the copies that were constrained, M of them with their labels, (M,); M may be 0."""
    if len(labels):
        report.copies_accuracy_before, report.copies_accuracy_after = logits.accuracies(labels.numpy())
        report.copies_min_margin = float(margins(logits.after, labels).min())


def measure_accuracy(
    report: RepairReport,
    edit_logits: LogitsPair,
    edit_set: EditSet,
    *,
    test_logits: LogitsPair,
    test_labels: NDArray[np.int64],
    outside: NDArray[np.bool_] | None,
) -> None:
    """Fill in the accuracies of the edit set, of all test images, and of those outside it, disputed or not."""
    labels = edit_set.labels.numpy()
    report.edit_accuracy_before, report.edit_accuracy_after = edit_logits.accuracies(labels)
    report.test_accuracy_before, report.test_accuracy_after = test_logits.accuracies(test_labels)
    report.min_margin = float(margins(edit_logits.after, edit_set.labels).min())
    if outside is None:
        return
    if outside.any():
        before, after = test_logits.accuracies(test_labels, outside)
        report.drawdown_accuracy_before, report.drawdown_accuracy_after = before, after
        report.drawdown_points = 100 * (before - after)
    right, stays = (is_right(logits, test_labels)[outside] for logits in (test_logits.before, test_logits.after))
    report.outside_wrong, report.outside_mended = int((~right).sum()), int((~right & stays).sum())
    report.outside_broken = int((right & ~stays).sum())
    undisputed = without(outside, report.disputed_images)
    if report.disputed_images and not undisputed.any():
        say(ALL_DISPUTED)
    if report.disputed_images and undisputed.any():
        before, after = test_logits.accuracies(test_labels, undisputed)
        report.drawdown_undisputed_before, report.drawdown_undisputed_after = before, after
        report.drawdown_undisputed_points = 100 * (before - after)


def measure_classes(
    report: RepairReport, test_logits: LogitsPair, test: ImageDataset, outside: NDArray[np.bool_] | None
) -> None:
    """Fill in which class lost most, of the test images outside the edit set."""
    lost = dict[str, float]()
    for position, name in enumerate(test.class_names):
        chosen = (test.labels == position) & (False if outside is None else outside)
        if chosen.any():
            before, after = test_logits.accuracies(test.labels, chosen)
            lost[name] = 100 * (before - after)
    if lost:
        report.worst_class = max(lost, key=lambda name: lost[name])
        report.worst_class_drawdown_points = lost[report.worst_class]
