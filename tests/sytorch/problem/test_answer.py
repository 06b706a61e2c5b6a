"""Every status of both programs: what the answer holds, and that unwrapping it raises what solving raises."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch

import sytorch
from sytorch.hidden_layer.moves import Moves
from sytorch.last_layer.verification import BestSoFar
from sytorch.problem.arrays import Matrix
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.linear_program import LinearProgram, LinearSolution
from tests.sytorch.hidden_layer.test_polytopes import ramp_program
from tests.sytorch.hidden_layer.test_program import assert_margins_and_pattern
from tests.sytorch.hidden_layer.test_program import program as hidden_program
from tests.sytorch.last_layer.test_quadratic import program as last_program
from tests.sytorch.last_layer.test_verification import many


class Looks(sytorch.Deadline):
    """A time that is up after so many looks at it, however fast the machine is."""

    def __init__(self, looks: int):
        super().__init__()
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise sytorch.SolverTimeLimitError("The time limit was reached.")


class Raising:
    """A solver that raises."""

    name = "raising"

    def __init__(self, error: sytorch.SytorchError):
        self.error = error

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        raise self.error


def assert_unsolved(answer: sytorch.Answer, status: sytorch.Status, error: type[sytorch.SytorchError]) -> None:
    """The answer has that status, and unwrapping raises that error with the reason as its message."""
    assert answer.status is status and answer.status.remedy.endswith(".")
    assert answer.reason
    with pytest.raises(error) as caught:
        answer.unwrap()
    assert str(caught.value) == answer.reason
    assert (answer.contradiction is not None) == (status is sytorch.Status.REFUTED)


@pytest.mark.parametrize("norm", ["l1", "linf", "l2"])
def test_the_last_layer_is_solved(norm: str) -> None:
    answer = last_program(norm, 0, 5.0).answer("highs")
    assert answer.status is sytorch.Status.SOLVED and answer.reason == "" and answer.contradiction is None
    assert answer.unwrap() is answer.solution
    np.testing.assert_array_equal(answer.unwrap().change, last_program(norm, 0, 5.0).solve("highs").change)


@pytest.mark.parametrize("norm", ["l1", "linf", "l2"])
def test_the_last_layer_is_refuted(norm: str) -> None:
    program = last_program(norm, 0, 0.01)
    answer = program.answer("highs")
    assert_unsolved(answer, sytorch.Status.REFUTED, sytorch.ContradictionError)
    assert answer.solution is None
    assert answer.contradiction is not None and program.refutes(answer.contradiction.multipliers)


def test_the_last_layer_has_no_licence_or_is_given_up() -> None:
    unlicensed = last_program("l1", 0, 5.0).answer(Raising(sytorch.LicenceError("There is no licence.")))
    assert_unsolved(unlicensed, sytorch.Status.NO_LICENCE, sytorch.LicenceError)
    failed = last_program("l1", 0, 5.0).answer(Raising(sytorch.SolverFailedError("It failed.")))
    assert_unsolved(failed, sytorch.Status.GAVE_UP, sytorch.SolverFailedError)
    assert unlicensed.solution is None and failed.solution is None


@pytest.mark.parametrize("norm", ["l1", "linf", "l2"])
def test_without_time_the_last_layer_has_no_solution(norm: str) -> None:
    answer = last_program(norm, 0, 5.0).answer("highs", 0.0)
    assert_unsolved(answer, sytorch.Status.TIME_LIMIT, sytorch.SolverTimeLimitError)
    assert answer.solution is None


def test_at_a_time_limit_the_last_layer_has_its_best_so_far() -> None:
    """Each is feasible, and between its objective and its lower bound is the optimum."""
    program = many(100, 12, 1)
    optimum, seen = program.solve("highs").objective, 0
    for looks in range(1, 9):
        answer = program.answer("highs", Looks(looks))
        if answer.status is sytorch.Status.SOLVED:
            break
        assert_unsolved(answer, sytorch.Status.TIME_LIMIT, sytorch.SolverTimeLimitError)
        if answer.solution:
            assert_feasible(program, answer.solution)
            assert 0.9 * optimum < answer.solution.lower_bound or looks < 5
            assert answer.solution.lower_bound <= optimum * (1 + 1e-9)
            assert answer.solution.objective >= optimum * (1 - 1e-9)
            seen += 1
    assert seen


def assert_feasible(program: sytorch.Program, found: sytorch.Solution) -> None:
    missed = program.margins.shortfall(program.margins.outputs.inputs @ found.change.T).max()
    assert missed <= 1e-6 and found.max_abs_change <= program.bound * (1 + 1e-6)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_best_so_far_is_the_least_multiple_of_the_last_point_that_has_the_margins(norm: str) -> None:
    program = last_program(norm, 2, 5.0)
    found = program.solve("highs")
    point = found.change if found.coordinates is None else found.coordinates
    best = at_time_limit(program, 0.5 * point, found.multipliers)
    assert best is not None
    assert_feasible(program, best)
    assert best.objective == pytest.approx(found.objective, rel=1e-6)
    assert best.lower_bound == pytest.approx(found.lower_bound, rel=1e-6)
    assert at_time_limit(program, -point, found.multipliers) is None  # no multiple has the margins
    assert at_time_limit(last_program(norm, 2, 0.1), point, found.multipliers) is None  # none within the bound


def at_time_limit(program: sytorch.Program, x: Matrix, multipliers: sytorch.Multipliers) -> sytorch.Solution | None:
    """What an error carries that is raised when a method was at that point."""
    counted = CountedSolver(sytorch.HighsSolver(), sytorch.Deadline())
    with (
        pytest.raises(sytorch.SolverTimeLimitError) as caught,
        BestSoFar(program, counted, "decomposed") as best,
    ):
        best.keep(x, multipliers)
        raise sytorch.SolverTimeLimitError("The time limit was reached.")
    return caught.value.best


def test_a_fixed_pattern_is_solved_and_refuted() -> None:
    solved = ramp_program(0.5, 5.0).answer()
    assert solved.status is sytorch.Status.SOLVED and solved.unwrap().objective == pytest.approx(1.5 / np.sqrt(2))
    refuted = ramp_program(0.5, 0.7).answer()
    assert_unsolved(refuted, sytorch.Status.REFUTED, sytorch.ContradictionError)
    assert refuted.solution is None
    assert refuted.contradiction is not None and refuted.contradiction.images == (0,)
    enough = refuted.contradiction.sufficient_bound
    assert enough is not None and enough >= 0.75 - 1e-9
    assert ramp_program(0.5, enough).answer().status is sytorch.Status.SOLVED


def test_of_a_large_fixed_pattern_no_bound_is_called_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", 0)
    refuted = ramp_program(0.5, 0.7).answer().contradiction
    assert refuted is not None and refuted.sufficient_bound is None


def test_a_refutation_does_not_wait_for_a_bound_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.program.PATIENCE", 0.0)
    refuted = ramp_program(0.5, 0.7).answer().contradiction
    assert refuted is not None and refuted.sufficient_bound is None


@pytest.mark.parametrize("broken", ["least squares do not end", "too many rows for them"])
def test_a_fixed_pattern_is_given_up(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimum = ramp_program(0.5, 5.0).solve().objective
    monkeypatch.setattr("sytorch.numerics.newton.STEP_LIMIT", 0)
    assert ramp_program(0.5, 5.0).solve().objective == pytest.approx(optimum), "by least squares"
    if broken == "least squares do not end":
        monkeypatch.setattr("scipy.optimize.nnls", mock.Mock(side_effect=RuntimeError))
    else:
        monkeypatch.setattr("sytorch.hidden_layer.dual.LEAST_DISTANCE_ROWS", 5)
    answer = ramp_program(0.5, 5.0).answer()
    assert_unsolved(answer, sytorch.Status.GAVE_UP, sytorch.SolverFailedError)
    assert answer.solution is None


def test_at_a_time_limit_a_fixed_pattern_has_its_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    program = hidden_program("convolution", 1, np.inf, 1e-5)
    optimum = program.solve().objective
    assert_unsolved(program.answer(0.0), sytorch.Status.TIME_LIMIT, sytorch.SolverTimeLimitError)
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", 0)
    monkeypatch.setattr(Moves, "is_shallow", False)
    for looks in (100, 400, 800):
        answer = program.answer(Looks(looks))
        assert_unsolved(answer, sytorch.Status.TIME_LIMIT, sytorch.SolverTimeLimitError)
        best = answer.solution
        assert best is not None
        assert best.lower_bound <= optimum * (1 + 1e-6) and best.objective >= optimum * (1 - 1e-4)
        assert_margins_and_pattern("convolution", 1, torch.from_numpy(best.change))
        assert best.gap < 0.1 or looks < 800
    assert program.answer(Looks(0)).solution is None


def test_invalid_input_still_raises() -> None:
    with pytest.raises(ValueError, match="nobody"):
        last_program("l1", 0, 5.0).answer("nobody")
    with pytest.raises(sytorch.InvalidInputError):
        ramp_program(0.5, 5.0).answer(float("nan"))
