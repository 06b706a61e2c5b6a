"""How long phases are said to take."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edits.options import RepairOptions
from edits.pace import expected, seconds_of
from edits.task import Task
from helpers.images.preprocessing import Preprocessing


def task(images: int, classes: int = 10, size: int = 64, **options: Any) -> Task:
    test = SimpleNamespace(class_names=("a",) * classes, preprocessing=Preprocessing(size, size))
    facts = {"options": RepairOptions(**options), "constrained": range(images)}
    return cast(Task, SimpleNamespace(bench=SimpleNamespace(test=test), **facts))


@pytest.mark.parametrize("phase", ["program", "prepare", "solve", "write and verify", "generalization", "certify"])
def test_every_phase_of_a_usual_repair_has_an_estimate_that_grows(phase: str) -> None:
    few, many = (expected(phase, task(images)) for images in (20, 1_000))
    assert few is not None and many is not None and few < many < 15


def test_thousands_of_images_take_minutes() -> None:
    seconds = expected("solve", task(10_224, norm="l2"))
    assert seconds is not None and 120 < seconds < 600
    assert seconds_of(RepairOptions(norm="l2"), 10_224) > seconds


def test_larger_inputs_take_longer_but_for_the_program() -> None:
    usual, large = ([expected(phase, task(100, size=size)) for phase in ("certify", "solve")] for size in (64, 224))
    assert usual[1] == large[1] and large[0] == pytest.approx(1.5 + (usual[0] - 1.5) * 12.25)  # type: ignore[operator]


def test_what_is_not_known_is_not_told() -> None:
    assert expected("solve", task(50, classes=1_000)) is None
    assert expected("solve", task(50, norm="linf")) is None
    assert expected("certify", task(50, layer="classifier.4")) is None and expected("load", task(50)) is None


def test_a_program_ends_when_its_time_is_up() -> None:
    hidden = task(100, layer="classifier.4", norm="l2", time_limit=30.0)
    assert expected("solve", hidden) == 30
    hidden = cast(Task, SimpleNamespace(**vars(hidden) | {"options": replace(hidden.options, time_limit=None)}))
    assert expected("solve", hidden) == 110
