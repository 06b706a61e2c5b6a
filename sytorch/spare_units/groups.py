"""Points of one label that share a detector, where there are more of them than spare units."""

from __future__ import annotations

import numpy as np

from sytorch.problem.arrays import Indices, Matrix
from sytorch.problem.errors import InvalidInputError


def alike(points: Matrix, labels: Indices, count: int) -> list[Indices]:
    """Points by groups, at most ``count``, each of one label and as small as can be; alike points come together.

    Args:
        points: (N, k), in coordinates in which the inner product says how alike they are.
        labels: (N,).
        count: the most groups.

    Raises:
        InvalidInputError: there are more labels than groups.
    """
    names, sizes = np.unique(labels, return_counts=True)
    if len(names) > count:
        raise InvalidInputError(f"Points of {len(names)} labels need as many groups at least, not {count}.")
    together = 1
    while np.ceil(sizes / together).sum() > count:
        together += 1
    groups = []
    for name in names:
        left = np.flatnonzero(labels == name)
        while left.size:
            nearness = points[left] @ points[left[0]]
            nearness[0] = np.inf
            chosen = np.argsort(-nearness, kind="stable")[:together]
            groups.append(np.sort(left[chosen]))
            left = np.delete(left, chosen)
    return sorted(groups, key=lambda group: int(group[0]))
