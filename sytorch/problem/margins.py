"""What is required of the outputs of images: linear inequalities, of which margins are one kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from sytorch.problem.arrays import Indices, Matrix, Stack
from sytorch.problem.checks import check_outputs, checked_labels, checked_sizes, checked_weights
from sytorch.problem.errors import InvalidInputError
from sytorch.problem.outputs import AffineOutputs


@dataclass(frozen=True)
class Requirements(ABC):
    """Constraints ``<a[i, r], D h[i]> >= required[i, r]`` of N images, R each; ``a[i, r]`` weighs the outputs.

    Attributes:
        outputs: the images' affine outputs.
        required: (N, R), by how much ``<a, D h>`` has to rise; minus infinity where nothing is required.
    """

    outputs: AffineOutputs
    required: Matrix

    @property
    def classes(self) -> int:
        """C, how many outputs there are."""
        return int(self.outputs.logits.shape[1])

    @abstractmethod
    def at(self, logits: Matrix, images: Indices | None = None) -> Matrix:
        """What every constraint says of outputs, (P, C) to (P, R); of all images, or those at positions ``images``."""

    @abstractmethod
    def rise(self, logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The same of tensors, (P, C), of images at positions (P,); autograd goes through it."""

    @abstractmethod
    def combine(self, multipliers: Matrix, images: Indices | None = None) -> Matrix:
        """The weight that each output has in a sum of constraints with multipliers, (P, R) to (P, C)."""

    @abstractmethod
    def weights_of(self, images: Indices, places: Indices) -> Matrix:
        """The weights of the outputs in chosen constraints, (A, C)."""

    @abstractmethod
    def of(self, images: Indices) -> Self:
        """The constraints of chosen images."""

    @property
    @abstractmethod
    def kinds(self) -> Indices:
        """(N,), equal numbers for images of which the same is required, but for how much."""

    def posed(self, outputs: AffineOutputs) -> Self:
        """The same required of other outputs of as many images."""
        required = self.required + self.at(self.outputs.logits) - self.at(outputs.logits)
        return replace(self, outputs=outputs, required=required)

    def shortfall(self, movement: Matrix) -> Matrix:
        """By how much each constraint is missed, (N, R), when the outputs move by ``movement``, (N, C)."""
        return self.required - self.at(movement)

    def total(self, multipliers: Matrix, magnitudes: bool = False) -> float:
        """The sum of what the constraints require, or of the magnitudes of that, with these multipliers."""
        required = np.where(np.isfinite(self.required), self.required, 0.0)
        return float((multipliers * (np.abs(required) if magnitudes else required)).sum())

    def magnitudes(self, multipliers: Matrix) -> Matrix:
        """The same as `combine` of the weights' magnitudes, (N, C): constraints of one image may cancel each other."""
        return np.abs(self.combine(multipliers))

    def counted(self, multipliers: Matrix, images: Indices | None = None) -> Matrix:
        """The multipliers, (P, R), zero where nothing is required."""
        required = self.required if images is None else self.required[images]
        return np.where(np.isfinite(required), multipliers, 0.0)

    def _chosen(self, images: Indices) -> tuple[AffineOutputs, Matrix]:
        outputs = AffineOutputs(self.outputs.logits[images], self.outputs.inputs[images])
        return outputs, self.required[images]


