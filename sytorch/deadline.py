"""A time limit that long computations look at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sytorch.errors import SolverTimeLimitError


class Deadline:
    """So many seconds from now; None is no limit.

    Args:
        seconds: the limit.
        tick: called whenever the time is looked at, so that somebody who waits can be shown that work goes on.
    """

    def __init__(self, seconds: float | None = None, tick: Callable[[], object] = lambda: None):
        self._tick = tick
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """The seconds until then."""
        return None if self._end == math.inf else max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        self._tick()
        if time.monotonic() > self._end:
            raise SolverTimeLimitError("The time limit was reached.")
