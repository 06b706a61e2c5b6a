"""The first page: the latest repairs, what is running, what to do next."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, render_template

from helpers.errors import ToolError
from visualizer.content.files import EDIT_SETS, RESULTS
from visualizer.content.shelf import shelf
from visualizer.pages.experiments import LIVE_SECONDS, live_state
from visualizer.telling.cards import Card, card_of
from visualizer.telling.commands import next_steps

pages = Blueprint("home", __name__)
LATEST = 6


@pages.get("/")
def index() -> str:
    """What there is, the latest first."""
    cards = _latest()
    newest = next((card.report for card in cards if card.report["status"] == "repaired"), None)
    tables = [name for name in shelf().names(RESULTS) if not name.endswith("/summary.csv")]  # of `analysis.py`
    counts = {"edit_sets": len(shelf().names(EDIT_SETS)), "results": len(tables)}
    return render_template("home.html", cards=cards, running=_running(), steps_told=next_steps(newest), counts=counts)


def _latest() -> list[Card]:
    """The reports written last; as few files are read as can be."""
    cards: list[Card] = []
    for name in shelf().latest_reports():
        try:
            report = shelf().report(name)
        except ToolError:
            continue
        if report is not None:
            cards.append(card_of(name, report))
        if len(cards) == LATEST:
            break
    return sorted(cards, key=lambda card: str(card.report["timestamp"]), reverse=True)


def _running() -> list[dict[str, Any]]:
    """Sweeps whose table changed lately, and is not whole."""
    found = []
    for name in shelf().names(RESULTS):
        try:
            if shelf().seconds_since_change(name, time.time()) < LIVE_SECONDS:
                found.append({"name": name, **live_state([name])})
        except ToolError:
            continue
    return [state for state in found if state["running"]]
