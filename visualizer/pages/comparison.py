"""The page of two networks side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from flask import Blueprint, render_template, request

from visualizer.content.comparison import Comparison, compared
from visualizer.content.outcomes import Outcomes
from visualizer.formatting import page_of, whole
from visualizer.pages.repairs import PER_PAGE, outcomes_of, report_of, why_no_pictures
from visualizer.telling.cards import Card, card_of
from visualizer.telling.commands import compare

pages = Blueprint("comparison", __name__)
KINDS = {
    "first_broke": "A alone broke", "second_broke": "B alone broke", "both_broke": "both broke",
    "first_fixed": "A alone fixed", "second_fixed": "B alone fixed", "both_fixed": "both fixed",
}  # fmt: skip


@pages.get("/compare")
def show() -> str:
    """Two repairs, or one and the network before it; the others to choose from where none or too many are named."""
    picked = request.args.getlist("pick")
    if not 1 <= len(picked) <= 2:
        told = "Tick one repair, or two" if not picked else f"{len(picked)} repairs are ticked; two can be compared"
        return render_template(
            "error.html", title="What is to be compared?", message=f"{told}, on the page of repairs."
        )
    cards = [card_of(name, report_of(name)) for name in picked]
    outcomes = [outcomes_of(card.name, card.report) for card in cards]
    found = compared(outcomes[0], outcomes[1] if len(outcomes) > 1 else None)
    return render_template("comparison.html", **_sides(cards, found), **_images(cards[0], outcomes[0], found))


def _sides(cards: list[Card], found: Comparison) -> dict[str, Any]:
    """The two networks: a card each; of the network before there is none."""
    first, second = cards if len(cards) > 1 else (None, cards[0])
    return {
        "picked": [card.name for card in cards],
        "sides": [("A", first), ("B", second)],
        "accuracies": found.accuracies(),
        "classes": found.classes(),
        "weights": found.weights(),
        "command": compare(cards[0].report, cards[1].report if len(cards) > 1 else None),
    }


def _images(card: Card, outcomes: Outcomes, found: Comparison) -> dict[str, Any]:
    """How many images there are of each kind, and a page of those of the kind that the address names."""
    kinds = {key: positions for key, positions in found.kinds().items() if len(positions)}
    kind = request.args.get("kind", "")
    kind = kind if kind in kinds else next(iter(kinds), "")
    page = page_of(kinds.get(kind, np.zeros(0, int)).tolist(), whole(request.args.get("page"), 1) or 1, PER_PAGE)
    taken = (found.before, found.first.predicted, found.second.predicted)
    names = found.class_names
    rows = [(place, names[found.labels[place]], *(names[answers[place]] for answers in taken)) for place in page.items]
    return {
        "kinds": [(key, KINDS[key], len(positions)) for key, positions in kinds.items()],
        "kind": kind,
        "page": page,
        "rows": rows,
        "pictures": card.name,
        "version": outcomes.dataset_hash[:12],
        "no_pictures": why_no_pictures(card.report, outcomes),
    }
