"""Preparing a hidden layer: points become detectors in its spare units, each in one of its own while there are some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sytorch.metrics.last_layer import SecondMomentMetric
from sytorch.problem.arrays import Indices, Vector
from sytorch.problem.errors import InvalidInputError
from sytorch.problem.outputs import append_one
from sytorch.spare_units.detectors import Batches, Detectors, Group, detectors
from sytorch.spare_units.planting import Planting, plant


@dataclass(frozen=True, eq=False)
class Preparation:
    """What a hidden layer is to become; nothing is changed.

    Attributes:
        members: positions of the points of each of G groups.
        found: their detectors.
        planting: which units these go into.
    """

    members: list[Indices]
    found: Detectors
    planting: Planting


def prepared(
    layer: NDArray[np.floating],
    units: Indices,
    points: NDArray[np.floating],
    labels: Indices,
    missing: Vector,
    *,
    metric: SecondMomentMetric,
    ordinary: Batches,
    threshold: float,
    tolerated: float,
    bound: float,
    count: int | None = None,
    needed: int = 1,
) -> Preparation:
    """Detectors of points in the units that a layer can spare.

    The units are so large for their points that half of the bound on the entries behind them gives what is missing.

    Args:
        layer: (m, k + 1), its weights and biases; behind it there is a ReLU.
        units: those first that are taken first.
        points: (N, V, k), what the layer gets from each point and from its copies.
        labels: (N,); alike points of one label share a unit where there are too few.
        missing: (N,), what each lacks of what is required.
        metric: see `detectors`.
        ordinary: see `detectors`.
        threshold: see `plant`.
        tolerated: see `detectors` and `plant`.
        bound: on every entry of the change.
        count: so many units are taken at most, unless there are more labels; None for all.
        needed: so many of a point's V rows, the first, must be detected.

    Raises:
        InvalidInputError: there are too few units, or an argument is not what it has to be.
    """
    count = max(len(units) if count is None else count, len(np.unique(labels)))
    members = alike(metric, points[:, 0], labels, count)
    groups = [
        Group(
            np.concatenate([points[part, :needed], points[part, needed:]], axis=None).reshape(-1, points.shape[2]),
            int(labels[part[0]]),
            needed * len(part),
        )
        for part in members
    ]
    found = detectors(metric, groups, ordinary, tolerated)
    values = np.array([max(1.0, float(missing[part].max()) / bound) for part in members])
    planting = plant(layer, units[:count], found, values, threshold=threshold, tolerated=tolerated, bound=bound)
    return Preparation(members, found, planting)


def alike(metric: SecondMomentMetric, points: NDArray[np.floating], labels: Indices, count: int) -> list[Indices]:
    """Points by groups, at most ``count``, each of one label and as small as can be; alike points come together.

    Args:
        metric: its inner product says how alike points are.
        points: (N, k).
        labels: (N,).
        count: the most groups.

    Raises:
        InvalidInputError: there are more labels than groups.
    """
    names, sizes = np.unique(labels, return_counts=True)
    if len(names) > count:
        raise InvalidInputError(f"Points of {len(names)} labels need as many groups at least, not {count}.")
    if len(labels) <= count:
        return list(np.arange(len(labels))[:, None])
    together = 1
    while np.ceil(sizes / together).sum() > count:
        together += 1
    whitened, groups = metric.whitened(append_one(points))[0], []
    for name in names:
        left = np.flatnonzero(labels == name)
        while left.size:
            nearness = whitened[left] @ whitened[left[0]]
            nearness[0] = np.inf
            chosen = np.argsort(-nearness, kind="stable")[:together]
            groups.append(np.sort(left[chosen]))
            left = np.delete(left, chosen)
    return sorted(groups, key=lambda group: int(group[0]))


def rows_of(layer: nn.Linear, units: Indices | None = None) -> NDArray[np.floating]:
    """A layer's weights and, in the last column, biases, (m, k + 1); or those of some units, (U, k + 1)."""
    weight, bias = (value.detach() if units is None else value.detach()[units] for value in (layer.weight, layer.bias))
    return torch.cat([weight, bias[:, None]], dim=1).numpy()
