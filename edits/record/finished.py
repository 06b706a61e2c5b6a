"""Finished repairs, read from their files: the report, and the edit images that it is about."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np

from edits.record.report import RepairReport, current
from editset_helpers.class_order import load_for
from editset_helpers.edit_set import EditSet
from editset_helpers.joining import Member
from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.files.publishing import settle_folder
from helpers.files.writing import read_json
from helpers.images.datasets import ImageDataset
from model_classes.weights import read_weights, weights_hash

PAIRS = (
    *("edit_accuracy", "copies_accuracy", "test_accuracy", "drawdown_accuracy", "drawdown_undisputed"),
    "generalization",
)
POINTS = ("drawdown_points", "drawdown_undisputed_points")
FRACTIONS = (*(f"{name}_{when}" for name in PAIRS for when in ("before", "after")), *POINTS)
MARGINS = ("min_margin", "copies_min_margin")


def read_repair(path: Path) -> RepairReport:
    """The report of a repair that kept its weights; raises `ToolError` for any other file."""
    settle_folder(path.parent)
    content = read_json(path)
    known = {field.name for field in fields(RepairReport)}
    try:
        told = RepairReport(**{key: value for key, value in current(content).items() if key in known})
        numbers = [*told.edit_images, *told.disputed_images, told.edit_set_size, told.shifts]
        figures = [getattr(told, name) for name in (*FRACTIONS, *MARGINS)]
        asked = [told.margin, told.param_bound, *(step["margin"] for step in told.earlier)]
        numbers += [step["edit_set_size"] for step in told.earlier]
        is_sound = all(type(figure) in {int, float} for figure in asked)
        is_sound &= all(type(number) is int and abs(number) < 2**31 for number in numbers) and told.edit_set_size > 0
        is_sound &= all(figure is None or isinstance(figure, int | float) for figure in figures)
        is_sound &= all(isinstance(name, str) for name in (told.weights_path, told.edit_set_path, told.dataset))
    except (AttributeError, KeyError, TypeError):
        is_sound = False
    if not is_sound:
        raise UsageError(f"{path} is no report of a repair; name the .json file beside repaired weights.")
    if told.status != "repaired" or told.output_path is None:
        what = "kept no weights" if told.status == "repaired" else f"ended with the status {told.status}"
        raise UsageError(f"There is nothing to measure: the repair of {path} {what}.")
    return told


def images_source(told: RepairReport, data_root: Path | None = None) -> tuple[DatasetName, Path | None]:
    """The dataset of a report and its folder, which is ``data_root`` where the images are there now."""
    root = data_root or (None if told.data_root is None else Path(told.data_root))
    is_digits = root is None and told.dataset == DatasetName.DIGITS
    return DatasetName.DIGITS if is_digits else DatasetName.CIFAR10, root


def repaired_images(told: RepairReport, path: Path, test: ImageDataset) -> Member:
    """The images that were repaired: those of the edit set's file at the report's positions.

    Args:
        told: the report.
        path: its file.
        test: the test images that the report names.

    Raises:
        ToolError: the edit set is missing, damaged, or another one than then.
    """
    positions = np.array(told.edit_images or range(told.edit_set_size), dtype=np.int64)

    def chosen(file: Path) -> EditSet:
        whole = load_for(file, test)
        return whole.at(positions) if positions.min() >= 0 and positions.max() < len(whole) else whole

    file = _stated(told.edit_set_path, path, lambda file: chosen(file).content_hash == told.edit_set_hash)
    edit_set = chosen(file)
    check_same("edit set", told.edit_set_path, told.edit_set_hash, edit_set.content_hash)
    return Member(file, edit_set)


def stated_weights(stated: str, digest: str | None, report: Path) -> Path:
    """The file of weights that a report names, by their hash where several files could be meant."""
    return _stated(stated, report, lambda file: digest in {None, weights_hash(read_weights(file))})


def _stated(stated: str, report: Path, fits: Callable[[Path], bool]) -> Path:
    """Where the report says, beside it, or below a folder above it: names begin where the command ran then.

    The first file that fits; one that does not fit only where none does.
    """
    places = [Path(stated), report.parent / Path(stated).name, *(above / stated for above in report.resolve().parents)]
    there = dict[Path, Path]()
    for place in places:
        if place.is_file():
            there.setdefault(place.resolve(), place)
    if len(there) > 1:
        for place in there.values():
            with contextlib.suppress(ToolError):
                if fits(place):
                    return place
    return next(iter(there.values()), Path(stated))


def check_same(what: str, name: str, told: str | None, found: str) -> None:
    """Raise `ToolError` where something is not what was repaired; older reports do not tell the test images."""
    if told is not None and told != found:
        raise ToolError(f"The {what} {name} are not those of the repair: {found[:12]}... instead of {told[:12]}...")
