"""A repair from an edit set to a report: try, measure, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edits.methods.attempt import Attempt, attempt
from edits.methods.hidden_layer import check_part
from edits.methods.repair import changes_of
from edits.methods.solving import RefutedError, Repaired
from edits.network.prepared import Network
from edits.network.workbench import Workbench
from edits.options import RepairOptions
from edits.outcome.certificate import NetworkFile, certify
from edits.outcome.claims import refuted_claim, repaired_claim
from edits.outcome.generalization import generalization
from edits.outcome.measuring import LogitsPair, measure_accuracy, measure_copies
from edits.outcome.outcomes import save_outcomes
from edits.outcome.report import RepairReport
from edits.task import Task
from helpers.evaluation import predict_logits
from helpers.files.outputs import certificate_path, failed_paths, metric_paths, outcomes_path, report_path
from helpers.files.publishing import Publication, publication
from helpers.files.writing import save_tensors, write_json
from helpers.stopwatch import peak_memory_mb
from model_classes.alexnet import blank_alexnet
from model_classes.changes import changes_content
from model_classes.weights import weights_hash
from sytorch import Deadline


def repair_edit_set(task: Task) -> RepairReport:
    """Repair a network on an edit set; publish weights, report, outcomes and certificate together.

    Where there is no repair, ``status`` says why: no change within the bound exists (``infeasible``), the time is up
    (``time_limit``), the checker refuses the proof (``not_proved``), or the written file (``not_verified``). Then an
    earlier result stays as it is, and only ``*_failed.json`` is written, with the certificate of a refutation.

    Raises:
        UsageError: the layer cannot be repaired.
        ToolError: the solver fails or has no licence, another run has this output, or a file cannot be written.
    """
    check_layer(task.bench, task.options)
    with publication(task.output) as publishing:
        task = replace(task, folder=publishing.folder, deadline=Deadline(task.options.time_limit))
        return _conclude(task, attempt(task), publishing)


def _conclude(task: Task, tried: Attempt, publishing: Publication) -> RepairReport:
    """Measure what an attempt gained and cost, check its proof as anybody would, and publish."""
    report = tried.report
    if tried.repaired is not None:
        _describe(report, task, tried.repaired)
        _measure(task, tried, tried.repaired, publishing)
        _certify_repair(task, tried, tried.repaired, publishing)
    elif tried.refuted is not None and report.status == "infeasible":
        _certify_refutation(task, tried, tried.refuted, publishing)
    return _publish(task, report, publishing)


def _publish(task: Task, report: RepairReport, publishing: Publication) -> RepairReport:
    """Write the report, with the seconds of all that was done so far, and put all files into their places."""
    report.seconds = {name: round(seconds, 4) for name, seconds in task.bench.clock.seconds.items()}
    report.peak_memory_mb = round(peak_memory_mb(), 1)
    is_repaired = report.status == "repaired"
    failed = failed_paths(task.output)
    if not is_repaired:
        for path in publishing.folder.iterdir():
            if path.name not in {failed_path.name for failed_path in failed}:
                path.unlink()
    write_json(publishing.staged(report_path(task.output) if is_repaired else failed[0]), report.as_json())
    publishing.publish([*metric_paths(task.output), *failed] if is_repaired else failed)
    return report


def _certify_repair(task: Task, tried: Attempt, repaired: Repaired, publishing: Publication) -> None:
    """Make the certificate and check it; where the checker refuses, the attempt is no repair."""
    report, network = tried.report, NetworkFile(task.output, tried.report.weights_hash_after or "", task.written)
    with task.bench.clock.phase("certify"):
        checked = certify(task, repaired_claim(task, tried.network, repaired), network, publishing, "repaired")
    if refused := checked.refused:
        report.status, report.message = "not_verified", f"the checker refuses what was written: {refused}"
    elif task.kept_weights == "none":
        for path in publishing.folder.iterdir():
            path.unlink()
        report.outcomes_path = None
    else:
        report.output_path, report.certificate_path = str(task.output), str(certificate_path(task.output))


def _certify_refutation(task: Task, tried: Attempt, refuted: RefutedError, publishing: Publication) -> None:
    """The same for a proof that there is no repair; the network that it is about is kept where it is not the base."""
    report, bench = tried.report, task.bench
    network = NetworkFile(bench.weights_path, bench.weights_hash, bench.weights_path)
    if tried.network is not bench.network:
        state = tried.network.model.state_dict()
        path = failed_paths(task.output)[2]
        content = changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, path)
        save_tensors(publishing.staged(path), content)
        network = NetworkFile(path, weights_hash(state), publishing.staged(path))
    with bench.clock.phase("certify"):
        checked = certify(
            task, refuted_claim(task, refuted.contradiction, refuted.problem), network, publishing, "infeasible"
        )
    if refused := checked.refused:
        report.status, report.message = "not_proved", f"the checker refuses the proof that there is none: {refused}"
    else:
        report.certificate_path = str(failed_paths(task.output)[1])


def _measure(task: Task, tried: Attempt, repaired: Repaired, publishing: Publication) -> None:
    bench, edit_set, report = task.bench, task.edit_set, tried.report
    edit_logits, copy_logits = LogitsPair(tried.before, repaired.logits).split(len(edit_set))
    test_logits = LogitsPair(bench.test_logits, _test_logits(task, tried.network, repaired))
    measure_copies(report, copy_logits, task.constrained.labels[len(edit_set) :])
    measure_accuracy(
        report,
        edit_logits,
        edit_set,
        test_logits=test_logits,
        test_labels=bench.test.labels,
        outside=task.location.outside,
    )
    with bench.clock.phase("generalization"):
        report.generalization_before, report.generalization_after = generalization(
            bench, repaired.state, edit_set, task.options.prepared_layer or repaired.repair.layer
        )
    if task.kept_weights != "none":
        report.outcomes_path = str(_write_outcomes(task, repaired, edit_logits, test_logits, publishing))


def check_layer(bench: Workbench, options: RepairOptions) -> None:
    """Raise `UsageError` unless the layer can be repaired as the options ask."""
    if options.is_hidden:
        check_part(bench, options)
    else:
        bench.check_layer(options.layer)


def _test_logits(task: Task, network: Network, repaired: Repaired) -> torch.Tensor:
    if not task.options.is_hidden:
        return network.test_logits_of(repaired.state)
    with task.bench.clock.phase("evaluate"):
        model = blank_alexnet(len(task.bench.test.class_names))
        model.load_state_dict(repaired.state, assign=True)
        return predict_logits(model.eval(), task.bench.test.images, progress="test images")


def _describe(report: RepairReport, task: Task, repaired: Repaired) -> None:
    solution, effort = repaired.repair.solution, repaired.repair.solution.effort
    report.path, report.solver = solution.path, effort.solver
    report.rows, report.columns, report.rounds = effort.rows, effort.columns, effort.rounds
    report.solver_iterations, report.barrier_iterations = effort.iterations, effort.barrier_iterations
    report.objective = solution.objective
    if solution.path != "relinearised":
        report.lower_bound, report.gap = solution.lower_bound, solution.gap
    changes = changes_of(task.bench.model, repaired.state)
    report.max_abs_change = max((float(change.abs().max()) for change in changes.values()), default=0.0)
    report.weights_hash_after = weights_hash(repaired.state)


def _write_outcomes(
    task: Task, repaired: Repaired, edit_logits: LogitsPair, test_logits: LogitsPair, publishing: Publication
) -> Path:
    """Write what became of every image."""
    path, test = outcomes_path(task.output), task.bench.test
    changes = {name: change.float() for name, change in changes_of(task.bench.model, repaired.state).items()}
    save_outcomes(
        publishing.staged(path), test, test_logits, task.edit_set, edit_logits, location=task.location, changes=changes
    )
    return path
