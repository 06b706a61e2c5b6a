"""A time limit that long computations look at."""

from __future__ import annotations

import math
import time

from sytorch.errors import SolverTimeLimitError


class Deadline:
    """So many seconds from now; None is no limit."""

    def __init__(self, seconds: float | None = None):
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raise `SolverTimeLimitError` where the time is up."""
        if time.monotonic() > self._end:
            raise SolverTimeLimitError("The time limit was reached.")
