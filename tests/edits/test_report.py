"""Reports from before the last release are read in today's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edits.record.finished import read_repair
from edits.record.report import RepairReport, current, report_table
from helpers.files.writing import write_json
from visualizer.content.reports import read_report

PLACES: dict[str, Any] = {
    "edit_set_path": "e.pt",
    "edit_set_hash": "",
    "edit_set_size": 2,
    "dataset": "digits",
    "data_root": None,
}
NEW = RepairReport(
    status="repaired", message=None, timestamp="2026-01-01", command="run_repair.py", weights_path="w.pth",
    weights_hash_before="", output_path="r.pth", min_margin=2.0, **PLACES,
)  # fmt: skip


def _old(**values: Any) -> dict[str, Any]:
    """With what a preparation by moving a hidden layer once told, and without what has another name now."""
    told = {**NEW.as_json(), "prepare_leads": [5, 3], "prepare_steps": 2, "prepare": None, **values}
    del told["programs"]
    return told


def test_a_report_says_none_where_nothing_was_prepared() -> None:
    assert NEW.as_json()["prepare"] == "none" and "prepared" not in report_table(NEW)
    assert current(NEW.as_json()) == NEW.as_json()


def test_a_report_says_where_images_and_labels_are_from() -> None:
    assert "e.pt (" not in report_table(replace(NEW, edit_source="test"))
    assert "e.pt (training images)" in report_table(replace(NEW, edit_source="train"))
    assert "e.pt (pictures of files, 2 with labels that were given)" in report_table(
        replace(NEW, edit_source="files", relabeled=2)
    )


def test_a_report_has_drawdown_with_and_without_disputed_images() -> None:
    told = replace(NEW, edit_accuracy_after=1.0, drawdown_accuracy_before=0.5, drawdown_accuracy_after=0.4)
    assert "disputed" not in report_table(told)
    told = replace(told, disputed_images=[3], drawdown_undisputed_before=0.6, drawdown_undisputed_after=0.58)
    assert "without 1 disputed" in report_table(told) and "-2.00" in report_table(told)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"prepare": "none"}),
        ({"prepare": "classifier.4"}, {"prepare": "classifier.4"}),
        ({"prepare_copies": "mirrored"}, {}),
        ({"pattern": "held", "path": "held"}, {"pattern": "fixed", "path": "fixed"}),
        ({"rounds": 3}, {"programs": 3}),
        ({"pattern": "relinearise"}, {"pattern": "relinearise"}),
    ],
)
def test_an_older_report_is_read_as_todays(tmp_path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    write_json(tmp_path / "r.json", _old(**old))
    assert read_repair(tmp_path / "r.json").as_json() == {**NEW.as_json(), **new}
    shown = read_report(tmp_path / "r.json")
    assert shown is not None
    assert {name: shown[name] for name in new} == new
