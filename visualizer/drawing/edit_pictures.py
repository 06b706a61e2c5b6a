"""The edit images of a repair, with their pictures from the edit set's own file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flask import request

from helpers.errors import ToolError
from visualizer.content.edit_sets import ImageRow
from visualizer.content.outcomes import Outcomes
from visualizer.content.repairs import image_outcomes
from visualizer.content.shelf import shelf
from visualizer.formatting import page_of, whole
from visualizer.telling.story import where_is

EDITS_PER_PAGE = 24


@dataclass(frozen=True)
class EditPictures:
    """Where the edit images' pictures are: positions in an edit set's file, or why there are none."""

    positions: list[int] | None
    version: str = ""
    why_not: str = ""


def edit_images(report: dict[str, Any], outcomes: Outcomes, edit_set_name: str | None) -> dict[str, Any]:
    """A page of the edit images, before and after, and where their pictures are."""
    rows = image_outcomes(outcomes, outcomes.edit, np.arange(len(outcomes.edit.labels)))
    page = page_of(rows, whole(request.args.get("edits"), 1) or 1, EDITS_PER_PAGE)
    return {"page": page, "pictures": edit_pictures(report, outcomes, edit_set_name)}


def edit_pictures(report: dict[str, Any], outcomes: Outcomes, name: str | None) -> EditPictures:
    """Where the edit images' pictures are, if they are still those of the repair."""
    if name is None:
        path = report["edit_set_path"]
        return EditPictures(None, why_not=f"the edit set {path} is {where_is(shelf().root, path)}.")
    try:
        edit_set, rows, _ = shelf().edit_set(name)
        version = shelf().edit_set_version(name)
    except ToolError as error:
        return EditPictures(None, why_not=shelf().tell(error))
    positions = _positions(outcomes, rows)
    found = [position for position in positions if position is not None and position < len(edit_set)]
    if len(found) < len(positions) or edit_set.labels[found].tolist() != outcomes.edit.labels.tolist():
        return EditPictures(None, why_not=f"the edit set {name} has changed since this repair.")
    return EditPictures(found, version)


def _positions(outcomes: Outcomes, rows: list[ImageRow]) -> list[int | None]:
    """Where the edit images are in their set; of older outcomes, by the numbers that the set says."""
    if outcomes.edit_positions is not None:
        return [position if position >= 0 else None for position in outcomes.edit_positions.tolist()]
    places = {row.test_index: row.position for row in rows if row.test_index is not None}
    indices = outcomes.edit_indices.tolist()
    return [places.get(index) for index in indices] if min(indices, default=-1) >= 0 else list(range(len(indices)))


def contradicting(report: dict[str, Any], edit_set_name: str | None) -> list[ImageRow]:
    """The images that contradict each other, where the edit set is still here and says which they are."""
    if edit_set_name is None or not report["contradicting_images"]:
        return []
    try:
        _, rows, _ = shelf().edit_set(edit_set_name)
    except ToolError:
        return []
    named, places = report["contradicting_images"], report["edit_images"]
    if not places:
        return [row for row in rows if row.test_index in named]
    numbers = report["edit_test_indices"]
    known = numbers if min(numbers, default=-1) >= 0 else range(len(places))
    chosen = {place: number for place, number in zip(places, known, strict=False) if number in named}
    is_number = known is numbers
    return [
        replace(row, test_index=chosen[row.position] if is_number else None) for row in rows if row.position in chosen
    ]
