"""Reports of repairs, read so that every key is of its type, and what they say of planting."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from edits.record.report import STEP, RepairReport, current
from helpers.files.writing import read_json
from visualizer.content.edit_sets import integer, number

REQUIRED = {field.name for field in fields(RepairReport) if field.default is field.default_factory is MISSING}
TEXTS = {field.name for field in fields(RepairReport) if str(field.type).startswith("str")}
WHOLE = {field.name for field in fields(RepairReport) if str(field.type).startswith("int")}
LISTS = {field.name for field in fields(RepairReport) if str(field.type).startswith("list")}
NUMBERS = {field.name for field in fields(RepairReport) if str(field.type).startswith("float")}
FLAGS = {field.name for field in fields(RepairReport) if str(field.type).startswith("bool")}


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
    for key in LISTS - {"earlier"}:
        numbers = content.get(key)
        report[key] = numbers if isinstance(numbers, list) and None not in map(integer, numbers) else []
    earlier = content.get("earlier")
    steps = [step for step in earlier if isinstance(step, dict)] if isinstance(earlier, list) else []
    report["earlier"] = [{key: _checked(key, step.get(key)) for key in STEP} for step in steps]
    return report


def _checked(key: str, value: Any) -> Any:
    if key in TEXTS:
        return value if isinstance(value, str) else None
    if key in NUMBERS:
        return number(value)
    if key in FLAGS:
        return value if isinstance(value, bool) else None
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
