"""A time limit that long computations look at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sytorch.problem.errors import InvalidInputError, SolverTimeLimitError


class Deadline:
    """So many seconds from now; None is no limit. Make one for a whole task and pass it down.

    Args:
        seconds: the limit; where it is not positive, the time is up at once.
        tick: called whenever the time is looked at, so that somebody who waits can be shown that work goes on.

    Raises:
        InvalidInputError: the limit is NaN.
    """

    def __init__(self, seconds: float | None = None, tick: Callable[[], object] = lambda: None):
        if seconds is not None and math.isnan(seconds):
            raise InvalidInputError("The time limit must be a number of seconds.")
        self._tick = tick
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """The seconds until then, 0 where the time is up; None is no limit."""
        return None if self._end == math.inf else max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        self._tick()
        if time.monotonic() >= self._end:
            raise SolverTimeLimitError("The time limit was reached.")

    def within(self, seconds: float) -> Deadline:
        """This end, or so many seconds from now where that is sooner."""
        sooner = Deadline(seconds, self._tick)
        sooner._end = min(sooner._end, self._end)
        return sooner

    def ticking(self, tick: Callable[[], object]) -> Deadline:
        """The same end with another tick."""
        same = Deadline(None, tick)
        same._end = self._end
        return same


def as_deadline(limit: float | Deadline | None) -> Deadline:
    """A deadline as it is; seconds, or None, as a deadline from now on."""
    return limit if isinstance(limit, Deadline) else Deadline(limit)
