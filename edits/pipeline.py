"""A repair from an edit set to a report: prepare, solve, write, measure, certify, publish."""

from __future__ import annotations

from dataclasses import replace

import sytorch
from edits.methods.hidden_layer import check_part, repair_hidden_layer
from edits.methods.last_layer import repair_last_layer
from edits.methods.preparation import prepare_network, settled
from edits.methods.writing import RefutedError
from edits.network.workbench import Workbench
from edits.options import RepairOptions
from edits.outcome.claims import certify_refutation, certify_repair
from edits.outcome.measuring import logits_before, measure_repair
from edits.record.report import RepairReport
from edits.record.status import asked, tell_cost, tell_failure, tell_refutation
from edits.task import Task
from helpers.errors import NotProvedError, NotVerifiedError
from helpers.files.outputs import failed_paths, metric_paths, preprocessing_path, report_path
from helpers.files.publishing import Publication, publication
from helpers.files.writing import write_json
from helpers.images.input_spec import keep_spec
from helpers.stopwatch import peak_memory_mb


def repair_edit_set(task: Task) -> RepairReport:
    """Repair a network on an edit set; publish weights, report, outcomes and certificate together.

    Where there is no repair, ``status`` says why: no change within the bound exists (``infeasible``), the time is up
    (``time_limit``), the checker refuses the proof (``not_proved``) or the written file (``not_verified``), or it costs
    more than was allowed (``too_costly``). Then an earlier result stays as it is, and only ``*_failed.json`` is
    written, with the certificate of a refutation.

    Raises:
        UsageError: the layer cannot be repaired.
        ToolError: the solver fails or has no licence, another run has this output, or a file cannot be written.
    """
    check_layer(task.bench, task.options)
    with publication(task.output) as publishing:
        task = replace(settled(task), folder=publishing.folder, deadline=sytorch.Deadline(task.options.time_limit))
        report, network, before = asked(task), task.bench.network, logits_before(task)
        try:
            network = prepare_network(task, report, before)
            repaired = repair_hidden_layer(task) if task.options.is_hidden else repair_last_layer(task, network)
        except RefutedError as error:
            tell_refutation(report, task, error.contradiction)
            if report.status == "infeasible":
                certify_refutation(report, task, network, error, publishing)
        except (sytorch.SytorchError, NotProvedError, NotVerifiedError) as error:
            tell_failure(report, task, error)
        else:
            measure_repair(report, task, network, repaired, before=before, publishing=publishing)
            tell_cost(report, task.options)
            if report.status == "repaired":
                certify_repair(report, task, network, repaired, publishing)
        return _publish(report, task, publishing)


def check_layer(bench: Workbench, options: RepairOptions) -> None:
    """Raise `UsageError` unless the layer can be repaired as the options ask."""
    if options.is_hidden:
        check_part(bench, options)
    else:
        bench.check_layer(options.layer)


def _publish(report: RepairReport, task: Task, publishing: Publication) -> RepairReport:
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
    if report.output_path is not None:
        keep_spec(task.bench.test.spec, task.output, publishing.staged(preprocessing_path(task.output)))
    former = [*metric_paths(task.output), preprocessing_path(task.output), *failed]
    publishing.publish(former if is_repaired else failed)
    return report
