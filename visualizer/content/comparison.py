"""Two networks side by side, from the outcomes of their repairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers.errors import ToolError
from visualizer.content.changes import Change
from visualizer.content.outcomes import Outcomes


@dataclass(frozen=True, eq=False)
class Side:
    """One network: the classes that it takes the test images for, int64 (R,), and how its weights differ."""

    predicted: NDArray[np.int64]
    changes: dict[str, Change]


@dataclass(frozen=True)
class ClassPair:
    """The accuracy of one class, by the network before, the first and the second; None where there are no images."""

    name: str
    count: int
    before: float | None
    first: float | None
    second: float | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks on the same test images.

    Attributes:
        class_names: of the classes.
        labels: of the test images, int64 (R,).
        before: what the network before the repairs takes them for, int64 (R,).
        first, second: the two.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    before: NDArray[np.int64]
    first: Side
    second: Side

    def kinds(self) -> dict[str, NDArray[np.int64]]:
        """Positions of test images: broken or fixed by both or one alone, beside the network before."""
        was, one, two = (taken == self.labels for taken in (self.before, self.first.predicted, self.second.predicted))
        masks = {
            "first_broke": was & ~one & two,
            "second_broke": was & one & ~two,
            "both_broke": was & ~one & ~two,
            "first_fixed": ~was & one & ~two,
            "second_fixed": ~was & ~one & two,
            "both_fixed": ~was & one & two,
        }
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}

    def classes(self) -> list[ClassPair]:
        """One row a class."""
        return [self._class(label, name) for label, name in enumerate(self.class_names)]

    def _class(self, label: int, name: str) -> ClassPair:
        mine = self.labels == label
        taken = (self.before, self.first.predicted, self.second.predicted)
        shares = [float((answers[mine] == label).mean()) if mine.any() else None for answers in taken]
        return ClassPair(name, int(mine.sum()), *shares)

    def accuracies(self) -> list[float]:
        """Of all test images: before, the first, the second."""
        return [float((taken == self.labels).mean()) for taken in (self.before, self.first.predicted, self.second.predicted)]  # fmt: skip  # noqa: E501

    def weights(self) -> list[tuple[str, Change | None, Change | None]]:
        """How each parameter changed by the first and by the second; None where it did not."""
        names = dict.fromkeys([*self.first.changes, *self.second.changes])
        return [(name, self.first.changes.get(name), self.second.changes.get(name)) for name in names]


def compared(first: Outcomes, second: Outcomes | None) -> Comparison:
    """Two repaired networks, or the network before a repair (first) and after it (second) where one alone is named.

    Raises:
        ToolError: they were measured on other test images, or are repairs of different networks.
    """
    if second is None:
        nothing = Side(first.test.predicted_before, {})
        return Comparison(first.class_names, first.test.labels, first.test.predicted_before, nothing, _side(first))
    if first.dataset_hash != second.dataset_hash:
        raise ToolError("These repairs were measured on different test images, so they cannot be compared.")
    if not np.array_equal(first.test.predicted_before, second.test.predicted_before):
        raise ToolError("These are repairs of different networks; compare them with repairs.py compare.")
    return Comparison(first.class_names, first.test.labels, first.test.predicted_before, _side(first), _side(second))


def _side(outcomes: Outcomes) -> Side:
    return Side(outcomes.test.predicted_after, {change.name: change for change in outcomes.changes})
