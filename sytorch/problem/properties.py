"""Properties of one point's outputs: linear inequalities, any of several sets of them, each with a margin.

>>> sytorch.least(0) & sytorch.between(4, -1.0, 1.0)
>>> sytorch.not_least(3, 4)  # neither output 3 nor output 4 is the least
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sytorch.problem.arrays import Indices, Mask, Matrix, Vector
from sytorch.problem.checks import checked_weights
from sytorch.problem.errors import InvalidInputError
from sytorch.problem.margins import Inequalities, at_least
from sytorch.problem.outputs import AffineOutputs

Branch = tuple[Matrix, Vector]  # A, (R, C), and b, (R,), of A y >= b


@dataclass(frozen=True, eq=False)
class Property:
    """What outputs are to be: one of its branches is to hold, each a set of inequalities ``A y >= b``.

    Attributes:
        branches: of C outputs and a margin, by which comparisons are to be strict.
    """

    branches: Callable[[int, float], Sequence[Branch]]

    def __and__(self, other: Property) -> Property:
        """Both."""

        def both(outputs: int, margin: float) -> list[Branch]:
            pairs = itertools.product(self.branches(outputs, margin), other.branches(outputs, margin))
            return [(np.vstack([one[0], two[0]]), np.concatenate([one[1], two[1]])) for one, two in pairs]

        return Property(both)

    def __or__(self, other: Property) -> Property:
        """One of the two at least."""
        return Property(lambda outputs, size: [*self.branches(outputs, size), *other.branches(outputs, size)])

    def lacking(self, outputs: Matrix, margin: float = 0.0) -> Matrix:
        """How far outputs, (N, C), are from each of B branches: the distance of what is missed most, (N, B)."""
        missed = []
        for weights, least in self.branches(outputs.shape[1], margin):
            lengths = np.linalg.norm(weights, axis=1)
            missed.append(((least - outputs @ weights.T) / lengths).max(axis=1).clip(min=0.0))
        return np.stack(missed, axis=1)

    def slack(self, outputs: Matrix) -> Vector:
        """By how much outputs, (N, C), have the property, (N,): negative where they have not."""
        branches = [
            (outputs @ weights.T - least).min(axis=1) for weights, least in self.branches(outputs.shape[1], 0.0)
        ]
        return np.asarray(np.max(branches, axis=0))

    def holds(self, outputs: Matrix, margin: float = 0.0) -> Mask:
        """Which of N points' outputs, (N, C), have the property, (N,)."""
        return np.asarray((self.lacking(outputs, margin) == 0.0).any(axis=1))


def greatest(*own: int) -> Property:
    """One of these outputs is greater than all others."""
    return _compared(own, 1.0)


def least(*own: int) -> Property:
    """One of these outputs is less than all others."""
    return _compared(own, -1.0)


def not_greatest(*shunned: int) -> Property:
    """None of these outputs is the greatest: another one is greater than all of them."""
    return _shunned(shunned, 1.0)


def not_least(*shunned: int) -> Property:
    """None of these outputs is the least: another one is less than all of them."""
    return _shunned(shunned, -1.0)


def between(output: int, low: float = -np.inf, high: float = np.inf) -> Property:
    """An output is within a range.

    Raises:
        InvalidInputError: the range is empty, or has no end.
    """
    if not low <= high or (np.isinf(low) and np.isinf(high)):
        raise InvalidInputError(f"A range needs an end, and its ends in order, not {low} and {high}.")

    def one(outputs: int, _: float) -> list[Branch]:
        unit = np.eye(outputs)[[_checked(output, outputs)]]
        ends = [(unit, low), (-unit, -high)]
        kept = [(weights, end) for weights, end in ends if np.isfinite(end)]
        return [(np.vstack([weights for weights, _ in kept]), np.array([end for _, end in kept]))]

    return Property(one)


def close_to(values: ArrayLike, within: float) -> Property:
    """Every output is within a distance of a given value: what a regression is to give.

    Raises:
        InvalidInputError: the values are not finite, or the distance is not zero or more.
    """
    wanted = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not np.isfinite(wanted).all() or not 0 <= within < np.inf:
        raise InvalidInputError("Values must be finite, and the distance from them zero or more.")

    def one(outputs: int, _: float) -> list[Branch]:
        if wanted.shape != (outputs,):
            raise InvalidInputError(f"There must be a value for each of {outputs} outputs, not {wanted.shape}.")
        unit = np.eye(outputs)
        return [(np.vstack([unit, -unit]), np.concatenate([wanted - within, -wanted - within]))]

    return Property(one)


