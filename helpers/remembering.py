"""Methods that remember their last answers, and functions of images that remember them image by image."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable
from typing import Concatenate, ParamSpec, TypeVar

import torch

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[S, P], R]


def remembers(most: int) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """Keep a method's answers for the last ``most`` arguments, in the object, which `lru_cache` would keep alive.

    The oldest answer is let go before another is computed, for answers can be gigabytes.
    """

    def decorate(method: Method[S, P, R]) -> Method[S, P, R]:
        @functools.wraps(method)
        def answer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            known: dict[Hashable, R] = vars(self).setdefault(f"_answers_of_{method.__name__}", {})
            asked = (args, tuple(sorted(kwargs.items())))
            if asked in known:
                known[asked] = known.pop(asked)
                return known[asked]
            for oldest in list(known)[: max(len(known) - most + 1, 0)]:
                del known[oldest]
            known[asked] = method(self, *args, **kwargs)
            return known[asked]

        return answer

    return decorate


class Rows:
    """What a function makes of each image, or of whatever else: as many as have room, the oldest are forgotten first.

    A sequence of repairs asks the same of earlier images at every step. What is the same is told by its bytes.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], room: int):
        """Remember a function of images, (N, ...) -> float32 (N, k), in so many bytes."""
        self._function, self._room = function, room
        self._known: dict[bytes, torch.Tensor] = {}

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """What the function makes of N images, (N, k); N is at least 1."""
        keys = keys_of(images)
        fresh = [place for place, key in enumerate(keys) if key not in self._known]
        if len(fresh) == len(keys):
            rows = list(self._function(images))
        else:
            twice = fresh * 2 if len(fresh) == 1 else fresh  # a single image is convolved in another order
            made = dict(zip(fresh, self._function(images[twice]), strict=False)) if fresh else {}
            rows = [made[place] if place in made else self._known[key] for place, key in enumerate(keys)]
        self._keep(keys, rows)
        return torch.stack(rows)

    def _keep(self, keys: list[bytes], rows: list[torch.Tensor]) -> None:
        """The last ones asked for stay; a row is copied, for a view would keep the whole tensor."""
        for key, row in zip(keys, rows, strict=True):
            known = self._known.pop(key, None)
            self._known[key] = row.clone() if known is None else known
        most = max(1, self._room // (rows[0].numel() * rows[0].element_size()))
        for key in list(self._known)[: max(len(self._known) - most, 0)]:
            del self._known[key]


class Grid:
    """What a function makes of each pair of an image and a unit, or of whatever else; as `Rows`, what is new is made.

    Once a unit is not asked for any more, nothing is known.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], room: int):
        """Remember a function of images, (N, ...), and units, (U, d) -> float32 (N, U), in so many bytes."""
        self._function, self._room = function, room
        self._places: dict[bytes, int] = {}  # of units
        self._known: dict[bytes, torch.Tensor] = {}  # by image: the values of the first units

    def of(self, images: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        """What the function makes of N images and U units, (N, U); both are at least 1."""
        asked, keys = keys_of(units), keys_of(images)
        if not self._places.keys() <= set(asked):
            self._places, self._known = {}, {}
        for key in asked:
            self._places.setdefault(key, len(self._places))
        places = [self._places[key] for key in asked]
        ordered = units[[places.index(place) for place in range(len(self._places))]]
        values = torch.empty(len(keys), len(ordered))
        lengths = [len(self._known[key]) if key in self._known else 0 for key in keys]
        for length in set(lengths):
            at = [place for place, known in enumerate(lengths) if known == length]
            if length:
                values[at, :length] = torch.stack([self._known[keys[place]] for place in at])
            if length < len(ordered):
                values[at, length:] = self._function(images[at], ordered[length:])
        self._keep(keys, values)
        return values[:, places]

    def _keep(self, keys: list[bytes], values: torch.Tensor) -> None:
        for key, row in zip(keys, values, strict=True):
            self._known.pop(key, None)
            self._known[key] = row.clone()
        most = self._room // (4 * values.shape[1])
        for key in list(self._known)[: max(len(self._known) - most, 0)]:
            del self._known[key]


def keys_of(rows: torch.Tensor) -> list[bytes]:
    """What tells rows of numbers, (N, ...), apart: their bytes."""
    return [hashlib.sha256(row).digest() for row in rows.contiguous().numpy()]
