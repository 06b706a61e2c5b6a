"""Methods that remember their last answers, and functions of images that remember them image by image."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
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

    def __init__(self, function: Callable[[torch.Tensor], Iterable[torch.Tensor]], room: int, least: int = 2):
        """Remember a function of images in so many bytes.

        Args:
            function: (N, ...) -> N tensors, as the rows of one or of any lengths.
            room: for what is remembered.
            least: of fewer new images some are given again, for few are computed in another order than many.
        """
        self._function, self._room, self._least = function, room, least
        self._known: dict[bytes, torch.Tensor] = {}

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """What the function makes of N images, (N, ...), where all are of one shape; N is at least 1."""
        return torch.stack(self.each(images))

    def each(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The same, one by one."""
        keys = digests(images)
        fresh = [place for place, key in enumerate(keys) if key not in self._known]
        if len(fresh) == len(keys):
            rows = list(self._function(images))
        else:
            enough = fresh * -(-self._least // len(fresh)) if 0 < len(fresh) < self._least else fresh
            made = dict(zip(fresh, self._function(images[enough]), strict=False)) if fresh else {}
            rows = [made[place] if place in made else self._known[key] for place, key in enumerate(keys)]
        self._keep(keys, rows)
        return rows

    def _keep(self, keys: list[bytes], rows: list[torch.Tensor]) -> None:
        """The last ones asked for stay; a row is copied, for a view would keep the whole tensor."""
        for key, row in zip(keys, rows, strict=True):
            known = self._known.pop(key, None)
            self._known[key] = row.clone() if known is None else known
        most = max(1, self._room // max(1, rows[0].numel() * rows[0].element_size()))
        for key in list(self._known)[: max(len(self._known) - most, 0)]:
            del self._known[key]


class Pairs:
    """What a function makes of each of some rows with each of some columns; of pairs that it knows it is not asked.

    A sequence of repairs asks the same of earlier detectors and images at every step, and of new ones beside them.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], room: int):
        """Remember a function of rows (R, ...) and columns (N, ...), float32 (N, R), in so many bytes."""
        self._function, self._room = function, room
        self._known: dict[bytes, tuple[dict[bytes, int], torch.Tensor]] = {}  # places of rows, and values, by column
        self._last = torch.empty(0), list[bytes]()

    def of(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """What the function makes of R rows with N columns, (N, R)."""
        if self._last[0] is not rows:
            self._last = rows, digests(rows)
        keys, names = self._last[1], digests(columns)
        values, groups = columns.new_empty(len(columns), len(rows)), defaultdict[int, list[int]](list)
        for place, name in enumerate(names):
            groups[id(self._known[name][0]) if name in self._known else 0].append(place)
        for group in groups.values():
            places, here = self._known.get(names[group[0]], ({}, None))[0], torch.tensor(group)
            shared = [place for place, key in enumerate(keys) if key in places]
            fresh = [place for place, key in enumerate(keys) if key not in places]
            if shared:
                known = torch.stack([self._known[names[place]][1] for place in group])
                values[here[:, None], torch.tensor(shared)] = known[:, [places[keys[place]] for place in shared]]
            if fresh:
                values[here[:, None], torch.tensor(fresh)] = self._function(rows[fresh], columns[here])
        self._keep(keys, names, values)
        return values

    def _keep(self, keys: list[bytes], names: list[bytes], values: torch.Tensor) -> None:
        """The last columns asked for stay, as many as have room."""
        places = {key: place for place, key in enumerate(keys)}
        for name, row in zip(names, values, strict=True):
            self._known.pop(name, None)
            self._known[name] = (places, row.clone())
        most = max(1, self._room // max(1, values.element_size() * len(keys)))
        for name in list(self._known)[: max(len(self._known) - most, 0)]:
            del self._known[name]


def digests(things: torch.Tensor) -> list[bytes]:
    """The SHA-256 of each of N things, (N, ...)."""
    return [hashlib.sha256(thing.contiguous().numpy().data).digest() for thing in things]
