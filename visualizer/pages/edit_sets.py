"""The pages of the edit sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request

from editset_helpers.copies import copies
from editset_helpers.edit_set import EditSet
from helpers.errors import ToolError
from visualizer.content.edit_sets import SORTS, Classes, Filter, ImageRow, chosen
from visualizer.content.files import EDIT_SETS, name_of
from visualizer.content.shelf import shelf
from visualizer.drawing.pictures import input_png
from visualizer.pages.formatting import page_of, told, whole
from visualizer.telling.cards import Card
from visualizer.telling.commands import repair_set
from visualizer.telling.words import dataset_name, images_in_words, set_name

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
COPIES = ("mirrored", "shifted right", "shifted left", "shifted down", "shifted up")  # as `copies` makes them


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


def repairs_by_set() -> dict[str, list[Card]]:
    """The repairs of each edit set, the latest first."""
    found: dict[str, list[Card]] = {}
    for name, report in shelf().repairs()[0]:
        if edit_set := name_of(shelf().root, EDIT_SETS, report["edit_set_path"]):
            found.setdefault(edit_set, []).append(Card(name, report))
    return found


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
        title=images_in_words(set_name(name), len(rows), _text(edit_set.provenance.get("dataset"))),
        repairs=repairs_by_set().get(name, []),
        repair_command=repair_set(name, _text(edit_set.provenance.get("dataset"))),
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
        title=images_in_words(set_name(name), len(rows), _text(edit_set.provenance.get("dataset"))),
        where=_where(rows[position], edit_set),
        copies=list(enumerate(COPIES))[_text(edit_set.provenance.get("dataset")) == "digits" :],
        repairs=_repairs_of(name, position),
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


@pages.get("/pictures/copy/<path:name>/<int:position>/<int:number>.png")
def copy_picture(name: str, position: int, number: int) -> Response:
    """One of the mirrored and shifted copies of an image, by its number in `COPIES`."""
    edit_set, _, _ = shelf().edit_set(name)
    if position >= len(edit_set) or number >= len(COPIES):
        abort(404)
    image = edit_set.preprocessing.unit(edit_set.images[position])
    return png_response(input_png(list(copies(image[None], flip=True))[number][0]))


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
    named = ((HOW[key], provenance[key]) for key in HOW if provenance.get(key) is not None)
    return [(words, told(value)) for words, value in named]


def _where(row: ImageRow, edit_set: EditSet) -> str:
    """Where an image is from, as its set says."""
    dataset = _text(edit_set.provenance.get("dataset"))
    of = f" of {dataset_name(dataset)}" if dataset else ""
    if row.test_index is not None:
        return f"Test image {row.test_index}{of}, says the set."
    if row.training_index is not None:
        return f"Training image {row.training_index}{of}, says the set."
    return "The set does not say where this image is from."


def _repairs_of(name: str, position: int) -> list[tuple[Card, int]]:
    """The repairs that an image of a set was in, each with its place among their edit images."""
    cards = repairs_by_set().get(name, [])
    return [
        (card, card.report["edit_images"].index(position)) for card in cards if position in card.report["edit_images"]
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _confusion_table(classes: Classes) -> dict[str, Any] | None:
    """The labels and, by (true, predicted), count and shade 0 to 9; None where it would be too large to read."""
    if not classes.confusion or len(classes.names) > MOST_CLASSES:
        return None
    most = max(classes.confusion.values())
    shades = {pair: max(1, round(9 * count / most)) for pair, count in classes.confusion.items()}
    return {"labels": sorted(classes.names), "counts": classes.confusion, "shades": shades}
