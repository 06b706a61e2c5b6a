"""Properties mean what they say, by looking at the outputs; what is asked of a point is a branch that implies them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sytorch
from sytorch.problem.outputs import AffineOutputs
from sytorch.problem.properties import Choice

OUTPUTS = st.lists(st.floats(-3, 3), min_size=4, max_size=4, unique=True).map(np.array)
NAMED = st.sets(st.integers(0, 3), min_size=1, max_size=3).map(sorted)


def without_outputs(count: int, outputs: int) -> AffineOutputs:
    return AffineOutputs(np.zeros((count, outputs)), np.zeros((count, 1)))


@given(OUTPUTS, NAMED)
def test_comparisons_say_who_is_greatest_and_least(outputs: np.ndarray, named: list[int]) -> None:
    one = outputs[None]
    assert sytorch.greatest(*named).holds(one)[0] == (int(outputs.argmax()) in named)
    assert sytorch.least(*named).holds(one)[0] == (int(outputs.argmin()) in named)
    assert sytorch.not_greatest(*named).holds(one)[0] == (int(outputs.argmax()) not in named)
    assert sytorch.not_least(*named).holds(one)[0] == (int(outputs.argmin()) not in named)


@given(OUTPUTS, st.floats(-2, 2), st.floats(0, 2))
def test_ranges_and_values(outputs: np.ndarray, low: float, width: float) -> None:
    inside = sytorch.between(1, low, low + width)
    assert inside.holds(outputs[None])[0] == (low <= outputs[1] <= low + width) or np.isclose(
        np.abs(outputs[1] - [low, low + width]).min(), 0
    )
    near = sytorch.close_to(np.zeros(4), width)
    assert near.holds(outputs[None])[0] == (np.abs(outputs).max() <= width) or np.isclose(np.abs(outputs).max(), width)
    half = sytorch.halfspaces([[1, 1, 0, 0]], low)
    assert half.holds(outputs[None])[0] == (outputs[0] + outputs[1] >= low) or np.isclose(outputs[:2].sum(), low)


@given(OUTPUTS, NAMED, st.integers(0, 3), st.floats(-2, 2))
def test_both_and_either(outputs: np.ndarray, named: list[int], output: int, low: float) -> None:
    one, two = sytorch.least(*named), sytorch.between(output, low)
    holds = [part.holds(outputs[None])[0] for part in (one, two)]
    assert (one & two).holds(outputs[None])[0] == all(holds)
    assert (one | two).holds(outputs[None])[0] == any(holds)


@given(OUTPUTS, st.floats(0.01, 1), st.data())
def test_whoever_meets_what_is_asked_has_the_property(outputs: np.ndarray, margin: float, data: st.DataObject) -> None:
    wanted = sytorch.not_least(2, 3) | sytorch.between(0, 4.0)
    choice = Choice([wanted, wanted], np.stack([outputs, -outputs]), margin)
    turned = 0
    while choice.turn([data.draw(st.integers(0, 1))]):
        turned += 1
        asked = choice.posed(without_outputs(2, 4))
        after = np.stack([data.draw(OUTPUTS), data.draw(OUTPUTS)]) * 2
        met = (asked.at(after) >= asked.required).all(axis=1)
        assert wanted.holds(after)[met].all()
        if turned == 2:
            break
    assert turned > 0


def test_the_nearest_branch_is_asked_first_and_each_point_turns_by_itself() -> None:
    wanted = sytorch.least(0) | sytorch.least(1)
    choice = Choice([wanted] * 2, np.array([[1.0, 3.0, 0.0], [3.0, 1.0, 0.0]]), 0.5)
    nothing = without_outputs(2, 3)
    assert choice.posed(nothing).weights[:, 0].tolist() == [[-1, 1, 0], [1, -1, 0]]
    assert choice.posed(nothing).kinds.tolist() != choice.posed(nothing).kinds[::-1].tolist()
    assert choice.turn([0]) and choice.posed(nothing).weights[:, 0].tolist() == [[1, -1, 0], [1, -1, 0]]
    assert not choice.turn([0]) and choice.turn([0, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sytorch.least, "Name one output"),
        (lambda: sytorch.least(4).holds(np.zeros((1, 4))), "no output 4"),
        (lambda: sytorch.not_least(0, 1).holds(np.zeros((1, 2))), "others"),
        (lambda: sytorch.between(0), "needs an end"),
        (lambda: sytorch.between(0, 2, 1), "in order"),
        (lambda: sytorch.close_to([np.nan], 1), "finite"),
        (lambda: sytorch.close_to([0.0, 1.0], 1).holds(np.zeros((1, 3))), "each of 3"),
        (lambda: sytorch.halfspaces([[1, 0]], np.nan).holds(np.zeros((1, 2))), "finite"),
        (lambda: sytorch.halfspaces([[0, 0]], 1).holds(np.zeros((1, 2))), "not zero"),
        (lambda: sytorch.at_least(without_outputs(2, 3), np.zeros((2, 2)), 0), "must be"),
        (lambda: sytorch.at_least(without_outputs(2, 3), np.zeros((2, 3)), np.zeros(3)), "each of"),
    ],
)
def test_what_makes_no_sense_is_said(make: object, message: str) -> None:
    with pytest.raises(sytorch.InvalidInputError, match=message):
        make()  # type: ignore[operator]
