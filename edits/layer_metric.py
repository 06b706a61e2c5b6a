"""The metric of a layer, computed once for each network and kept in two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from helpers.activations import read_array, write_array
from sytorch import KroneckerMetric


def cached_metric(compute: Callable[[], KroneckerMetric], cache: Path) -> KroneckerMetric:
    """The metric from the cache where it is there; a damaged file is computed again.

    Args:
        compute: gives it.
        cache: folder and beginning of the name of the files.
    """
    paths = [cache.with_name(f"{cache.name}-{part}.npy") for part in ("inputs", "outputs")]
    found = [read_array(path) for path in paths]
    if found[0] is None or found[1] is None:
        metric = compute()
        outputs = torch.zeros(0) if metric.outputs is None else metric.outputs
        for path, factor in zip(paths, (metric.inputs, outputs), strict=True):
            write_array(path, factor.float().numpy())
        found = [read_array(path) for path in paths]
    inputs, outputs = (torch.from_numpy(array).double() for array in found)
    return KroneckerMetric(inputs, outputs if len(outputs) else None)
