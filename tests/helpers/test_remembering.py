from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from helpers.remembering import Rows, remembers


@dataclass(frozen=True, eq=False)
class Squares:
    asked: list[int] = field(default_factory=list)

    @remembers(2)
    def of(self, number: int) -> int:
        """Its square."""
        self.asked.append(number)
        if number < 0:
            raise ValueError("negative")
        return number**2


def test_the_last_answers_are_remembered() -> None:
    squares = Squares()
    assert [squares.of(number) for number in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert squares.asked == [1, 2, 3, 2]
    assert Squares().of(1) == 1 and squares.asked == [1, 2, 3, 2]


def test_a_failure_is_not_remembered() -> None:
    squares = Squares()
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            squares.of(-1)
    assert squares.asked == [-1, -1]


def test_the_object_is_not_kept() -> None:
    squares = Squares()
    squares.of(1)
    gone = weakref.ref(squares)
    del squares
    gc.collect()
    assert gone() is None


def test_only_new_images_are_asked_and_the_oldest_are_forgotten() -> None:
    asked: list[list[float]] = []

    def function(images: torch.Tensor) -> torch.Tensor:
        asked.append(images[:, 0].tolist())
        return images * 10

    def of(*numbers: float) -> list[float]:
        return list(rows.of(torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2))[:, 0].tolist())

    rows = Rows(function, room=4 * 2 * 4)  # four rows of two numbers
    assert of(1, 2) == [10, 20] and of(2, 3, 1, 4) == [20, 30, 10, 40]
    assert of(1, 4) == [10, 40] and of(5, 6) == [50, 60]  # 2 and 3 are the oldest now
    assert of(1, 4, 2) == [10, 40, 20]
    assert asked == [[1, 2], [3, 4], [5, 6], [2, 2]]  # one alone is asked twice
    assert of(1, 2, 3, 4, 5, 7) == [10, 20, 30, 40, 50, 70]  # more than there is room for
