"""A repair at a glance: its name in words, its main figures, a few of its edit images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from helpers.errors import ToolError
from visualizer.content.files import EDIT_SETS, name_of
from visualizer.content.glimpse import Glimpse
from visualizer.content.repairs import outcomes_name
from visualizer.content.reports import total_seconds
from visualizer.content.shelf import shelf
from visualizer.telling.words import title_of, verdict_of

FEW = 4
ORDERS: dict[str, Callable[[Card], Any]] = {
    "name": lambda card: card.title,
    "drawdown": lambda card: card.report["drawdown_points"],
    "copies": lambda card: card.report["generalization_after"],
    "images": lambda card: card.report["edit_set_size"],
    "time": lambda card: card.seconds,
    "status": lambda card: card.report["status"],
    "made": lambda card: card.report["timestamp"],
    "accuracy": lambda card: card.report["test_accuracy_after"],
}


@dataclass(frozen=True)
class Card:
    """One repair.

    Attributes:
        name: of its report's file.
        report: as `read_report` gives it.
        edit_set: the name of its edit set; None where it is not here, or was written anew since.
        version: of the edit set's file.
        thumbs: some of the edit images.
    """

    name: str
    report: dict[str, Any]
    edit_set: str | None = None
    version: str = ""
    thumbs: list[Glimpse] = field(default_factory=list)

    @cached_property
    def title(self) -> str:
        """In words."""
        return title_of(self.report)

    @property
    def text(self) -> str:
        """What a search looks through, in small letters."""
        return f"{self.title} {self.name} {self.report['status']}".lower()

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return total_seconds(self.report)

    @property
    def verdict(self) -> str:
        """The checker's, in a word."""
        return verdict_of(self.report)[0]


def card_of(name: str, report: dict[str, Any]) -> Card:
    """The card with pictures of a few edit images, where their set is as it was."""
    edit_set, version = picture_source(name, report)
    try:
        thumbs = shelf().glimpse(outcomes_name(shelf().root, name, report))[:FEW]
    except ToolError:
        thumbs = []
    return Card(name, report, edit_set, version, thumbs)


def picture_source(name: str, report: dict[str, Any]) -> tuple[str | None, str]:
    """The edit set of a report and its version; None where it is not here, or is younger than the report."""
    edit_set = name_of(shelf().root, EDIT_SETS, report["edit_set_path"])
    if edit_set is None or not shelf().is_older(edit_set, name):
        return None, ""
    return edit_set, shelf().edit_set_version(edit_set)


def matching(cards: list[Card], words: str) -> list[Card]:
    """Those in whose title, file or status every word is."""
    wanted = words.lower().split()
    return [card for card in cards if all(word in card.text for word in wanted)] if wanted else cards


def in_order(cards: list[Card], order: str) -> list[Card]:
    """By a key of `ORDERS`, downwards after a ``-``; those that lack it come last."""
    key = ORDERS.get(order.removeprefix("-"), ORDERS["made"])
    keyed = [(key(card), card) for card in cards]
    there = [pair for pair in keyed if pair[0] is not None]
    there.sort(key=lambda pair: pair[0], reverse=order.startswith("-"))
    return [card for _, card in there] + [card for value, card in keyed if value is None]


def repairs_by_set() -> dict[str, list[Card]]:
    """The repairs of each edit set, the latest first."""
    found: dict[str, list[Card]] = {}
    for name, report in shelf().repairs()[0]:
        if edit_set := name_of(shelf().root, EDIT_SETS, report["edit_set_path"]):
            found.setdefault(edit_set, []).append(Card(name, report))
    return found
