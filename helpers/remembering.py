"""Methods that remember their last answers for as long as their object lives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Concatenate, ParamSpec, TypeVar

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
