"""What a repair's page says around its figures: the chain that it belongs to, its sweep, its commands."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from visualizer.content.files import REPORTS, name_of
from visualizer.content.shelf import Shelf
from visualizer.telling import commands
from visualizer.telling.words import dataset_name, title_of, verdict_of


def story_of(report: dict[str, Any], shelf: Shelf) -> dict[str, Any]:
    """What the template of a repair reads besides its report."""
    kept = report["status"] == "repaired" and report["output_path"]
    certificate = report["certificate_path"]
    return {
        "title": title_of(report),
        "dataset": dataset_name(report["dataset"]),
        "verdict": verdict_of(report),
        "chain": chain_of(report, shelf.root),
        "tables": tables_of(report, shelf),
        "contradicting_words": contradiction_in_words(report),
        "where_set": where_is(shelf.root, report["edit_set_path"]),
        "check": commands.check(certificate) if certificate else None,
        "undo": commands.undo(report) if kept else None,
    }


def report_name(root: Path, weights: str | None) -> str | None:
    """The name of the report beside repaired weights; None where there is none."""
    path = PurePosixPath(weights or "")
    return name_of(root, REPORTS, f"{path.parent / path.stem}.json") if path.name else None


def chain_of(report: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    """The repairs from the first to this one, each with its page and how many images were new; none for a first."""
    if not report["earlier"]:
        return []
    steps, before = [], 0
    for step in [*report["earlier"], report]:
        count = step["edit_set_size"] or 0
        steps.append({**step, "page": report_name(root, step["output_path"]), "new": count - before})
        before = count
    return steps


def tables_of(report: dict[str, Any], shelf: Shelf) -> list[str]:
    """The result tables that have a row of this repair."""
    weights, tables = report["output_path"], dict(shelf.all_results())
    return [name for name, results in tables.items() if weights and _has(results.table["repaired_model_path"], weights)]


def _has(paths: Any, weights: str) -> bool:
    return bool((paths == weights).any())


def contradiction_in_words(report: dict[str, Any]) -> str:
    """``test images 17 and 20``: the numbers, and what they number."""
    numbers = [str(number) for number in report["contradicting_images"]]
    is_test = bool(report["edit_test_indices"]) and min(report["edit_test_indices"]) >= 0
    kind = "test" if is_test else "edit"
    listed = " and ".join([", ".join(numbers[:-1]), numbers[-1]] if len(numbers) > 1 else numbers)
    place = "" if is_test else ", counted from 0 in the order of the edit set"
    return f"{kind} {'image' if len(numbers) == 1 else 'images'} {listed}{place}"


def where_is(root: Path, path: str | None) -> str:
    """Why a file that a report names cannot be shown."""
    try:
        is_there = bool(path) and (root / str(path)).is_file()
    except (OSError, ValueError):
        is_there = False
    return "outside the folders that this page shows" if is_there else "not here any more"
