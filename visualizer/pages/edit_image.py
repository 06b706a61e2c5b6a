"""One image of an edit set at a large size."""

from __future__ import annotations

from typing import Any

from flask import abort, render_template

from editset_helpers.edit_set import EditSet
from visualizer.content.edit_sets import Filter, ImageRow, chosen, dataset_of
from visualizer.content.shelf import shelf
from visualizer.telling.cards import Card, repairs_by_set
from visualizer.telling.words import COPIES, dataset_name, images_in_words, set_name


def show_image(name: str, position: int, wanted: Filter, query: dict[str, Any]) -> str:
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
        title=images_in_words(set_name(name), len(rows), dataset_of(edit_set)),
        where=_where(rows[position], edit_set),
        copies=list(enumerate(COPIES))[dataset_of(edit_set) == "digits" :],
        repairs=_repairs_of(name, position),
        before=order[place - 1] if place > 0 else None,
        after=order[place + 1] if place + 1 < len(order) else None,
        place=place + 1,
        total=len(order),
        page=place // query["per"] + 1,
        query=query,
    )


def _where(row: ImageRow, edit_set: EditSet) -> str:
    """Where an image is from, as its set says."""
    dataset = dataset_of(edit_set)
    of = f" of {dataset_name(dataset)}" if dataset else ""
    if row.test_index is not None:
        return f"Test image {row.test_index}{of}, says the set."
    if row.training_index is not None:
        return f"Training image {row.training_index}{of}, says the set."
    return "The set does not say where this image is from."


def _repairs_of(name: str, position: int) -> list[tuple[Card, int]]:
    """The repairs that an image of a set was in, each with its place among their edit images."""
    cards, places = repairs_by_set().get(name, []), "edit_images"
    return [(card, card.report[places].index(position)) for card in cards if position in card.report[places]]
