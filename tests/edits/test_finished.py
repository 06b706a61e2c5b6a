"""Where the images of a report are."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.corruptions import kept_repair
from edits.record.finished import _stated, images_source
from edits.record.report import RepairReport
from helpers.cli import DatasetName
from helpers.errors import UsageError

TOLD = {"status": "repaired", "message": None, "timestamp": "", "command": "", "edit_set_path": "", "edit_set_hash": ""}
REST = {"edit_set_size": 1, "weights_path": "", "weights_hash_before": ""}


@pytest.mark.parametrize(
    ("dataset", "root", "expected"),
    [
        ("pets", "pets", DatasetName.CIFAR10),
        ("cifar10", None, DatasetName.CIFAR10),
        ("digits", None, DatasetName.DIGITS),
    ],
)
def test_the_images_of_a_report(dataset: str, root: str | None, expected: DatasetName) -> None:
    told = RepairReport(**{**TOLD, **REST, "dataset": dataset, "data_root": root})  # type: ignore[arg-type]
    assert images_source(told) == (expected, None if root is None else Path(root))
    assert images_source(told, Path("moved")) == (DatasetName.CIFAR10, Path("moved"))


@given(st.lists(st.sampled_from(["gone", "other", "meant"]), min_size=4, max_size=4))
def test_a_file_that_a_report_names_is_the_one_that_was_meant(found: list[str]) -> None:
    """Where the command ran, beside the report, and in both folders above it: another file there is passed over."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        report = Path("old/results/artifacts/first.json")
        places = [
            Path("artifacts/base.pth"),
            report.with_name("base.pth"),
            *(above / "artifacts/base.pth" for above in (Path("old/results/artifacts"), Path("old"))),
        ]
        for place, content in zip(places, found, strict=True):
            if content != "gone":
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(content)
        chosen = _stated("artifacts/base.pth", report, lambda path: path.read_text() == "meant")
        best = next((what for what in ("meant", "other") if what in found), None)
        assert (chosen.read_text() if chosen.is_file() else None) == best
        if best is None:
            assert chosen == places[0]
        else:
            assert chosen.resolve() == places[found.index(best)].resolve()


def test_a_benchmark_of_a_file_that_is_no_report_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"status": "infeasible"}')
    with pytest.raises(UsageError, match="no report of a repair"):
        kept_repair(path, None)
