from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from helpers.remembering import Pairs, Rows, remembers


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


def test_rows_of_any_lengths_are_remembered_one_by_one() -> None:
    asked = list[int]()

    def function(numbers: torch.Tensor) -> list[torch.Tensor]:
        asked.extend(numbers.tolist())
        return [torch.arange(number) for number in numbers.tolist()]

    rows = Rows(function, room=1_000, least=4)
    for numbers, lengths in (([0, 3], [0, 3]), ([3, 2, 0], [3, 2, 0])):
        assert [len(row) for row in rows.each(torch.tensor(numbers))] == lengths
    assert asked == [0, 3, 2, 2, 2, 2]  # few are computed in another order than many


def test_only_new_pairs_are_asked() -> None:
    asked = list[tuple[list[float], list[float]]]()

    def products(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        asked.append((rows.tolist(), columns.tolist()))
        return columns[:, None] * rows

    def check(rows: list[float], columns: list[float]) -> None:
        given = torch.tensor(rows), torch.tensor(columns)
        assert torch.equal(pairs.of(*given), given[1][:, None] * given[0])

    pairs = Pairs(products, room=1_000)
    check([2, 3], [5, 7])
    check([2, 3], [11, 13])  # another kind of copies
    assert asked == [([2, 3], [5, 7]), ([2, 3], [11, 13])]
    asked.clear()
    check([3, 17, 2], [7, 19, 5])
    assert asked == [([17], [7, 5]), ([3, 17, 2], [19])]
    asked.clear()
    check([17, 2], [13, 5])  # of 13 the values are older
    check([17, 2], [13, 5])
    assert asked == [([17], [13])]


def test_the_oldest_pairs_are_forgotten() -> None:
    asked = list[int]()

    def products(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        asked.append(len(columns))
        return columns[:, None] * rows

    pairs = Pairs(products, room=2 * 4 * 3)  # three columns of two rows
    rows = torch.tensor([2.0, 3.0])
    for columns in ([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0], [1.0]):
        assert torch.equal(pairs.of(rows, torch.tensor(columns)), torch.tensor(columns)[:, None] * rows)
    assert asked == [4, 1]
