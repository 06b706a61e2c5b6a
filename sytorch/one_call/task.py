"""What `sytorch.repair` is given, checked, and what every way to repair needs of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from sytorch.hidden_layer.polytopes import Polytopes
from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.checks import check_images, checked_labels, checked_sizes
from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import InvalidInputError
from sytorch.problem.margins import Margins, Requirements
from sytorch.problem.margins import margin as margins_of
from sytorch.problem.outputs import AffineOutputs
from sytorch.problem.properties import Choice, Property
from sytorch.solvers.linear_program import Solver

BATCH = 1000
RELATIVE_MARGIN = 0.05  # of the median margin of ordinary points
NOISE_POINTS = 25
ROUNDING = 2e-6  # of the largest output, what float32 may take of a margin
STILL = 1e-2  # of an output's spread: a single output that moves by less says the same

Points = torch.Tensor | NDArray[np.floating]
Labels = ArrayLike | torch.Tensor
Wanted = Labels | Property | Sequence[Property]
Margin = float | Literal["auto"]


class Choosing(Protocol):
    """What is asked of points, where there may be a choice."""

    def posed(self, outputs: AffineOutputs) -> Requirements:
        """What is asked of outputs, as it is chosen now."""

    def turn(self, points: Sequence[int]) -> bool:
        """Choose otherwise for one of these points; whether that can be."""


@dataclass(frozen=True, eq=False)
class OfLabels:
    """Margins of labels, (N,), which leave no choice."""

    labels: Indices
    margin: float

    def posed(self, outputs: AffineOutputs) -> Margins:
        """See `Choosing`."""
        return margins_of(outputs, self.labels, self.margin)

    def turn(self, _: Sequence[int]) -> bool:
        """See `Choosing`."""
        return False


@dataclass(frozen=True, eq=False)
class Task:
    """Points, what is required of their outputs, and what is to stay as it was.

    Attributes:
        model: in evaluation mode; never changed.
        points: (N, ...), of the model's type.
        required: of their outputs, posed on outputs of zeros.
        margin: by which comparisons are to be strict.
        ordinary: (R, ...), points whose answers are to stay; None where nobody says.
        kept: the property that ordinary points are to keep; None for their greatest output.
        bound: on every entry of every change.
        solver: of linear programs.
        deadline: of everything.
        regions: the polytopes whose vertices the points are; None where they are single points.
    """

    model: nn.Module
    points: torch.Tensor
    required: Requirements
    margin: float
    ordinary: torch.Tensor | None
    kept: Property | None
    bound: float
    solver: Solver
    deadline: Deadline
    regions: Polytopes | None = None

    def of(self, points: Indices) -> Task:
        """The same of chosen points."""
        return replace(self, points=self.points[torch.from_numpy(points)], required=self.required.of(points))

    @functools.cached_property
    def outputs(self) -> Matrix:
        """Of the points, (N, C), before."""
        return outputs_of(self.model, self.points)

    @functools.cached_property
    def ordinary_outputs(self) -> Matrix:
        """Of the ordinary points, (R, C), before."""
        assert self.ordinary is not None
        return outputs_of(self.model, self.ordinary)

    @property
    def largest_side(self) -> int:
        """Of the matrices that the network multiplies points with, and of a point."""
        weights = [weight for weight in self.model.parameters() if weight.ndim > 1]
        return max([self.points[0].numel(), *(side for weight in weights for side in weight.flatten(1).shape)])

    @property
    def allowance(self) -> float:
        """By how much more than the margin programs ask, for rounding."""
        return max(ROUNDING * max(float(np.abs(self.outputs).max()), self.margin), 4 * self.noise)

    @functools.cached_property
    def noise(self) -> float:
        """How far outputs may be apart with other points beside them, or other threads: large where hidden values are.

        It is twice what is seen of points that run together, and one by one.
        """
        alone = np.concatenate([outputs_of(self.model, point) for point in torch.split(self.points[:NOISE_POINTS], 1)])
        return 2 * float(np.abs(alone - self.outputs[:NOISE_POINTS]).max())

    def asking(self, outputs: AffineOutputs, more: float) -> Requirements:
        """What is required of outputs, by so much more."""
        return replace(self.required, required=self.required.required + more).posed(outputs)

    def missing(self, model: nn.Module) -> Vector:
        """By how much each point misses what it misses most, (N,), by a forward pass; not positive where nothing."""
        outputs = outputs_of(model, self.points)
        return np.asarray((self.required.required - self.required.at(outputs)).max(axis=1))

    def lost(self, model: nn.Module) -> float | None:
        """Which share of the ordinary points no longer says what it said."""
        if self.ordinary is None:
            return None
        before, after = self.ordinary_outputs, outputs_of(model, self.ordinary)
        if self.kept is not None:
            held = self.kept.holds(before)
            return float((held & ~self.kept.holds(after)).sum() / max(int(held.sum()), 1))
        return float(1.0 - _same(before, after).mean())


def _same(before: Matrix, after: Matrix) -> Mask:
    if before.shape[1] > 1:
        return np.asarray(before.argmax(axis=1) == after.argmax(axis=1))
    return np.asarray(np.abs(after - before)[:, 0] <= STILL * before.std())


def outputs_of(model: nn.Module, points: torch.Tensor) -> Matrix:
    """The outputs of points, (N, C) float64.

    Raises:
        InvalidInputError: the model takes no such points, or gives no finite vector for each.
    """
    try:
        with torch.inference_mode():
            outputs = torch.cat([model(batch) for batch in torch.split(points, BATCH)])
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidInputError(f"The network takes no points of {tuple(points.shape[1:])}: {error}") from error
    if outputs.ndim != 2 or not torch.isfinite(outputs).all():
        raise InvalidInputError(f"The network must give a finite vector for each point, not {tuple(outputs.shape)}.")
    return np.asarray(outputs.double().numpy())


def as_points(points: Points, model: nn.Module) -> torch.Tensor:
    """Points as a tensor of the model's floating-point type.

    Raises:
        InvalidInputError: they are no finite floats, or none.
    """
    tensor = torch.as_tensor(points)
    check_images(tensor)
    kind = next((value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32)
    return tensor.detach().to(kind)


def at_vertices(wanted: Wanted, regions: Polytopes) -> Wanted:
    """What is wanted of polytopes, of each of their vertices.

    Raises:
        InvalidInputError: there is not one label, or property, for each polytope.
    """
    if isinstance(wanted, Property):
        return wanted
    owners, count = regions.owners.numpy(), int(regions.owners[-1]) + 1
    check_count(wanted, count, "polytopes")
    if _are_properties(wanted):
        return [wanted[owner] for owner in owners]
    labels = np.asarray(wanted)
    if labels.shape != (count,):
        raise InvalidInputError(f"There must be one label for each polytope, ({count},), not {labels.shape}.")
    return np.asarray(labels[owners])


def choosing(wanted: Wanted, outputs: Matrix, margin: float, regions: Polytopes | None) -> Choosing:
    """What is wanted of points with these outputs, (N, C), by a margin; see `checked_labels` for what is raised."""
    groups = None if regions is None else regions.owners.numpy()
    if isinstance(wanted, Property):
        return Choice([wanted] * len(outputs), outputs, margin, groups)
    if _are_properties(wanted):
        return Choice(wanted, outputs, margin, groups)
    (size,) = checked_sizes([margin], 1)
    return OfLabels(checked_labels(cast(Labels, wanted), *outputs.shape), float(size))


def check_count(wanted: Wanted, count: int, what: str = "points") -> None:
    """Raise `InvalidInputError` where properties are not one, or one for each of so many points."""
    if _are_properties(wanted) and len(wanted) != count:
        raise InvalidInputError(f"There must be one property, or one for each of {count} {what}, not {len(wanted)}.")


def margin_of(wanted: Wanted, outputs: Matrix, margin: Margin) -> float:
    """The margin: as given, or a part of the median one of these outputs, (R, C), of ordinary points.

    Raises:
        InvalidInputError: it is negative or no number, or properties of single points leave open what is usual.
    """
    if margin != "auto":
        if not 0 <= margin < np.inf:
            raise InvalidInputError(f"The margin must be a number, zero or more, or 'auto', not {margin}.")
        return float(margin)
    if isinstance(wanted, Property):
        usual = wanted.slack(outputs)
        usual = usual[usual > 0]
    elif _are_properties(wanted):
        raise InvalidInputError("Name a margin: points with properties of their own have none that is usual.")
    elif outputs.shape[1] < 2:
        raise InvalidInputError("Name a margin, or a property: a single output has no margin of labels.")
    else:
        first, second = np.sort(outputs, axis=1)[:, -1], np.sort(outputs, axis=1)[:, -2]
        usual = first - second
    return RELATIVE_MARGIN * float(np.median(usual)) if usual.size else 0.0


def _are_properties(wanted: Wanted) -> TypeGuard[Sequence[Property]]:
    return isinstance(wanted, Sequence) and len(wanted) > 0 and isinstance(wanted[0], Property)
