"""The pages of the edit sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, render_template, request

from helpers.errors import ToolError
from visualizer.content.edit_sets import SORTS, Classes, Filter, chosen, dataset_of
from visualizer.content.files import EDIT_SETS
from visualizer.content.shelf import shelf
from visualizer.formatting import page_of, told, whole
from visualizer.pages.edit_image import show_image
from visualizer.telling.cards import Card, repairs_by_set
from visualizer.telling.commands import repair_set
from visualizer.telling.words import images_in_words, set_name

pages = Blueprint("edit_sets", __name__)
# What a page says of a set's provenance; hashes and long lists stay in the file.
HOW = {
    "dataset": "dataset", "split": "split", "source": "source", "kind": "kind", "target_class": "class",
    "correctness": "which of them", "predicted_class": "taken for", "candidates": "images that qualify",
    "max_samples": "at most", "seed": "seed", "weights": "network", "command": "command",
}  # fmt: skip
SIZES = {"small": 64, "medium": 96, "large": 160, "huge": 320}
PER_PAGE = (30, 60, 120, 240)
MOST_CLASSES = 40


@pages.get("/edit-sets")
def index() -> str:
    """The edit sets there are, those written last first, and the damaged ones among them."""
    made_of = repairs_by_set()
    files = [_listed(name, made_of.get(name, [])) for name in shelf().names(EDIT_SETS)]
    files.sort(key=lambda file: 0.0 if file["problem"] else -file["brief"].written)
    return render_template("edit_sets.html", files=files)


def _listed(name: str, repairs: list[Card]) -> dict[str, Any]:
    try:
        brief = shelf().brief(name)
    except ToolError as error:
        return {"name": name, "problem": shelf().tell(error)}
    title = images_in_words(set_name(name), brief.images, brief.dataset)
    version = shelf().edit_set_version(name)
    return {"name": name, "title": title, "brief": brief, "repairs": repairs, "version": version, "problem": None}


@pages.get("/edit-sets/<path:name>")
def show(name: str) -> str:
    """One edit set: a page of its images, and its classes."""
    edit_set, rows, classes = shelf().edit_set(name)
    wanted, look = _filter(), _look()
    query = {**_given(asdict(wanted)), **look}
    if "image" in request.args:
        return show_image(name, whole(request.args["image"], -1) or 0, wanted, query)
    page = page_of(chosen(rows, wanted), whole(request.args.get("page"), 1) or 1, look["per"])
    return render_template(
        "edit_set.html",
        name=name,
        title=images_in_words(set_name(name), len(rows), dataset_of(edit_set)),
        repairs=repairs_by_set().get(name, []),
        repair_command=repair_set(name, dataset_of(edit_set)),
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
    named = ((HOW[key], provenance[key]) for key in HOW if provenance.get(key) is not None)
    return [(words, told(value)) for words, value in named]


def _confusion_table(classes: Classes) -> dict[str, Any] | None:
    """The labels and, by (true, predicted), count and shade 0 to 9; None where it would be too large to read."""
    if not classes.confusion or len(classes.names) > MOST_CLASSES:
        return None
    most = max(classes.confusion.values())
    shades = {pair: max(1, round(9 * count / most)) for pair, count in classes.confusion.items()}
    return {"labels": sorted(classes.names), "counts": classes.confusion, "shades": shades}