@dataclass(frozen=True)
class Margins(Requirements):
    """The constraints ``(z + D h)[y] >= (z + D h)[j] + margin`` of N images and every class j other than y; R is C.

    Attributes:
        labels: (N,) the class y of each image.
    """

    labels: Indices

    def at(self, logits: Matrix, images: Indices | None = None) -> Matrix:
        """See `Requirements.at`: ``logits[y] - logits[j]``."""
        labels = self.labels if images is None else self.labels[images]
        own = logits[np.arange(len(logits)), labels]
        return np.asarray(own[:, None] - logits)

    def rise(self, logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """See `Requirements.rise`."""
        own = torch.from_numpy(self.labels)[images, None]
        return logits.gather(1, own) - logits

    def combine(self, multipliers: Matrix, images: Indices | None = None) -> Matrix:
        """See `Requirements.combine`."""
        labels = self.labels if images is None else self.labels[images]
        counted = self.counted(multipliers, images)
        weights = -counted
        weights[np.arange(len(weights)), labels] += counted.sum(axis=1)
        return weights

    def weights_of(self, images: Indices, places: Indices) -> Matrix:
        """See `Requirements.weights_of`: 1 of the own class, -1 of the other."""
        weights, rows = np.zeros((len(images), self.classes)), np.arange(len(images))
        weights[rows, self.labels[images]] += 1.0
        weights[rows, places] -= 1.0
        return weights

    def of(self, images: Indices) -> Self:
        """See `Requirements.of`."""
        outputs, required = self._chosen(images)
        return replace(self, outputs=outputs, required=required, labels=self.labels[images])

    @property
    def kinds(self) -> Indices:
        """See `Requirements.kinds`: the labels."""
        return self.labels


@dataclass(frozen=True)
class Inequalities(Requirements):
    """Constraints with any weights of the outputs.

    Attributes:
        weights: (N, R, C).
    """

    weights: Stack

    def at(self, logits: Matrix, images: Indices | None = None) -> Matrix:
        """See `Requirements.at`."""
        weights = self.weights if images is None else self.weights[images]
        return np.asarray(np.einsum("nrc,nc->nr", weights, logits), dtype=logits.dtype)

    def rise(self, logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """See `Requirements.rise`."""
        weights = torch.from_numpy(self.weights[images.numpy()]).to(logits.dtype)
        return torch.einsum("nrc,nc->nr", weights, logits)

    def combine(self, multipliers: Matrix, images: Indices | None = None) -> Matrix:
        """See `Requirements.combine`."""
        weights = self.weights if images is None else self.weights[images]
        counted = self.counted(multipliers, images)
        return np.asarray(np.einsum("nrc,nr->nc", weights, counted), dtype=counted.dtype)

    def magnitudes(self, multipliers: Matrix) -> Matrix:
        """See `Requirements.magnitudes`."""
        return np.asarray(np.einsum("nrc,nr->nc", np.abs(self.weights), self.counted(multipliers)))

    def weights_of(self, images: Indices, places: Indices) -> Matrix:
        """See `Requirements.weights_of`."""
        return self.weights[images, places]

    def of(self, images: Indices) -> Self:
        """See `Requirements.of`."""
        outputs, required = self._chosen(images)
        return replace(self, outputs=outputs, required=required, weights=self.weights[images])

    @property
    def kinds(self) -> Indices:
        """See `Requirements.kinds`."""
        flat = self.weights.reshape(len(self.weights), -1)
        return np.unique(flat, axis=0, return_inverse=True)[1].astype(np.int64)


def margin(outputs: AffineOutputs, labels: ArrayLike | torch.Tensor, size: ArrayLike) -> Margins:
    """Constrain every output's own logit to exceed all others by a margin.

    Args:
        outputs: of N images.
        labels: whole numbers, (N,), each the index of an output.
        size: by how much, one for all or one for each image, (N,); minus infinity requires nothing.

    Raises:
        InvalidInputError: the outputs are not finite, or labels or sizes do not fit them.
    """
    check_outputs(outputs)
    count, classes = outputs.logits.shape
    if classes < 2:
        raise InvalidInputError("A margin needs two classes at least.")
    own_class = checked_labels(labels, count, classes)
    own = outputs.logits[np.arange(count), own_class]
    required = checked_sizes(size, count)[:, None] - (own[:, None] - outputs.logits)
    required[np.arange(count), own_class] = -np.inf
    return Margins(outputs, required, own_class)


def at_least(outputs: AffineOutputs, weights: ArrayLike, least: ArrayLike) -> Inequalities:
    """Constrain ``A y >= b`` of every image's outputs y.

    Args:
        outputs: of N images, C outputs.
        weights: A, (R, C) for all images or (N, R, C).
        least: b, one number, (R,) or (N, R); minus infinity requires nothing.

    Raises:
        InvalidInputError: the outputs are not finite, or A or b do not fit them, or hold NaN.
    """
    check_outputs(outputs)
    rows, asked = checked_weights(weights, least, *outputs.logits.shape)
    return Inequalities(outputs, asked - np.einsum("nrc,nc->nr", rows, outputs.logits), rows)
