from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.remembering import Grid, Rows, remembers


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


@given(st.lists(st.tuples(*[st.lists(st.integers(0, 6), min_size=1, max_size=6)] * 2), max_size=6), st.integers(0, 400))
def test_a_grid_gives_what_the_function_gives_whatever_was_asked_before(
    asked: list[tuple[list[int], list[int]]], room: int
) -> None:
    def function(images: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        return 10 * images[:, :1] + units[:, :1].T

    grid = Grid(function, room)
    for of_images, of_units in asked:
        images, units = (torch.tensor(numbers).float()[:, None].expand(-1, 2) for numbers in (of_images, of_units))
        assert torch.equal(grid.of(images, units), function(images, units))


def test_of_a_grid_only_new_pairs_are_made() -> None:
    made: list[tuple[int, int]] = []

    def function(images: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        made.append((len(images), len(units)))
        return images @ units.T

    grid, images, units = Grid(function, room=10**6), torch.eye(5), torch.arange(20.0).view(4, 5)
    for images_asked, units_asked in ((3, 2), (3, 2), (5, 4), (2, 1)):
        grid.of(images[:images_asked], units[:units_asked])
    assert made[:1] == [(3, 2)] and sorted(made[1:3]) == [(2, 4), (3, 2)]
    assert made[3:] == [(2, 1)], "units that are not asked for again are forgotten"
