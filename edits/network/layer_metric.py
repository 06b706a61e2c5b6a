"""The metric of a layer, computed once for each network and kept in two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from helpers.array_cache import keep_array, read_array
from sytorch import KroneckerMetric


def cached_metric(compute: Callable[[], KroneckerMetric], paths: tuple[Path, Path], width: int) -> KroneckerMetric:
    """The metric from the cache where it is there, both factors rounded to float32 in any case.

    Args:
        compute: gives it.
        paths: the files of the inputs' and of the outputs' factor; that of the identity has no entries.
        width: the number of the layer's outputs.
    """
    found = _read(paths, width)
    if found is None:
        metric = compute()
        found = metric.inputs.float(), torch.zeros(0) if metric.outputs is None else metric.outputs.float()
        for path, factor in zip(paths, found, strict=True):
            keep_array(path, factor.numpy())
    inputs, outputs = (factor.double() for factor in found)
    return KroneckerMetric(inputs, outputs if len(outputs) else None)


def _read(paths: tuple[Path, Path], width: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Both factors. How many inputs there are after folding, only the file says."""
    inputs = read_array(paths[0], (None, None))
    outputs = next(
        (found for shape in ((width, width), (0,)) if (found := read_array(paths[1], shape)) is not None), None
    )
    if inputs is None or outputs is None or inputs.shape[0] != inputs.shape[1]:
        return None
    return torch.from_numpy(inputs), torch.from_numpy(outputs)
