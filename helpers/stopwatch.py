"""How long each phase of a job took, and how much memory the job needed."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
import time
from collections.abc import Iterator

from helpers import progress


class Stopwatch:
    """Adds up seconds by phase; a phase may be entered again. Phases within phases are not told apart."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, expected: float | None = None) -> Iterator[None]:
        """Count the time until the block ends, however it ends; who waits is told, with seconds that are expected."""
        started = time.perf_counter()
        try:
            with progress.phase(name, expected):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


def peak_memory_mb() -> float:
    """The most memory that this process has had resident so far, in MiB (getrusage's KiB, on macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def give_memory_back() -> None:
    """Give the system what the allocator keeps of freed arrays: hundreds of megabytes, where glibc is the allocator."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
