"""Which of many images are taken when only some are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from helpers.errors import UsageError


def choose(count: int, max_samples: int | None, seed: int) -> NDArray[np.int64]:
    """Choose positions out of ``count``: sorted, without repetition, the same for the same arguments.

    A larger ``max_samples`` chooses the same positions and more. None, or at least ``count``, chooses all.

    Raises:
        UsageError: ``max_samples`` is below 1, or ``seed`` is negative.
    """
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples must be at least 1, not {max_samples}.")
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {seed}.")
    if max_samples is None or max_samples >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(count)[:max_samples]).astype(np.int64)
