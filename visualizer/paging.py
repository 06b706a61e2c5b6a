"""A page of a long list, and the numbers that addresses carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of ``total`` items: page ``number`` of ``pages``, counted from 1."""

    items: Sequence[T]
    number: int
    pages: int
    total: int
    first: int


def page_of(items: Sequence[T], number: int, size: int) -> Page[T]:
    """The page with that number, or the nearest there is."""
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
