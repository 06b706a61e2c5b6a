from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest

from helpers.remembering import remembers


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