def halfspaces(weights: ArrayLike, least: ArrayLike) -> Property:
    """``A y >= b``: weights, (R, C), and numbers, (R,) or one for all."""
    rows = np.asarray(weights, dtype=np.float64)

    def one(outputs: int, _: float) -> list[Branch]:
        (checked,), (numbers,) = checked_weights(rows, least, 1, outputs)
        if not checked.any(axis=1).all():
            raise InvalidInputError("Every inequality needs a weight that is not zero.")
        return [(checked, numbers)]

    return Property(one)


class Choice:
    """Which branch is asked of each point: the nearest at first, another one where that cannot be had together.

    Args:
        properties: of each point.
        outputs: (N, C).
        margin: by which comparisons are to be strict.
        groups: (N,), equal numbers for points of one property that are to have the same branch; None for each its own.
    """

    def __init__(self, properties: Sequence[Property], outputs: Matrix, margin: float, groups: Indices | None = None):
        self._groups = np.arange(len(outputs)) if groups is None else groups
        self._branches = [own.branches(outputs.shape[1], margin) for own in properties]
        lacking = [own.lacking(outputs[[i]], margin)[0] for i, own in enumerate(properties)]
        if groups is not None:
            members = [np.flatnonzero(groups == group) for group in groups]
            lacking = [np.max([lacking[i] for i in every], axis=0) for every in members]
        self._lacking = lacking
        self._ranks = [np.argsort(lacking, kind="stable") for lacking in self._lacking]
        self._places = np.zeros(len(properties), dtype=np.int64)

    def posed(self, outputs: AffineOutputs) -> Inequalities:
        """What is asked of all points' outputs; points with fewer inequalities have void ones."""
        chosen = [own[ranks[at]] for own, ranks, at in zip(self._branches, self._ranks, self._places, strict=True)]
        rows = max(len(numbers) for _, numbers in chosen)
        weights = np.zeros((len(chosen), rows, outputs.logits.shape[1]))
        asked = np.full((len(chosen), rows), -np.inf)
        for point, (own, numbers) in enumerate(chosen):
            weights[point, : len(numbers)], asked[point, : len(numbers)] = own, numbers
        return at_least(outputs, weights, asked)

    def turn(self, points: Sequence[int]) -> bool:
        """Ask another branch of the one of these points for which that is least far; whether there is one."""
        open_ = [i for i in points if self._places[i] + 1 < len(self._ranks[i])]
        if not open_:
            return False
        self._places[self._groups == self._groups[min(open_, key=self._price)]] += 1
        return True

    def _price(self, point: int) -> float:
        lacking, ranks, place = self._lacking[point], self._ranks[point], int(self._places[point])
        return float(lacking[ranks[place + 1]] - lacking[ranks[place]])


def _compared(own: tuple[int, ...], sign: float) -> Property:
    def each(outputs: int, margin: float) -> list[Branch]:
        chosen = [_checked(output, outputs) for output in own]
        others = np.setdiff1d(np.arange(outputs), chosen)
        unit = np.eye(outputs)
        return [(sign * (unit[[output]] - unit[others]), np.full(len(others), margin)) for output in chosen]

    return _of_some(own, each)


def _shunned(shunned: tuple[int, ...], sign: float) -> Property:
    def each(outputs: int, margin: float) -> list[Branch]:
        chosen = [_checked(output, outputs) for output in shunned]
        unit = np.eye(outputs)
        others = np.setdiff1d(np.arange(outputs), chosen)
        return [(sign * (unit[[other]] - unit[chosen]), np.full(len(chosen), margin)) for other in others]

    return _of_some(shunned, each)


def _of_some(named: tuple[int, ...], branches: Callable[[int, float], Sequence[Branch]]) -> Property:
    if not named:
        raise InvalidInputError("Name one output at least.")

    def checked(outputs: int, margin: float) -> Sequence[Branch]:
        if len(set(named)) >= outputs:
            raise InvalidInputError(f"Of {outputs} outputs there must be others than those that are named.")
        return branches(outputs, margin)

    return Property(checked)


def _checked(output: int, outputs: int) -> int:
    if not 0 <= output < outputs:
        raise InvalidInputError(f"There is no output {output}; there are {outputs}, from 0 on.")
    return output
