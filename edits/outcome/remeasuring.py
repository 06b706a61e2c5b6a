"""Measuring a finished repair again, from its files: its weights, its edit images, and the test images outside them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edits.network.workbench import Workbench, open_workbench
from edits.outcome.likeness import answers_on_copies, generalization
from edits.outcome.measuring import measure_accuracy, measure_copies
from edits.outcome.outcomes import LogitsPair
from edits.record.finished import (
    FRACTIONS,
    MARGINS,
    check_same,
    images_source,
    read_repair,
    repaired_images,
    stated_weights,
)
from edits.record.report import RepairReport
from editset_helpers.copies import with_copies
from editset_helpers.location import locate
from editset_helpers.regions import Region
from editset_helpers.selection import check_numbers
from helpers.evaluation import BATCH_SIZE, predict_logits
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weights import weights_hash

FIRST_LAYER = "features.0"
ROUNDING = 1e-5  # of a margin, relative to the largest logit


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
    edit_set = repaired_images(told, path, bench.test).edit_set
    location = locate(edit_set, bench.test)
    check_numbers(tuple(told.disputed_images), bench.test)
    covered = with_copies(edit_set, Region(told.shifts, told.flip), bench.test)
    seen = _logits(bench.model, after, covered.images, batch_size)
    on_test = _logits(bench.model, after, bench.test, batch_size)
    now = RepairReport(**{**vars(told), **dict.fromkeys((*FRACTIONS, *MARGINS))})
    on_edits, on_copies = seen.split(len(edit_set))
    measure_copies(now, on_copies, covered.labels[len(edit_set) :])
    measure_accuracy(
        now, on_edits, edit_set, test_logits=on_test, test_labels=bench.test.labels, outside=location.outside
    )
    answers = answers_on_copies(bench, after.state_dict(), edit_set, FIRST_LAYER)
    now.generalization_before, now.generalization_after = generalization(answers, edit_set)
    figures = _compared(told, now, ROUNDING * max(1.0, float(seen.after.abs().max())))
    count = None if location.outside is None else int(location.outside.sum())
    agree = all(figure.agrees for figure in figures)
    return Remeasured(str(path), len(edit_set), count, location.note, figures, agree)


def _bench(told: RepairReport, path: Path, data_root: Path | None) -> Workbench:
    stated, digest = told.first_weights or (told.weights_path, told.weights_hash_before)
    bench = open_workbench(*images_source(told, data_root), stated_weights(stated, digest, path))
    check_same("test images", told.dataset, told.dataset_hash, bench.test.content_hash)
    check_same("weights", stated, digest, bench.weights_hash)
    return bench


def _repaired(told: RepairReport, path: Path, bench: Workbench) -> AlexNet:
    file = stated_weights(str(told.output_path), told.weights_hash_after, path)
    after = load_alexnet(file, len(bench.test.class_names))
    check_same("repaired weights", str(told.output_path), told.weights_hash_after, weights_hash(after))
    return after


def _logits(before: AlexNet, after: AlexNet, images: Any, batch_size: int) -> LogitsPair:
    return LogitsPair(*(predict_logits(model, images, batch_size, told="images") for model in (before, after)))


def _compared(told: RepairReport, now: RepairReport, rounding: float) -> list[Figure]:
    tolerances = dict.fromkeys(MARGINS, rounding) | dict.fromkeys(FRACTIONS, 1e-9)
    names = [field.name for field in fields(RepairReport) if field.name in tolerances]
    pairs = [(name, getattr(told, name), getattr(now, name)) for name in names]
    return [
        Figure(name, was, found, was is found if None in (was, found) else abs(was - found) <= tolerances[name])
        for name, was, found in pairs
        if (was, found) != (None, None)
    ]
