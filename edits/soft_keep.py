"""Which images can be kept right, and how nearly: a soft program decides before the exact one proves.

As hard constraints, the few images that a repair cannot keep at a fair price push it far from all others. So the
least change in the metric is sought, beside the edit set's margins, at a price for each image that is wrong: the hinge
loss of a support vector machine, whose multipliers are capped. An image that stays wrong at that price is asked for no
more than it has there. With these floors as hard constraints the soft program's answer is the exact program's, which
is proved.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sytorch import Margins, Metric
from sytorch.arrays import Matrix, Vector
from sytorch.ascent import ascend
from sytorch.deadline import Deadline
from sytorch.gram import gram_of

ROUNDS = 5
ITERATIONS = 300
NEAR = 1e-2
SLACK = 1e-3


@dataclass(frozen=True, eq=False)
class SoftProgram:
    """Margins that have to hold, and leads that only have a price.

    Attributes:
        edits: what has to hold.
        kept: the leads, of K images, that are to be above zero.
        metric: where the change is small.
        deadline: of the search; `SolverTimeLimitError` is raised when it is over.
    """

    edits: Margins
    kept: Margins
    metric: Metric
    deadline: Deadline = field(default_factory=Deadline)

    def change(self, price: float) -> Matrix:
        """The change ``D``, (C, d), float32: kept leads pull by no more than ``price`` of the strongest margin's pull.

        Only leads that some round's change breaks take part.
        """
        strongest, change, rows = self._unpriced
        for _ in range(ROUNDS):
            missed = [
                margins.shortfall(margins.outputs.inputs @ change.T) > NEAR for margins in (self.edits, self.kept)
            ]
            if not any((new & ~old).any() for new, old in zip(missed, rows, strict=True)):
                break
            rows = [old | new for old, new in zip(rows, missed, strict=True)]
            working = _Working(self, rows)
            change = working.change(working.multipliers(price * strongest))
        return change

    @functools.cached_property
    def _unpriced(self) -> tuple[float, Matrix, list[NDArray[np.bool_]]]:
        """The edit set alone: its largest multiplier, its change, and the rows of both parts that made it."""
        rows = [self.edits.required > 0, np.zeros(self.kept.required.shape, dtype=bool)]
        working = _Working(self, rows)
        multipliers = working.multipliers(np.inf)
        return float(multipliers.max(initial=0.0)), working.change(multipliers), rows

    def floors(self, change: Matrix) -> Vector:
        """The least lead of each kept image after a change, (K,), where it is below zero; else zero."""
        logits = self.kept.outputs.at(change)
        others = logits.copy()
        others[np.arange(len(others)), self.kept.labels] = -np.inf
        leads = logits[np.arange(len(logits)), self.kept.labels] - others.max(axis=1)
        return np.asarray(np.minimum(leads - SLACK, 0.0))


class _Working:
    """Some rows of a soft program: the dual in float32."""

    def __init__(self, program: SoftProgram, rows: list[NDArray[np.bool_]]):
        parts = list(zip((program.edits, program.kept), rows, strict=True))
        used = [np.flatnonzero(chosen.any(axis=1)) for _, chosen in parts]
        inputs = np.concatenate(
            [margins.outputs.inputs[images] for (margins, _), images in zip(parts, used, strict=True)]
        )
        self._solved = torch.from_numpy(program.metric.solved(inputs)).float()
        kernels = torch.from_numpy(inputs).float() @ self._solved.transpose(1, 2)
        self._images, self._weights, self._needed = _constraints(parts, used)
        self._hard = torch.arange(len(self._needed)) < int(rows[0].sum())
        self._gram = gram_of(self._weights, self._images, kernels, program.deadline.check)

    def multipliers(self, most: float) -> NDArray[np.float32]:
        caps = torch.where(self._hard, torch.inf, most)
        found, _ = ascend(self._gram, self._needed, NEAR, ITERATIONS, caps)
        return found.numpy()

    def change(self, multipliers: NDArray[np.float32]) -> Matrix:
        pulled = torch.zeros(self._solved.shape[1], self._weights.shape[1])
        pulled.index_add_(0, self._images, self._weights * torch.from_numpy(multipliers)[:, None])
        pairs = zip(pulled.tensor_split(len(self._solved), dim=1), self._solved, strict=True)
        return np.asarray(torch.cat([part.T @ solved for part, solved in pairs]).double().numpy())


def _constraints(
    parts: list[tuple[Margins, NDArray[np.bool_]]], used: list[NDArray[np.int64]]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows' images, among those used, (R,); how each logit counts, (R, C); and what each lacks, (R,)."""
    images, weights, needed, before = [], [], [], 0
    for (margins, chosen), positions in zip(parts, used, strict=True):
        image, other = np.nonzero(chosen)
        one_hot = np.eye(chosen.shape[1], dtype=np.float32)
        images.append(np.searchsorted(positions, image) + before)
        weights.append(one_hot[margins.labels[image]] - one_hot[other])
        needed.append(margins.required[image, other].astype(np.float32))
        before += len(positions)
    joined = (torch.from_numpy(np.concatenate(part)) for part in (images, weights, needed))
    return next(joined), next(joined), next(joined)
