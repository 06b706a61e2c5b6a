"""A small sweep on the digits as a victim of `tests.kills`."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import experiment_runner
from edits.options import RepairOptions
from experiments.single import bench_at
from experiments.table.row import COLUMNS
from helpers.cli import DatasetName

TABLE = Path("results/victim.csv")
FOLDERS = [Path("results"), Path("artifacts/experiments/victim"), Path("data/edit_sets/digits/experiments")]
TIMES = {
    *("timestamp", "repair_runtime_seconds", "peak_memory_mb", "seconds_prepare", "seconds_solve", "seconds"),
    "experiment_seconds",
}
Rows = dict[str, dict[str, str]]


class SweepVictim:
    """Eight experiments, four of which are infeasible; a row of the undisturbed table is what each must be."""

    def __init__(self, baseline: Path):
        self._baseline = baseline
        self._rows: Rows = {}
        self._files: dict[Path, str] = {}
        self._seen: Rows = {}

    def warm_up(self) -> None:
        """The network, its images, and the last layer's metric."""
        import gurobipy  # noqa: F401
        import highspy  # noqa: F401

        bench = bench_at(DatasetName.DIGITS, None, self._baseline)
        bench.metric(RepairOptions(prepare="none"))
        _ = bench.test_logits, bench.training.content_hash

    def run(self) -> int:
        """All of the sweep that is not in the table."""
        asked = ["--dataset", "digits", "--weights", str(self._baseline), "--output", str(TABLE)]
        images = ["--edit-set-sizes", "1", "2", "--edit-set-types", "misclassified", "--seeds", "0", "1"]
        sys.argv = ["experiment_runner.py"]
        try:
            experiment_runner.app([*asked, *images, "--param-bounds", "5", "1e-6", "--prepare", "none"])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def keep_reference(self) -> None:
        """Rows and files, without times."""
        self._rows, self._files = _rows(), {path: _fingerprint(path) for path in _outputs()}
        repaired = [row for row in self._rows.values() if row["status"] == "repaired"]
        infeasible = [row for row in self._rows.values() if row["status"] == "infeasible"]
        assert (len(repaired), len(infeasible)) == (4, 4), Path("run.log").read_text()

    def check(self) -> None:
        """Rows are those of the reference, none is there no more, and so are the files; a row's are there."""
        rows = _rows()
        assert rows.keys() >= self._seen.keys(), f"lost: {self._seen.keys() - rows.keys()}"
        for name, row in rows.items():
            assert row == self._rows[name], f"the row of {name} is another than that of the undisturbed sweep"
            for column in ("edit_set_path", "repaired_model_path", "certificate_path"):
                assert not row[column] or Path(row[column]).is_file(), f"{row[column]} of {name} is not there"
        for path in _outputs():
            assert path in self._files, f"{path} is no file of the undisturbed sweep"
            assert _fingerprint(path) == self._files[path], f"{path} is another than that of the undisturbed sweep"
        self._seen = rows

    def check_complete(self) -> None:
        """All rows in their order, all files, and nothing hidden beside."""
        self.check()
        assert list(_rows()) == list(self._rows)
        assert set(_outputs()) == set(self._files)
        hidden = [path for folder in FOLDERS for path in folder.glob(".*") if not path.name.endswith(".lock")]
        assert not hidden, f"left behind: {hidden}"

    def begin_anew(self) -> None:
        """Without table, weights and edit sets; caches stay."""
        for folder in FOLDERS:
            shutil.rmtree(folder, ignore_errors=True)
        self._seen = {}


def _rows() -> Rows:
    """The table's rows without times, each of which is whole and there once."""
    if not TABLE.exists():
        return {}
    text = TABLE.read_text()
    assert text.endswith("\n"), f"the last row is torn: {text[-80:]!r}"
    header, *rows = csv.reader(text.splitlines())
    assert tuple(header) == COLUMNS
    assert {len(row) for row in rows} <= {len(header)}, "a row is torn"
    told = [{name: cell for name, cell in zip(header, row, strict=True) if name not in TIMES} for row in rows]
    by_id = {row["experiment_id"]: row for row in told}
    assert len(by_id) == len(rows), "a row is doubled"
    return by_id


def _outputs() -> list[Path]:
    """The files of experiments: not the table, nor what is hidden."""
    found = (path for folder in FOLDERS if folder.is_dir() for path in folder.iterdir())
    return sorted(path for path in found if path != TABLE and not path.name.startswith("."))


def _fingerprint(path: Path) -> str:
    """What a file holds, without times; reading it fails where it is half written."""
    if path.suffix == ".json":
        content: Any = json.loads(path.read_text())
        content = {key: value for key, value in content.items() if key not in TIMES}
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            content = {name: archive[name] for name in archive.files}
    elif path.suffix in (".pt", ".pth"):
        content = torch.load(path, weights_only=True)
    else:
        content = path.read_bytes()
    return hashlib.sha256(repr(_plain(content)).encode()).hexdigest()


def _plain(content: Any) -> Any:
    """Arrays as digests of their bytes, so that two contents are the same where their texts are."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, torch.Tensor):
        content = content.numpy()
    if isinstance(content, np.ndarray):
        return content.shape, str(content.dtype), hashlib.sha256(content.tobytes()).hexdigest()
    return content
