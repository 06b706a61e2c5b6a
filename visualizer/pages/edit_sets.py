"""The pages of the edit sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request

from helpers.errors import ToolError
from visualizer.content.edit_sets import SORTS, Classes, Filter, chosen
from visualizer.content.files import EDIT_SETS
from visualizer.content.shelf import shelf
from visualizer.drawing.pictures import input_png
from visualizer.pages.formatting import page_of, told, whole

pages = Blueprint("edit_sets", __name__)
SIZES = {"small": 64, "medium": 96, "large": 160, "huge": 320}
PER_PAGE = (30, 60, 120, 240)
MOST_CLASSES = 40


@pages.get("/edit-sets")
def index() -> str:
    """The edit sets there are, the damaged ones among them."""
    return render_template("edit_sets.html", files=[_listed(name) for name in shelf().names(EDIT_SETS)])


def _listed(name: str) -> dict[str, Any]:
    try:
        return {"name": name, "images": shelf().edit_set_size(name), "problem": None}
    except ToolError as error:
        return {"name": name, "images": None, "problem": shelf().tell(error)}


@pages.get("/edit-sets/<path:name>")
def show(name: str) -> str:
    """One edit set: a page of its images, and its classes."""
    edit_set, rows, classes = shelf().edit_set(name)
    wanted, look = _filter(), _look()
    query = {**_given(asdict(wanted)), **look}
    if "image" in request.args:
        return _show_image(name, whole(request.args["image"], -1) or 0, wanted, query)
    page = page_of(chosen(rows, wanted), whole(request.args.get("page"), 1) or 1, look["per"])
    return render_template(
        "edit_set.html",
        name=name,
        version=shelf().edit_set_version(name),
        provenance=_facts(edit_set.provenance),
        count=len(rows),
        classes=classes,
        confusion=_confusion_table(classes),
        page=page,
        wanted=wanted,
        look=look,
        query=query,
        sorts=SORTS,
        sizes=SIZES,
        per_page=PER_PAGE,
    )


def _show_image(name: str, position: int, wanted: Filter, query: dict[str, Any]) -> str:
    """One image at a large size, with all that the set says of it, and its neighbours among those chosen."""
    edit_set, rows, classes = shelf().edit_set(name)
    order = [row.position for row in chosen(rows, wanted)]
    if position not in order:
        abort(404)
    place = order.index(position)
    return render_template(
        "edit_image.html",
        name=name,
        version=shelf().edit_set_version(name),
        row=rows[position],
        classes=classes,
        told=_facts(edit_set.metadata[position]),
        before=order[place - 1] if place > 0 else None,
        after=order[place + 1] if place + 1 < len(order) else None,
        place=place + 1,
        total=len(order),
        page=place // query["per"] + 1,
        query=query,
    )


@pages.get("/pictures/edit-set/<path:name>/<int:position>.png")
def picture(name: str, position: int) -> Response:
    """One image of an edit set."""
    edit_set, _, _ = shelf().edit_set(name)
    if position >= len(edit_set):
        abort(404)
    return png_response(input_png(edit_set.preprocessing.unit(edit_set.images[position])))


def png_response(content: bytes) -> Response:
    """A picture that the browser may keep: its address names the version of its file."""
    response = make_response(content)
    response.headers["Content-Type"] = "image/png"
    response.headers["Cache-Control"] = "private, max-age=86400"
    return response


def _filter() -> Filter:
    sort = request.args.get("sort", "position")
    true, predicted = whole(request.args.get("true")), whole(request.args.get("predicted"))
    return Filter(true, predicted, sort if sort in SORTS else "position")


def _look() -> dict[str, Any]:
    size, per = request.args.get("size", "medium"), whole(request.args.get("per"), 60)
    return {"size": size if size in SIZES else "medium", "per": per if per in PER_PAGE else 60}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _facts(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """How the set was made, as short texts."""
    return [(told(key).replace("_", " "), told(value)) for key, value in provenance.items() if value is not None]


def _confusion_table(classes: Classes) -> dict[str, Any] | None:
    """The labels and, by (true, predicted), count and shade 0 to 9; None where it would be too large to read."""
    if not classes.confusion or len(classes.names) > MOST_CLASSES:
        return None
    most = max(classes.confusion.values())
    shades = {pair: max(1, round(9 * count / most)) for pair, count in classes.confusion.items()}
    return {"labels": sorted(classes.names), "counts": classes.confusion, "shades": shades}
