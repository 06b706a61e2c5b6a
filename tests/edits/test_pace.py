"""How long phases are said to take."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edits.options import RepairOptions
from edits.pace import expected
from edits.task import Task


def task(images: int, classes: int = 10, **options: Any) -> Task:
    test = SimpleNamespace(class_names=("a",) * classes)
    facts = {"options": RepairOptions(**options), "constrained": range(images)}
    return cast(Task, SimpleNamespace(bench=SimpleNamespace(test=test), **facts))


@pytest.mark.parametrize("phase", ["program", "prepare", "solve", "write and verify", "generalization", "certify"])
def test_every_phase_of_a_usual_repair_has_an_estimate_that_grows(phase: str) -> None:
    few, many = (expected(phase, task(images)) for images in (20, 1_000))
    assert few is not None and many is not None and few < many < 15


def test_what_is_not_known_is_not_told() -> None:
    assert expected("solve", task(50, classes=1_000)) is None
    assert expected("solve", task(50, norm="linf")) is None
    assert expected("certify", task(50, layer="classifier.4")) is None and expected("load", task(50)) is None


def test_a_program_ends_when_its_time_is_up() -> None:
    hidden = task(100, layer="classifier.4", norm="l2", time_limit=30.0)
    assert expected("solve", hidden) == 30
    hidden = cast(Task, SimpleNamespace(**vars(hidden) | {"options": replace(hidden.options, time_limit=None)}))
    assert expected("solve", hidden) == 110
