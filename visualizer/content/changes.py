"""How parameters changed, from the rows that did alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_classes.changes import ROWS

BLOCKS = 64


@dataclass(frozen=True, eq=False)
class Change:
    """How one parameter changed; ``blocks`` is the mean size of the change in blocks of rows and columns."""

    name: str
    shape: tuple[int, ...]
    changed: int
    largest: float
    norm: float
    blocks: NDArray[np.float64]


def read_changes(stored: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> list[Change]:
    """Of every parameter, from `model_classes.changes.thin` and how many rows each parameter has."""
    return [
        _change(str(name), change, stored.get(f"{name}{ROWS}"), counts.get(name, len(change)))
        for name, change in stored.items()
        if not name.endswith(ROWS)
    ]


def _change(name: str, change: torch.Tensor, rows: torch.Tensor | None, count: int) -> Change:
    size = change.detach().to(torch.float32).abs()
    means = _block_means(size.reshape(len(size), -1).numpy().T, BLOCKS).T
    if rows is not None:
        means, some = np.zeros((count, means.shape[1])), means
        means[rows.numpy()] = some
    return Change(
        name,
        (count, *change.shape[1:]),
        int((size > 0).sum()),
        float(size.max()) if size.numel() else 0.0,
        float(size.double().square().sum().sqrt()),
        _block_means(means, BLOCKS),
    )


def _block_means(table: NDArray[Any], blocks: int) -> NDArray[np.float64]:
    """The means of at most ``blocks`` groups of neighbouring rows."""
    edges = np.unique(np.linspace(0, len(table), min(blocks, len(table)) + 1).astype(np.int64))
    sums = np.add.reduceat(table, edges[:-1], axis=0, dtype=float)
    return np.asarray(sums / np.diff(edges)[:, None])
