"""How numbers are written on the pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from flask import current_app

from visualizer.telling.words import dataset_name

MISSING = "\N{EN DASH}"
EXPORTED = 4  # times as many items as on a page that is served
T = TypeVar("T")


def percent(value: float | None, digits: int = 2) -> str:
    """``0.7473`` -> ``74.73 %``."""
    return MISSING if _absent(value) else f"{100 * (value or 0.0):.{digits}f}\N{NO-BREAK SPACE}%"


def signed(value: float | None, digits: int = 2) -> str:
    """``0.5`` -> ``+0.50``."""
    return MISSING if _absent(value) else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def points(value: float | None, digits: int = 2) -> str:
    """Percentage points: ``0.641`` -> ``0.64``, ``-0.031`` -> a minus and ``0.03``."""
    if _absent(value):
        return MISSING
    return f"{round(value or 0.0, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float | None) -> str:
    """``8.41`` -> ``8.4 s``, ``17.6`` -> ``18 s``, ``200`` -> ``3.3 min``."""
    if seconds is None or _absent(seconds):
        return MISSING
    number, unit = (seconds / 60, "min") if seconds >= 120 else (seconds, "s")
    return f"{number:,.{0 if unit == 's' and number >= 10 else 1}f}\N{NO-BREAK SPACE}{unit}"


def moment(text: str | float | None) -> str:
    """``2026-11-27T21:52:17+00:00``, or seconds since 1970 -> ``27 Nov 2026, 21:52``; anything else as it is."""
    if isinstance(text, float):
        text = datetime.fromtimestamp(text, UTC).isoformat(timespec="minutes")
    try:
        return datetime.fromisoformat(text or "").strftime("%-d %b %Y, %H:%M").removesuffix(", 00:00")
    except ValueError:
        return text or MISSING


def short(value: Any) -> str:
    """Numbers with four digits that count, None as a dash, anything else as text."""
    if _absent(value):
        return MISSING
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def file_size(count: float) -> str:
    """``124000000`` -> ``118 MiB``."""
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def told(value: Any) -> str:
    """Anything from a file as a short text, however odd it is."""
    try:
        return str(value)[:200]
    except (ValueError, RecursionError):  # a number of thousands of digits, lists within lists without end
        return f"({type(value).__name__})"


def encodable(value: Any) -> Any:
    """What a template is about to write, with the halves of characters replaced that UTF-8 has no bytes for."""
    return value.encode(errors="replace").decode() if type(value) is str and not value.isascii() else value


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "signed": signed,
    "points": points,
    "duration": duration,
    "moment": moment,
    "dataset": dataset_name,
    "short": short,
    "file_size": file_size,
}


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of ``total`` items: page ``number`` of ``pages``, counted from 1."""

    items: Sequence[T]
    number: int
    pages: int
    total: int
    first: int


def page_of(items: Sequence[T], number: int, size: int) -> Page[T]:
    """The page with that number, or the nearest there is; a page that is written as a file has more on it."""
    size *= EXPORTED if current_app and current_app.config.get("EXPORTING") else 1
    pages = max(1, math.ceil(len(items) / size))
    number = min(max(1, number), pages)
    start = (number - 1) * size
    return Page(items[start : start + size], number, pages, len(items), start + 1)


def whole(text: str | None, default: int | None = None) -> int | None:
    """A whole number in an address; ``default`` where there is none."""
    try:
        return int(text) if text and len(text) < 20 else default
    except ValueError:
        return default
