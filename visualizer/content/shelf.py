"""Everything the pages read, each kind of file through its cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from flask import current_app
from numpy.typing import NDArray

from editset_helpers.edit_set import EditSet, load_edit_set, metadata_path
from helpers.errors import ToolError
from helpers.files.writing import read_json
from helpers.images.source import DecodedImages, Split
from visualizer.caching import UNREADABLE, FileCache, version_of
from visualizer.content.edit_sets import Brief, Classes, ImageRow, count_classes, image_rows, read_brief
from visualizer.content.experiments import Results, read_results
from visualizer.content.files import EDIT_SETS, OUTCOMES, REPORTS, RESULTS, Kind, find_file, list_names
from visualizer.content.glimpse import Glimpse, load_glimpse
from visualizer.content.outcomes import Likely, Outcomes, load_outcomes
from visualizer.content.pictures import SplitPictures
from visualizer.content.reports import read_report


class Shelf:
    """The files of one project folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pictures = SplitPictures(root)
        self._edit_sets = FileCache(_load_set, 3, metadata_path)
        self._briefs = FileCache(read_brief, 1000)
        self._reports = FileCache(read_report, 10_000)
        self._outcomes = FileCache(load_outcomes, 8)
        self._glimpses = FileCache(load_glimpse, 64)
        self._results = FileCache(read_results, 32)

    def names(self, kind: Kind) -> list[str]:
        """The files of a kind."""
        return list_names(self.root, kind)

    def edit_set(self, name: str) -> tuple[EditSet, list[ImageRow], Classes]:
        """An edit set with its rows and counts; raises `ToolError`."""
        return self._edit_sets.get(find_file(self.root, EDIT_SETS, name))

    def edit_set_version(self, name: str) -> str:
        """A text that differs when the set may differ."""
        return version_of(find_file(self.root, EDIT_SETS, name))

    def brief(self, name: str) -> Brief:
        """What a list says of an edit set, without reading its images; raises `ToolError` for a damaged file."""
        return self._briefs.get(find_file(self.root, EDIT_SETS, name))

    def report(self, name: str) -> dict[str, Any] | None:
        """A report; None for other JSON files."""
        return self._reports.get(find_file(self.root, REPORTS, name))

    def outcomes(self, name: str) -> Outcomes:
        """The outcomes of a repair."""
        return self._outcomes.get(find_file(self.root, OUTCOMES, name))

    def glimpse(self, name: str) -> list[Glimpse]:
        """The first edit images of some outcomes, one of each class."""
        return self._glimpses.get(find_file(self.root, OUTCOMES, name))

    def latest_reports(self) -> list[str]:
        """The names of reports, those written last first."""
        return sorted(self.names(REPORTS), key=lambda name: _written(self.root / name), reverse=True)

    def repairs(self) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
        """All reports with their names, the latest first, and what is wrong with damaged files."""
        found: list[tuple[str, dict[str, Any]]] = []
        problems: list[str] = []
        for name in self.names(REPORTS):
            try:
                report = self._reports.get(self.root / name)
            except ToolError as error:
                problems.append(self.tell(error))
                continue
            if report is not None:
                found.append((name, report))
        return sorted(found, key=lambda entry: str(entry[1]["timestamp"]), reverse=True), problems

    def is_older(self, edit_set: str, report: str) -> bool:
        """Whether a set has not been written since a report: the report's pictures are then its own."""
        return _written(self.root / edit_set) <= _written(self.root / report)

    def results(self, name: str) -> Results:
        """A result table."""
        return self._results.get(find_file(self.root, RESULTS, name))

    def all_results(self) -> Iterator[tuple[str, Results]]:
        """All tables that can be read, with their names."""
        for name in self.names(RESULTS):
            with contextlib.suppress(ToolError):
                yield name, self.results(name)

    def planned(self, name: str) -> int | None:
        """How many rows a result table is to have, where its runner said so."""
        try:
            facts = read_json(find_file(self.root, REPORTS, f"{name.removesuffix('.csv')}_sweep.json"))
        except ToolError:
            return None
        count = facts.get("planned") if isinstance(facts, dict) else None
        return count if type(count) is int and count > 0 else None

    def seconds_since_change(self, name: str, now: float) -> float:
        """How long a result table has been as it is."""
        try:
            return max(0.0, now - find_file(self.root, RESULTS, name).stat().st_mtime)
        except OSError as error:
            raise ToolError(f"{name} has vanished.") from error

    def test_images(self, report: dict[str, Any], outcomes: Outcomes) -> NDArray[np.uint8]:
        """The test images of a report, (R, S, S, 3); raises `ToolError` where they are not here."""
        return self._images(report, outcomes.dataset_hash, "test").images

    def training_images(self, report: dict[str, Any], likely: Likely) -> DecodedImages:
        """The training images that are near edit images; raises `ToolError` where they are not here."""
        return self._images(report, likely.training_hash, "train")

    def _images(self, report: dict[str, Any], wanted_hash: str, split: Split) -> DecodedImages:
        try:
            return self.pictures.find(report, wanted_hash, split)
        except UNREADABLE as error:
            raise ToolError(f"the {split} images cannot be read: {error}") from error

    def tell(self, error: ToolError) -> str:
        """The sentence of an error, with file names as the project's folder sees them."""
        return str(error).replace(f"{self.root}/", "")


def shelf() -> Shelf:
    """The shelf of the application that answers."""
    return cast(Shelf, current_app.extensions["shelf"])


def _load_set(path: Path) -> tuple[EditSet, list[ImageRow], Classes]:
    edit_set = load_edit_set(path, num_classes=None)
    rows = image_rows(edit_set)
    return edit_set, rows, count_classes(edit_set, rows)


def _written(path: Path) -> float:
    """When, in seconds; 0 for a file that has vanished."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
