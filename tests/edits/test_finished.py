"""Where the images of a report are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.corruptions import kept_repair
from edits.outcome.finished import images_source
from edits.outcome.report import RepairReport
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


def test_a_benchmark_of_a_file_that_is_no_report_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"status": "infeasible"}')
    with pytest.raises(UsageError, match="no report of a repair"):
        kept_repair(path, None)
