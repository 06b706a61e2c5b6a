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
        keys = [hashlib.sha256(image).digest() for image in images.contiguous().numpy()]
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
