"""The pages of the repairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from flask import Blueprint, render_template, request
from numpy.typing import NDArray

from helpers.errors import ToolError
from visualizer.content.files import EDIT_SETS, UnknownFileError, name_of
from visualizer.content.outcomes import Outcomes
from visualizer.content.repairs import (
    broken_and_fixed,
    by_class,
    check_same_repair,
    image_outcomes,
    outcomes_name,
)
from visualizer.content.reports import not_separable, tells_planting, total_seconds
from visualizer.content.shelf import shelf
from visualizer.drawing.edit_pictures import contradicting, edit_images
from visualizer.drawing.repair_charts import change_figure, classes_figure, gains_figure, margins_figure
from visualizer.formatting import page_of, whole
from visualizer.pages.repair_image import show_image
from visualizer.security import allow_plots
from visualizer.telling.cards import Card, in_order, matching, picture_source
from visualizer.telling.commands import next_steps
from visualizer.telling.story import story_of
from visualizer.telling.words import harm_of

pages = Blueprint("repairs", __name__)
PER_PAGE = 48
LISTED = 100
OUTSIDE_SORTS = {"gain": "margin lost most, first", "-gain": "margin gained most, first", "position": "test order"}


@pages.get("/repairs")
def index() -> str:
    """The reports there are; JSON files that are no reports are passed over, damaged ones are named."""
    found, problems = shelf().repairs()
    order, words = request.args.get("sort", "-made"), request.args.get("words", "")[:200]
    cards = in_order(matching([Card(name, report) for name, report in found], words), order)
    page = page_of(cards, whole(request.args.get("page"), 1) or 1, LISTED)
    shown = [Card(card.name, card.report, *picture_source(card.name, card.report)) for card in page.items]
    looked = {"page": page, "cards": shown, "sort": order, "words": words}
    return render_template("repairs.html", **looked, any=found, problems=problems, first_steps=next_steps(None))


@pages.get("/repairs/<path:name>")
def show(name: str) -> str:
    """One repair: what was asked, guaranteed and paid, and what happened to the images and the weights."""
    allow_plots()
    report = report_of(name)
    if "edit_image" in request.args or "test_image" in request.args:
        return show_image(name, report, outcomes_of(name, report))
    edit_set_name = name_of(shelf().root, EDIT_SETS, report["edit_set_path"])
    shown: dict[str, Any] = {"name": name, "report": report, "total": total_seconds(report), "edit_set": edit_set_name}
    shown |= story_of(report, shelf())
    shown["not_separable"] = not_separable(report) if tells_planting(report) else None
    shown["contradicting"] = contradicting(report, edit_set_name)
    try:
        outcomes = outcomes_of(name, report)
    except ToolError as error:
        return render_template("repair.html", **shown, outcomes=None, why_not=shelf().tell(error))
    edits = edit_images(report, outcomes, edit_set_name)
    return render_template("repair.html", **shown, outcomes=outcomes, edits=edits, **_outside(report, outcomes))


def report_of(name: str) -> dict[str, Any]:
    """A report; raises `UnknownFileError` where the file is none."""
    report = shelf().report(name)
    if report is None:
        raise UnknownFileError(f"{name} is not the report of a repair.")
    return report


def outcomes_of(name: str, report: dict[str, Any]) -> Outcomes:
    """The outcomes of a report; raises `ToolError` where they are not here, or another repair's."""
    outcomes = shelf().outcomes(outcomes_name(shelf().root, name, report))
    check_same_repair(report, outcomes)
    return outcomes


def _outside(report: dict[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """The test images outside the edit set: by class, and a page of those broken or fixed."""
    masks = broken_and_fixed(outcomes)
    classes = by_class(outcomes, masks)
    kind = "fixed" if request.args.get("show") == "fixed" else "broken"
    label, sort = whole(request.args.get("class")), request.args.get("sort", "gain")
    positions = _sorted(outcomes, np.flatnonzero(_of_class(outcomes, masks[kind], label)), sort)
    page = page_of(
        image_outcomes(outcomes, outcomes.test, positions), whole(request.args.get("page"), 1) or 1, PER_PAGE
    )
    figures = {
        "classes": classes_figure(classes),
        "margins": margins_figure(outcomes.test, masks),
        "gains": gains_figure(outcomes.test.gained[masks["all"]]),
    }
    weights = [change for change in outcomes.changes if len(change.shape) > 1]
    figures |= {
        f"change-{number}": change_figure(change, outcomes.class_names) for number, change in enumerate(weights)
    }
    return {
        "classes": classes,
        "harm": harm_of(classes),
        "totals": {key: int(mask.sum()) for key, mask in masks.items()},
        "knows_outside": outcomes.outside() is not None,
        "outside": {"kind": kind, "label": label, "sort": sort, "page": page, "sorts": OUTSIDE_SORTS},
        "no_pictures": why_no_pictures(report, outcomes),
        "figures": figures,
        "weights": weights,
    }


def _of_class(outcomes: Outcomes, mask: NDArray[np.bool_], label: int | None) -> NDArray[np.bool_]:
    return mask if label is None else mask & (outcomes.test.labels == label)


def _sorted(outcomes: Outcomes, positions: NDArray[np.int64], sort: str) -> NDArray[np.int64]:
    gained = outcomes.test.gained[positions]
    if sort == "position":
        return positions
    return positions[np.argsort(-gained if sort == "-gain" else gained, kind="stable")]


def why_no_pictures(report: dict[str, Any], outcomes: Outcomes) -> str | None:
    """Why the test images of a repair cannot be shown; None where they can."""
    try:
        shelf().test_images(report, outcomes)
    except ToolError as error:
        return shelf().tell(error)
    return None
