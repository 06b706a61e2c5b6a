"""Commands that the pages offer, to be typed in the project's folder."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

PYTHON = "uv run python "
SWEEP = [
    "experiment_runner.py",
    "--edit-set-types",
    "misclassified",
    "--edit-set-sizes",
    "10",
    "100",
    "--seeds",
    "0",
    "1",
]
FIRST = [
    ("Repair a small network of handwritten digits; nothing has to be there", ["--dataset", "digits"]),
    ("Repair a network of CIFAR-10", ["--max-samples", "100"]),
]


def next_steps(report: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What to do after a repair (None: there is none yet), each with the command that does it."""
    if report is None or report["status"] != "repaired" or not report["output_path"]:
        return [(told, _line("run_repair.py", "misclassified", *options)) for told, options in FIRST]
    data = _data(report)
    steps = [("Try many sizes in a sweep", sweep(data))]
    if (report["test_accuracy_after"] or 0.0) < 1:
        steps.insert(0, ("Repair next week's mistakes upon it", _onward(report, data)))
    if report["certificate_path"]:
        steps.insert(0, ("Let the checker look at it again", check(report["certificate_path"])))
    return steps


def _onward(report: dict[str, Any], data: Sequence[str]) -> str:
    """A repair upon a repair, which promises no less than that."""
    weights = PurePosixPath(report["output_path"])
    upon = ["--weights", str(weights), "--output", str(weights.with_name(f"{weights.stem}_next.pth"))]
    usual = (("margin", 2.0), ("param_bound", 5.0), ("shifts", 0))
    other = [(key, report[key]) for key, value in usual if report[key] not in (value, None)]
    kept = [(f"--{key.replace('_', '-')}", f"{value:g}") for key, value in other]
    flip = ["--flip"] if report["flip"] else []
    few = ["--max-samples", "20", "--seed", "1"]
    return _line("run_repair.py", "misclassified", *few, *upon, *itertools.chain(*kept), *flip, *data)


def sweep(data: Sequence[str] = ()) -> str:
    """What runs a small sweep; ``data`` names the dataset where it is not the usual one."""
    return _line(*SWEEP, *data)


def repair_set(name: str, dataset: str | None) -> str:
    """What repairs an edit set."""
    return _line("run_repair.py", "file", name, *(["--dataset", "digits"] if dataset == "digits" else []))


def check(certificate: str) -> str:
    """What lets the checker look at a certificate."""
    return _line("verify.py", certificate)


def undo(report: dict[str, Any]) -> str:
    """What writes the network before a repair."""
    weights = PurePosixPath(report["output_path"])
    return _line("repairs.py", "undo", str(weights), "--output", str(weights.with_name(f"{weights.stem}_undone.pth")))


def compare(first: dict[str, Any], second: dict[str, Any] | None) -> str | None:
    """What compares two networks on the screen; the first with that before where there is no second."""
    before, after = (first["weights_path"], first) if second is None else (first["output_path"], second)
    if not before or not after["output_path"]:
        return None
    return _line("repairs.py", "compare", before, after["output_path"], *_data(first))


def _data(report: dict[str, Any]) -> list[str]:
    known = report["dataset"] in {"cifar10", "digits"} and report["data_root"] is None
    if known:
        return ["--dataset", "digits"] if report["dataset"] == "digits" else []
    return ["--data-root", report["data_root"]] if report["data_root"] else []


def _line(*words: str) -> str:
    return PYTHON + shlex.join(words)
