"""Reports of repairs, and which images a repair broke or fixed."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edits.outcome.report import RepairReport, current
from helpers.errors import ToolError
from helpers.files.writing import read_json
from visualizer.content.edit_sets import integer, number
from visualizer.content.files import OUTCOMES, name_of
from visualizer.content.outcomes import Answers, Outcomes

REQUIRED = {field.name for field in fields(RepairReport) if field.default is field.default_factory is MISSING}
TEXTS = {field.name for field in fields(RepairReport) if str(field.type).startswith("str")}
WHOLE = {field.name for field in fields(RepairReport) if str(field.type).startswith("int")}
LISTS = {field.name for field in fields(RepairReport) if str(field.type).startswith("list")}
NUMBERS = {field.name for field in fields(RepairReport) if str(field.type).startswith("float")}


def read_report(path: Path) -> dict[str, Any] | None:
    """A report with every key, each of its type or None; None for JSON that is no report, such as a training record.

    Raises:
        ToolError: the file is missing, or no JSON.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= REQUIRED:
        return None
    content = current(content)
    report = {field.name: _checked(field.name, content.get(field.name)) for field in fields(RepairReport)}
    seconds = content.get("seconds")
    named = seconds.items() if isinstance(seconds, dict) else ()
    report["seconds"] = {str(name): value for name, value in named if number(value) is not None}
    for key in LISTS:
        numbers = content.get(key)
        report[key] = numbers if isinstance(numbers, list) and None not in map(integer, numbers) else []
    return report


def _checked(key: str, value: Any) -> Any:
    if key in TEXTS:
        return value if isinstance(value, str) else None
    if key in NUMBERS:
        return number(value)
    return integer(value) if key in WHOLE else None


def total_seconds(report: dict[str, Any]) -> float:
    """Of all phases."""
    return float(sum(report["seconds"].values()))


@dataclass(frozen=True)
class NotSeparable:
    """An edit image to which another image responds as much as it does itself.

    Attributes:
        position: in the edit set's file, or among the repaired images where the report does not say more.
        test_index: in the test set; None where it is not known.
        training_image: the other one, by its position in the training split; None where it is an edit image.
    """

    position: int
    test_index: int | None
    training_image: int | None


def tells_planting(report: dict[str, Any]) -> bool:
    """Whether units became detectors, and the report says all that the page shows of them; older reports do not."""
    told = report["planted_units"] is not None and report["planted_loss"] is not None
    fit = len(report["not_separable"]) == len(report["nearest_training_images"])
    return told and fit and report["prepare"] == "spare-units"


def not_separable(report: dict[str, Any]) -> list[NotSeparable]:
    """The edit images that are not separable, of a report that `tells_planting`."""
    pairs = zip(report["not_separable"], report["nearest_training_images"], strict=True)
    positions, indices = (dict(enumerate(report[key])) for key in ("edit_images", "edit_test_indices"))
    return [
        NotSeparable(positions.get(place, place), _known(indices.get(place, -1)), _known(other))
        for place, other in pairs
    ]


def _known(index: int) -> int | None:
    return index if index >= 0 else None


def outcomes_name(root: Path, name: str, report: dict[str, Any]) -> str:
    """The name of the outcomes of a report.

    Raises:
        ToolError: the repair wrote none, or they are not beside the report.
    """
    if report["outcomes_path"] is None:
        raise ToolError("this repair wrote no outcomes, since it kept no weights.")
    beside = f"{name.removesuffix('.json')}_outcomes.pt"
    if name_of(root, OUTCOMES, beside) is None:
        raise ToolError(f"the file of the outcomes, {beside}, is not here any more.")
    return beside


def check_same_repair(report: dict[str, Any], outcomes: Outcomes) -> None:
    """Raise `ToolError` where outcomes and report are of different repairs, as after one of them was copied."""
    accuracy = float(outcomes.test.right_after.mean()) if len(outcomes.test.labels) else 0.0
    told = report["test_accuracy_after"]
    if len(outcomes.edit.labels) != report["edit_set_size"] or (told is not None and abs(told - accuracy) > 1e-6):
        raise ToolError("the outcomes beside this report are those of another repair.")


@dataclass(frozen=True)
class ClassOutcome:
    """What happened to the images of one class outside the edit set; ``gained`` is the mean change of margin."""

    label: int
    name: str
    count: int
    broken: int
    fixed: int
    gained: float | None


@dataclass(frozen=True)
class ImageOutcome:
    """What happened to one image; ``position`` in the test images or in the edit set."""

    position: int
    true: str
    before: str
    after: str
    margin_before: float
    margin_after: float


def broken_and_fixed(outcomes: Outcomes) -> dict[str, NDArray[np.bool_]]:
    """Which test images outside the edit set (all, where that is not known) the repair broke, and which it fixed."""
    test, outside = outcomes.test, outcomes.outside()
    shown = np.ones(len(test.labels), dtype=bool) if outside is None else outside
    return {
        "broken": shown & test.right_before & ~test.right_after,
        "fixed": shown & ~test.right_before & test.right_after,
        "all": shown,
    }


def by_class(outcomes: Outcomes, masks: dict[str, NDArray[np.bool_]]) -> list[ClassOutcome]:
    """One row a class."""
    test, rows = outcomes.test, []
    for label, name in enumerate(outcomes.class_names):
        mine = masks["all"] & (test.labels == label)
        broken, fixed = (int((masks[key] & mine).sum()) for key in ("broken", "fixed"))
        gained = float(test.gained[mine].mean()) if mine.any() else None
        rows.append(ClassOutcome(label, name, int(mine.sum()), broken, fixed, gained))
    return rows


def image_outcomes(outcomes: Outcomes, answers: Answers, positions: NDArray[np.int64]) -> list[ImageOutcome]:
    """One row an image."""
    names = outcomes.class_names
    return [
        ImageOutcome(
            position,
            names[answers.labels[position]],
            names[answers.predicted_before[position]],
            names[answers.predicted_after[position]],
            float(answers.margin_before[position]),
            float(answers.margin_after[position]),
        )
        for position in positions.tolist()
    ]
