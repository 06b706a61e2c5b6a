"""Repairs of the digits, one upon the other with the same output, as a victim of `tests.kills`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from checker.certificate import Certificate
from edits.network.workbench import open_workbench
from edits.options import RepairOptions
from edits.pipeline import repair_edit_set
from edits.task import Task
from editset_helpers.building import select
from editset_helpers.edit_set import save_edit_set
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.files.outputs import certificate_path, outcomes_path, report_path
from helpers.files.publishing import settle
from model_classes.weights import read_weights, weights_hash

OUTPUT = Path("artifacts/repaired.pth")
EDIT_SET = Path("data/edit_sets/digits/victim_edit_dataset.pt")
OPTIONS = RepairOptions(prepare="none", norm="l2")
MARGINS = (2.0, 3.0, 1e6)  # the last one is infeasible, and changes nothing of what is there


class RepairVictim:
    """The margins that are asked take turns; what is there is always one whole repair, the last or the one before."""

    def __init__(self, baseline: Path):
        self._baseline = baseline
        self._turn = 0
        self._there: float | None = None  # the margin of the repair whose files are there
        self._hashes: dict[float, str] = {}

    def warm_up(self) -> None:
        """The network, its images, the edit set, and the last layer's metric."""
        import gurobipy  # noqa: F401
        import highspy  # noqa: F401

        bench = open_workbench(DatasetName.DIGITS, None, self._baseline)
        edit_set = select(Selection("misclassified"), bench.test, bench.test_logits)
        save_edit_set(edit_set, EDIT_SET)
        bench.metric(OPTIONS)
        OUTPUT.parent.mkdir()
        self._task = Task(bench, edit_set, EDIT_SET, OPTIONS, OUTPUT, "a test")

    def run(self) -> int:
        """One repair."""
        repair_edit_set(replace(self._task, options=replace(OPTIONS, margin=MARGINS[self._turn])))
        return 0

    def keep_reference(self) -> None:
        """What an undisturbed run has made is what the next one finds."""
        self._there = self._seen()
        assert self._there == MARGINS[0], Path("run.log").read_text()

    def check(self) -> None:
        """The files are those of one repair: of the last that was complete, or of the one that was being made."""
        settle(OUTPUT)
        found = self._seen()
        assert found in (self._there, MARGINS[self._turn]), f"{found} is there, neither {self._there} nor the new one"
        self._there = found
        left = [path.name for path in OUTPUT.parent.iterdir() if path.is_dir() and path.name.endswith(".complete")]
        assert not left, f"{left} was not carried out"

    def check_complete(self) -> None:
        """The new repair is there, and nothing but its files."""
        wanted = MARGINS[self._turn]
        assert self._seen() == (self._there if wanted == MARGINS[2] else wanted)

    def begin_anew(self) -> None:
        """The next margin; the files stay."""
        self._turn = (self._turn + 1) % len(MARGINS)

    def _seen(self) -> float | None:
        """The margin of the repair that is there; raises `AssertionError` unless its files belong together."""
        if not OUTPUT.exists():
            assert not [path for path in OUTPUT.parent.glob("repaired*") if "_failed" not in path.name]
            return None
        report = json.loads(report_path(OUTPUT).read_text())
        found = weights_hash(read_weights(OUTPUT))
        outcomes = torch.load(outcomes_path(OUTPUT), weights_only=True)
        checked = Certificate(certificate_path(OUTPUT)).check()
        assert checked.accepted, checked.lines
        assert report["status"] == "repaired" and report["weights_hash_after"] == found
        assert checked.facts["network"]["hash"] == found and checked.facts["margin"] == report["margin"]
        assert float(outcomes["edit_margin_after"].min()) >= report["margin"]
        assert self._hashes.setdefault(report["margin"], found) == found, "the same command made other weights"
        return float(report["margin"])
