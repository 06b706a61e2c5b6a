"""Which images a repair broke or fixed, and what that cost each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.errors import ToolError
from visualizer.content.files import OUTCOMES, name_of
from visualizer.content.outcomes import Answers, Outcomes


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
