"""The terms of a proof, for the checker: rows, norms and their duals, and the metric in which they are taken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checker.network import LAYERS, Weights, need

ALIKE = 1e-9  # relative: slopes of inputs that are copies of each other


def norm(name: str, x: Tensor, dual: bool = False) -> float:
    """A norm of a matrix, or its dual norm; ``linf+l1`` is the largest entry plus the mean one."""
    ordered = x.abs().flatten().sort(descending=True).values
    largest, total, count = float(ordered[0]), float(ordered.sum()), len(ordered)
    if name == "linf+l1" and dual:
        return float((ordered.cumsum(0) / (1 + torch.arange(1, count + 1) / count)).max())
    kinds = {"l1": (total, largest), "linf": (largest, total), "linf+l1": (largest + total / count, 0.0)}
    return float(x.norm()) if name == "l2" else kinds[name][dual]


def size(x: Tensor, inputs: list[Tensor], outputs: list[Tensor], dual: bool = False) -> float:
    """``|G^(1/2) x A^(1/2)|`` by lower factors of A, one for all rows or each, and of G; of a gradient, its dual."""
    if inputs and len(inputs[0]) < x.shape[1]:  # AlexNet's pool copies each input: the copies' columns are one
        copies = (x.shape[1] - 1) // (len(inputs[0]) - 1)
        alike = x[:, :-1].reshape(len(x), len(inputs[0]) - 1, copies)
        apart = float((alike - alike.mean(2, keepdim=True)).abs().max())
        need(not dual or apart <= ALIKE * float(alike.abs().max()), "the metric is of fewer inputs than the layer has")
        x = torch.cat([alike.sum(2) / copies**0.5, x[:, -1:]], dim=1)
    parts = zip(torch.tensor_split(x, len(inputs)), inputs, strict=True) if inputs else []
    rows = [torch.linalg.solve_triangular(a, row.T, upper=False).T if dual else row @ a for row, a in parts] or [x]
    moved = torch.cat(rows)
    for g in outputs:
        moved = torch.linalg.solve_triangular(g, moved, upper=False) if dual else g.T @ moved
    return float(moved.norm())


def matrix_of(weights: Weights, layer: str) -> Tensor:
    """A layer's weights as a matrix, the bias as its last column."""
    return torch.cat([weights[f"{layer}.weight"].flatten(1), weights[f"{layer}.bias"][:, None]], dim=1).double()


def chosen(matrix: Tensor, part: Mapping[str, Any]) -> Tensor:
    """The part of a layer's matrix that a program changes."""
    rows = matrix[slice(*part["units"])]
    return rows[:, -1:] if part["bias_only"] else rows


def bends(layer: str) -> set[str]:
    """The ReLUs and max-pools behind a layer: with all of them fixed, logits are affine in the layer's change."""
    return {name for name in list(LAYERS)[list(LAYERS).index(layer) :] if LAYERS[name][0] in {"relu", "pool"}}


def symmetric_roots(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """``K^(1/2)`` and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh((kernel + kernel.T) / 2)
    roots = torch.where(values > values.max() * len(values) * 2.0**-52, values, 0.0).sqrt()
    return (vectors * roots) @ vectors.T, (vectors * torch.where(roots > 0, 1 / roots, 0.0)) @ vectors.T


def margin_rows(logits: Tensor, labels: Tensor, margins: Tensor, multipliers: Tensor) -> Tensor:
    """What logits (N, C) lack of margins (N,), the sum weighted by multipliers (N, C)."""
    found = logits.gather(1, labels[:, None]) - logits
    return (multipliers.scatter(1, labels[:, None], 0.0) * (margins[:, None] - found)).sum()


def read_factors(path: Path, digest: str, upper: bool) -> list[Tensor]:
    """The lower triangles of the factors that a file holds, one or several, where it is the file of that SHA-256."""
    with path.open("rb") as stream:
        need(hashlib.file_digest(stream, "sha256").hexdigest() == digest, f"{path} is another factor")
    array = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)).double()
    return [(factor.T if upper else factor).tril_() for factor in array.view(-1, *array.shape[-2:])]
