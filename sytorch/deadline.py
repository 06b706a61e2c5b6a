"""A time limit that long computations look at."""

from __future__ import annotations

import math
import time

from sytorch.errors import SolverTimeLimitError


class Deadline:
    """So many seconds from now; None is no limit."""

    def __init__(self, seconds: float | None = None):
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """The seconds until then."""
        return None if self._end == math.inf else max(self._end - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        if time.monotonic() > self._end:
            raise SolverTimeLimitError("The time limit was reached.")
