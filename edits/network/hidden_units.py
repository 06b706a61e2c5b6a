"""The units of the last hidden layer on ordinary images: which can be spared, and what must not set others off."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.channels import run_modules
from edits.network.training_images import MOMENT_BATCH, TrainingImages
from edits.network.training_metric import no_products, say_sure, with_weighted_products
from helpers.array_cache import cache_path, keep_array, read_array
from helpers.remembering import Rows
from sytorch import SecondMomentMetric, second_moment_metric
from sytorch.metrics.kronecker import NO_DOUBT, softmax_curvature
from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.problem.errors import InvalidInputError
from sytorch.spare_units.detectors import OF_ANOTHER_GROUP
from sytorch.spare_units.planting import SpareUnits, moment_with, spare_units

INPUT_RIDGE = 5e-4
PLANTED_RIDGE = 1e-3
ROUNDED_AT_A_TIME = 64  # columns, which stay in the CPU's cache
CACHE_BYTES = 128 * 2**20  # bytes, for what units are on images; 1,600 units and 20,000 images
NO_IMAGES = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class HiddenUnits:
    """A hidden linear layer, the ReLU behind it and the last layer, on a sample of the right training images.

    Attributes:
        images: the training images.
        layer: the hidden layer's name.
        linear, behind: that layer, and the last one.
        count: so many images, half of them those most in doubt.
    """

    images: TrainingImages
    layer: str
    linear: nn.Linear
    behind: nn.Linear
    count: int

    @property
    def chosen(self) -> Indices:
        """Positions of the images in the training split, (R,)."""
        return self.images.worth_while(self.count)[0]

    @property
    def shares(self) -> Vector:
        """How many training images each stands for, (R,)."""
        return self.images.worth_while(self.count)[1]

    @functools.cached_property
    def weights(self) -> Vector:
        """How much each counts, (R,), in sum 1: by how much its answer can still change."""
        doubts = softmax_curvature(self.images.logits[self.chosen]).numpy() * self.shares
        if doubts.sum() <= NO_DOUBT * self.shares.sum():
            say_sure()
            doubts = self.shares
        return np.asarray(doubts / doubts.sum())

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """Where the factor of `input_metric`, the `moment` and what is `spare` are kept."""
        facts = {**self.images.facts, "count": self.count}
        return (
            cache_path(f"factor-of-inputs-{self.layer}", **facts, ridge=INPUT_RIDGE),
            cache_path(f"moment-of-{self.layer}", **facts),
            cache_path(f"spare-units-of-{self.layer}", **facts),
        )

    @functools.cached_property
    def inputs(self) -> NDArray[np.float32]:
        """What the hidden layer gets from them, (R, k)."""
        return self.images.seen_at(self.layer, self.chosen)

    def ordinary(self, edited: Indices = NO_IMAGES) -> Iterator[NDArray[np.float32]]:
        """What it gets from the sample, and then from corrupted images, some at a time, but for edited ones.

        Args:
            edited: positions in the training split of images that are in the edit set.
        """
        for points, sources in ((self.inputs, self.chosen), (self._unusual_inputs, self.images.unusual[0])):
            for start in range(0, len(points), MOMENT_BATCH):
                part = slice(start, start + MOMENT_BATCH)
                others = ~np.isin(sources[part], edited)
                if others.any():
                    yield points[part] if others.all() else points[part][others]

    def source(self, position: int, edited: Indices = NO_IMAGES) -> int:
        """The training image that is, or whose corrupted copy is, at a position of `ordinary`; -1 for any other."""
        sources = np.concatenate([self.chosen, self.images.unusual[0]])
        sources = sources[~np.isin(sources, edited)]
        return int(sources[position]) if 0 <= position < len(sources) else OF_ANOTHER_GROUP

    def values(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the units are behind the ReLU, (N, m), for inputs (N, k)."""
        return np.asarray(run_modules([self.linear, nn.ReLU()], torch.from_numpy(inputs)).numpy())

    def values_of(self, rows: torch.Tensor) -> NDArray[np.float32]:
        """What units with other weights, (U, k + 1), are on the sample, (R, U); of earlier ones it is known."""
        return np.asarray(self._of_rows.of(rows).numpy().T)

    @functools.cached_property
    def _of_rows(self) -> Rows:
        inputs = self.inputs
        return Rows(lambda rows: behind_relu(rows, inputs).T, CACHE_BYTES)

    @functools.cached_property
    def input_metric(self) -> SecondMomentMetric:
        """How much a filter of the hidden layer's inputs responds to the sample: a second moment with a ridge."""
        width = self.linear.in_features + 1
        path = self.files[0]
        upper = read_array(path, (width, width), np.float64)
        if upper is None:
            moment = with_weighted_products(no_products(width - 1), self.inputs, self.weights)
            upper = second_moment_metric(moment, INPUT_RIDGE).factor.T
            keep_array(path, upper)
        return SecondMomentMetric(np.asarray(upper).T)

    @property
    def moment(self) -> NDArray[np.float32]:
        """The second moment of the units' values, a 1 appended, (m + 1, m + 1), its lower triangle."""
        return self._needed[0]

    @functools.cached_property
    def spare(self) -> SpareUnits:
        """All units, those first that the sample needs least."""
        order, lost = self._needed[1]
        return SpareUnits(order.astype(np.int64), np.array(lost))

    @functools.cached_property
    def _needed(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """That moment; and the order of the units, with what is lost without them, (2, m)."""
        width, (_, *paths) = self.linear.out_features, self.files
        moment, spare = read_array(paths[0], (width + 1, width + 1)), read_array(paths[1], (2, width), np.float64)
        if moment is not None and spare is not None:
            return moment, spare
        values, moment = self.values(self.inputs), no_products(width)
        for start in range(0, len(values), MOMENT_BATCH):
            part = slice(start, start + MOMENT_BATCH)
            moment = with_weighted_products(moment, values[part], self.weights[part])
        logits = self.images.logits[self.chosen].double().numpy()
        found = spare_units(self.behind.weight.detach().double().numpy(), values, logits, self.weights, self.shares)
        spare = np.stack([found.order, found.lost])
        for path, array in zip(paths, (moment, spare), strict=True):
            keep_array(path, array)
        return moment, spare

    def metric_with(
        self, units: Indices, planted: NDArray[np.float32], ridge: float, edited: Indices = NO_IMAGES
    ) -> SecondMomentMetric:
        """The last layer's metric where some units were planted anew.

        A column that no ordinary image sees costs its ridge alone: with all of it, other columns would change instead.
        The factor is rounded to float32, for the certificate of each repair keeps it.

        Args:
            units: (G,), their positions.
            planted: (R, G), their values for the sample.
            ridge: relative to the mean diagonal; `PLANTED_RIDGE` of it for columns that were planted.
            edited: as in `ordinary`: what is planted for these images is to be on for them.
        """
        planted = np.where(np.isin(self.chosen, edited)[:, None], 0, planted) if len(edited) else planted
        seen = np.flatnonzero(planted.any(axis=1))
        values, weights = self.values(self.inputs[seen]), self.weights[seen]

        def with_ridges(of_planted: Callable[[Matrix], Vector]) -> SecondMomentMetric:
            moment = moment_with(self.moment, units, planted[seen], values, weights)
            ridges = np.full(len(moment), ridge)
            ridges[units] *= of_planted(moment)
            return second_moment_metric(moment, ridges, overwrite=True)

        try:
            metric = with_ridges(lambda _: np.full(len(units), PLANTED_RIDGE))
        except InvalidInputError:  # of units that many ordinary images set off, rounding is more than such a ridge
            metric = with_ridges(lambda moment: 1 + len(moment) * moment[units, units] / np.trace(moment))
        for columns in np.array_split(metric.factor, len(metric.factor) // ROUNDED_AT_A_TIME + 1, axis=1):
            columns[:] = columns.astype(np.float32)
        return metric

    def fill_cache(self) -> None:
        """Compute what every planting looks up in the cache."""
        _ = self.input_metric, self._needed, self._unusual_inputs

    @functools.cached_property
    def _unusual_inputs(self) -> NDArray[np.float32]:
        return self.images.channels.behind(self.layer, torch.from_numpy(self.images.unusual[1])).numpy()


def behind_relu(rows: torch.Tensor, inputs: NDArray[np.float32]) -> torch.Tensor:
    """What units with these weights, the bias last, (U, k + 1), are behind the ReLU for inputs (N, k): (N, U)."""
    units = nn.Linear(rows.shape[1] - 1, len(rows))
    units.load_state_dict({"weight": rows[:, :-1], "bias": rows[:, -1]})
    return run_modules([units, nn.ReLU()], torch.from_numpy(inputs))
