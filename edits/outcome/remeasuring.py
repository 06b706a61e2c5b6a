"""Measuring a finished repair again, from its files: its weights, its edit images, and the test images outside them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from edits.network.workbench import Workbench, open_workbench
from edits.outcome.generalization import generalization
from edits.outcome.measuring import measure_accuracy, measure_copies
from edits.outcome.outcomes import LogitsPair
from edits.outcome.report import RepairReport, current
from editset_helpers.class_order import load_for
from editset_helpers.copies import with_copies
from editset_helpers.edit_set import EditSet
from editset_helpers.location import locate
from editset_helpers.regions import Region
from editset_helpers.selection import check_numbers
from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.evaluation import BATCH_SIZE, predict_logits
from helpers.files.publishing import settle_folder
from helpers.files.writing import read_json
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weights import weights_hash

FIRST_LAYER = "features.0"
ROUNDING = 1e-5  # of a margin, relative to the largest logit
PAIRS = (
    *("edit_accuracy", "copies_accuracy", "test_accuracy", "drawdown_accuracy", "drawdown_undisputed"),
    "generalization",
)
POINTS = ("drawdown_points", "drawdown_undisputed_points")
FRACTIONS = (*(f"{name}_{when}" for name in PAIRS for when in ("before", "after")), *POINTS)
MARGINS = ("min_margin", "copies_min_margin")


@dataclass(frozen=True)
class Figure:
    """A figure of the report and what it is now; None where there is none."""

    name: str
    told: float | None
    measured: float | None
    agrees: bool


@dataclass(frozen=True)
class Remeasured:
    """What came of measuring a repair again.

    Attributes:
        report: the report's file.
        edit_set_size: how many images were repaired.
        drawdown_count: how many test images are outside them; None where that is not known.
        drawdown_note: what is to be known of that.
        figures: in the order of the report.
        agree: whether all of them are what the report says.
    """

    report: str
    edit_set_size: int
    drawdown_count: int | None
    drawdown_note: str | None
    figures: list[Figure]
    agree: bool


def remeasure(path: Path, data_root: Path | None = None, batch_size: int = BATCH_SIZE) -> Remeasured:
    """Measure a repair before and after, as its report says which weights and images are meant.

    Args:
        path: the report.
        data_root: where the images are now, if not where they were.
        batch_size: images at a time.

    Raises:
        UsageError: the file reports no repair, or one that kept no weights.
        ToolError: weights, edit set or test images are missing, or have changed since.
    """
    told = read_repair(path)
    bench = _bench(told, path, data_root)
    after = _repaired(told, path, bench)
    edit_set = _edit_set(told, path, bench)
    location = locate(edit_set, bench.test)
    check_numbers(tuple(told.disputed_images), bench.test)
    covered = with_copies(edit_set, Region(told.shifts, told.flip), bench.test)
    seen = _logits(bench.model, after, covered.images, batch_size)
    on_test = _logits(bench.model, after, bench.test.images, batch_size)
    now = RepairReport(**{**vars(told), **dict.fromkeys((*FRACTIONS, *MARGINS))})
    on_edits, on_copies = seen.split(len(edit_set))
    measure_copies(now, on_copies, covered.labels[len(edit_set) :])
    measure_accuracy(
        now, on_edits, edit_set, test_logits=on_test, test_labels=bench.test.labels, outside=location.outside
    )
    now.generalization_before, now.generalization_after = generalization(
        bench, after.state_dict(), edit_set, FIRST_LAYER
    )
    figures = _compared(told, now, ROUNDING * max(1.0, float(seen.after.abs().max())))
    count = None if location.outside is None else int(location.outside.sum())
    agree = all(figure.agrees for figure in figures)
    return Remeasured(str(path), len(edit_set), count, location.note, figures, agree)


def read_repair(path: Path) -> RepairReport:
    """The report of a repair that kept its weights; raises `ToolError` for any other file."""
    settle_folder(path.parent)
    content = read_json(path)
    known = {field.name for field in fields(RepairReport)}
    try:
        told = RepairReport(**{key: value for key, value in current(content).items() if key in known})
        numbers = [*told.edit_images, *told.disputed_images, told.edit_set_size, told.shifts]
        figures = [getattr(told, name) for name in (*FRACTIONS, *MARGINS)]
        is_sound = all(type(number) is int and abs(number) < 2**31 for number in numbers) and told.edit_set_size > 0
        is_sound &= all(figure is None or isinstance(figure, int | float) for figure in figures)
        is_sound &= all(isinstance(name, str) for name in (told.weights_path, told.edit_set_path, told.dataset))
    except (AttributeError, TypeError):
        is_sound = False
    if not is_sound:
        raise UsageError(f"{path} is no report of a repair; name the .json file beside repaired weights.")
    if told.status != "repaired" or told.output_path is None:
        what = "kept no weights" if told.status == "repaired" else f"ended with the status {told.status}"
        raise UsageError(f"There is nothing to measure: the repair of {path} {what}.")
    return told


def _bench(told: RepairReport, path: Path, data_root: Path | None) -> Workbench:
    root = data_root or (None if told.data_root is None else Path(told.data_root))
    dataset = DatasetName.DIGITS if root is None and told.dataset == DatasetName.DIGITS else DatasetName.CIFAR10
    bench = open_workbench(dataset, root, _place(told.weights_path, path))
    _check("test images", told.dataset, told.dataset_hash, bench.test.content_hash)
    _check("weights", told.weights_path, told.weights_hash_before, bench.weights_hash)
    return bench


def _repaired(told: RepairReport, path: Path, bench: Workbench) -> AlexNet:
    after = load_alexnet(_place(str(told.output_path), path), len(bench.test.class_names))
    _check("repaired weights", str(told.output_path), told.weights_hash_after, weights_hash(after))
    return after


def _edit_set(told: RepairReport, path: Path, bench: Workbench) -> EditSet:
    """The images that were repaired: those of the file at the report's positions."""
    whole = load_for(_place(told.edit_set_path, path), bench.test)
    positions = np.array(told.edit_images or range(told.edit_set_size), dtype=np.int64)
    chosen = whole.at(positions) if positions.min() >= 0 and positions.max() < len(whole) else whole
    _check("edit set", told.edit_set_path, told.edit_set_hash, chosen.content_hash)
    return chosen


def _place(stated: str, report: Path) -> Path:
    """A file where the report says it is, else beside the report."""
    beside = report.parent / Path(stated).name
    return beside if beside.is_file() and not Path(stated).is_file() else Path(stated)


def _check(what: str, name: str, told: str | None, found: str) -> None:
    """Raise `ToolError` where something is not what was repaired; older reports do not tell the test images."""
    if told is not None and told != found:
        raise ToolError(f"The {what} {name} are not those of the repair: {found[:12]}... instead of {told[:12]}...")


def _logits(before: AlexNet, after: AlexNet, images: Any, batch_size: int) -> LogitsPair:
    return LogitsPair(*(predict_logits(model, images, batch_size, progress="images") for model in (before, after)))


def _compared(told: RepairReport, now: RepairReport, rounding: float) -> list[Figure]:
    tolerances = dict.fromkeys(MARGINS, rounding) | dict.fromkeys(FRACTIONS, 1e-9)
    names = [field.name for field in fields(RepairReport) if field.name in tolerances]
    pairs = [(name, getattr(told, name), getattr(now, name)) for name in names]
    return [
        Figure(name, was, found, was is found if None in (was, found) else abs(was - found) <= tolerances[name])
        for name, was, found in pairs
        if (was, found) != (None, None)
    ]
