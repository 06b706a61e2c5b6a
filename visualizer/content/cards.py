"""A repair at a glance: its name in words, its main figures, a few of its edit images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from helpers.errors import ToolError
from visualizer.content.files import EDIT_SETS, name_of
from visualizer.content.outcomes import Glimpse
from visualizer.content.repairs import outcomes_name
from visualizer.content.reports import total_seconds
from visualizer.content.shelf import shelf
from visualizer.content.telling import title_of, verdict_of

FEW = 4


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
