"""What this machine can do at most, as far as a floor needs it: products of matrices, and moving bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

SIDE = 4096
COPIED = 2**28
TIMES = 3


@dataclass(frozen=True)
class Machine:
    """Measured rates, the best of a few: 1e9 operations a second in float32 and float64, and 1e9 bytes a second."""

    gflops32: float
    gflops64: float
    gigabytes: float


def measure(side: int = SIDE, copied: int = COPIED) -> Machine:
    """Multiply square matrices with torch (float32) and numpy (float64), and copy so many bytes, read and written."""
    single, double = torch.rand(side, side), np.random.default_rng(0).random((side // 2, side // 2))
    source = torch.zeros(copied, dtype=torch.uint8)
    target = torch.ones_like(source)
    return Machine(
        2e-9 * side**3 / _least_seconds(lambda: single @ single),
        2e-9 * (side // 2) ** 3 / _least_seconds(lambda: double @ double),
        2e-9 * copied / _least_seconds(lambda: target.copy_(source)),
    )


def _least_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
