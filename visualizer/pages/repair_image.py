"""One image of a repair at a large size: what both networks say of it, and of its copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flask import abort, render_template, request, url_for
from numpy.typing import NDArray

from helpers.errors import ToolError
from visualizer.content.files import EDIT_SETS, name_of
from visualizer.content.outcomes import Answers, Outcomes
from visualizer.content.repairs import broken_and_fixed, image_outcomes
from visualizer.content.shelf import shelf
from visualizer.drawing.edit_pictures import EditPictures, edit_pictures
from visualizer.formatting import whole
from visualizer.telling.words import COPIES, title_of


@dataclass(frozen=True)
class Copy:
    """A copy of an edit image, its picture, and the classes that it is taken for."""

    how: str
    picture: str | None
    before: str
    after: str


@dataclass(frozen=True, eq=False)
class Shown:
    """An image: where its picture is, the classes' probabilities before and after, its copies, its neighbours.

    ``near`` are the training images most like it: position and class.
    """

    kind: str
    answers: Answers
    position: int
    picture: str | None
    why_no_picture: str
    probabilities: NDArray[np.float64] | None
    copies: list[Copy]
    order: list[int]
    near: list[tuple[int, str]] = field(default_factory=list)


def show_image(name: str, report: dict[str, Any], outcomes: Outcomes) -> str:
    """The page of the edit image or the test image that the address names."""
    is_edit = "edit_image" in request.args
    position = whole(request.args.get("edit_image" if is_edit else "test_image"), -1) or 0
    if not 0 <= position < len((outcomes.edit if is_edit else outcomes.test).labels):
        abort(404)
    shown = _edit_image(report, outcomes, position) if is_edit else _test_image(name, report, outcomes, position)
    place = shown.order.index(position) if position in shown.order else None
    return render_template(
        "repair_image.html",
        name=name,
        title=title_of(report),
        shown=shown,
        row=image_outcomes(outcomes, shown.answers, np.array([position]))[0],
        bars=_bars(outcomes, shown.probabilities, position, shown.answers),
        before=None if place in {None, 0} else shown.order[(place or 0) - 1],
        after=None if place is None or place + 1 == len(shown.order) else shown.order[place + 1],
        shown_hash=outcomes.likely.training_hash[:12] if outcomes.likely else "",
        key="edit_image" if is_edit else "test_image",
    )


def _edit_image(report: dict[str, Any], outcomes: Outcomes, position: int) -> Shown:
    edit_set = name_of(shelf().root, EDIT_SETS, report["edit_set_path"])
    found, likely = edit_pictures(report, outcomes, edit_set), outcomes.likely
    picture = None
    if edit_set is not None and found.positions is not None:
        picture = url_for("pictures.edit_set", name=edit_set, position=found.positions[position], v=found.version)
    probabilities = None if likely is None else likely.edit[:, position]
    copies = _copies(outcomes, position, edit_set, found)
    order = list(range(len(outcomes.edit.labels)))
    near = _near(report, outcomes, position)
    return Shown("edit", outcomes.edit, position, picture, found.why_not, probabilities, copies, order, near)


def _near(report: dict[str, Any], outcomes: Outcomes, position: int) -> list[tuple[int, str]]:
    """The training images most like an edit image, where they are known and here."""
    if outcomes.likely is None or not outcomes.likely.nearest.shape[1]:
        return []
    try:
        images = shelf().training_images(report, outcomes.likely)
    except ToolError:
        return []
    places = outcomes.likely.nearest[position].tolist()
    return [(place, images.class_names[images.labels[place]]) for place in places if 0 <= place < len(images.labels)]


def _copies(outcomes: Outcomes, position: int, edit_set: str | None, found: EditPictures) -> list[Copy]:
    if outcomes.likely is None:
        return []
    names, taken = outcomes.class_names, outcomes.likely.copies[:, position].T.tolist()
    kinds = COPIES[len(COPIES) - len(taken) :]  # a mirrored digit is no digit, so it is left out
    rows = []
    for number, (how, (before, after)) in enumerate(zip(kinds, taken, strict=False), len(COPIES) - len(taken)):
        picture = None
        if edit_set is not None and found.positions is not None:
            place = found.positions[position]
            picture = url_for("pictures.copy", name=edit_set, position=place, number=number, v=found.version)
        rows.append(Copy(how, picture, names[before], names[after]))
    return rows


def _test_image(name: str, report: dict[str, Any], outcomes: Outcomes, position: int) -> Shown:
    likely, picture, why_not = outcomes.likely, None, ""
    try:
        shelf().test_images(report, outcomes)
        picture = url_for("pictures.test", name=name, position=position, v=outcomes.dataset_hash[:12])
    except ToolError as error:
        why_not = shelf().tell(error)
    places = np.flatnonzero(likely.moved == position) if likely is not None else np.zeros(0, int)
    probabilities = likely.of_moved[:, places[0]] if likely is not None and len(places) else None
    masks = broken_and_fixed(outcomes)
    kind = next((key for key in ("broken", "fixed") if masks[key][position]), None)
    order = np.flatnonzero(masks[kind]).tolist() if kind else []
    return Shown("test", outcomes.test, position, picture, why_not, probabilities, [], order)


def _bars(
    outcomes: Outcomes, probabilities: NDArray[np.float64] | None, position: int, answers: Answers
) -> list[tuple[str, bool, float, float]]:
    """Class, whether it is the right one, and its probabilities before and after; the likeliest first, ten at most."""
    if probabilities is None:
        return []
    label, (before, after) = int(answers.labels[position]), probabilities
    order = np.argsort(-np.maximum(before, after), kind="stable")[:10].tolist()
    chosen = order if label in order else [*order[:9], label]
    return [
        (outcomes.class_names[place], place == label, float(before[place]), float(after[place])) for place in chosen
    ]
