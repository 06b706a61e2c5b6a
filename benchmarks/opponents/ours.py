"""This toolkit's own repair, with any of its options."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from benchmarks.opponents.case import Attempt, Case, Run
from edits.options import RepairOptions, norm_for
from edits.pipeline import repair_edit_set
from edits.task import Task
from editset_helpers.edit_set import load_edit_set, save_edit_set
from experiments.single import REPAIRING
from model_classes.weights import read_weights
from sytorch import NormName


def ours(**options: Any) -> Run:
    """The repair with these of `edits.options.RepairOptions`; what every method is told alike is not among them."""
    return functools.partial(_repair, options)


def _repair(options: Mapping[str, Any], case: Case) -> Attempt:
    everything = RepairOptions(
        **{
            **options,
            "norm": NormName(options["norm"])
            if "norm" in options
            else norm_for(len(case.edit_set), options.get("metric", "training")),
        },
        margin=case.margin,
        param_bound=case.bound,
        time_limit=case.time_limit,
        layer="classifier.6",
    )
    output, path = case.folder / "repaired.pth", case.folder / "edit_set.pt"
    save_edit_set(case.edit_set, path)
    edit_set = load_edit_set(path)  # its images' positions are those of this file
    report = repair_edit_set(Task(case.bench, edit_set, path, everything, output, "", kept_weights="changed-layer"))
    seconds = sum(report.seconds.get(phase, 0.0) for phase in REPAIRING)
    if report.status != "repaired":
        return Attempt(None, seconds, report.status.replace("_", " "), report.message or "")
    proof = f"{report.solver}, relative gap {report.gap:.0e}"
    return Attempt(read_weights(output), seconds, message=proof)
