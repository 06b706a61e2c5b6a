"""``l2`` by its ascent against the solvers' exact optima: active bounds, contradictions, time limits, many images."""

from __future__ import annotations

import numpy as np
import pytest

import sytorch
import sytorch.last_layer.program
from sytorch.problem.outputs import AffineOutputs
from sytorch.solvers.linear_program import LinearProgram, LinearSolution
from tests.sytorch.last_layer.oracle import solved

IMAGES, FEATURES, CLASSES = 30, 40, 5


def margins(seed: int) -> sytorch.Margins:
    rng = np.random.default_rng(seed)
    inputs = np.hstack([np.maximum(rng.normal(size=(IMAGES, FEATURES)), 0.0), np.ones((IMAGES, 1))])
    outputs = AffineOutputs(rng.normal(size=(IMAGES, CLASSES)), inputs)
    return sytorch.margin(outputs, rng.integers(0, CLASSES, IMAGES), 1.0)


def metric(seed: int) -> sytorch.Metric:
    sample = np.random.default_rng(100 + seed).normal(size=(200, FEATURES + 1))
    return sytorch.second_moment_metric(sample.T @ sample / 200, 1e-2)


def program(norm: str, seed: int, bound: float) -> sytorch.Program:
    return sytorch.minimise(norm, metric(seed)).subject_to(margins(seed), bound)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [np.inf, 0.9, 0.7])
def test_it_reaches_the_solvers_optimum(seed: int, share: float) -> None:
    """``share`` of the largest entry of the free optimum is the bound: at 0.9 and 0.7 it is active."""
    free = program("l2", seed, np.inf).solve("highs")
    bound = share * free.max_abs_change
    exact = program("l2", seed, bound).solve("highs")
    found = solved(program("l2", seed, bound), "ascent")
    needed = margins(seed)
    assert found.gap <= 1e-8
    assert found.lower_bound <= exact.objective * (1 + 1e-9)
    assert exact.objective * (1 - 1e-9) <= found.objective <= exact.objective * (1 + 1e-8)
    assert needed.shortfall(needed.outputs.inputs @ found.change.T).max() <= 1e-7
    assert found.max_abs_change <= bound * (1 + 1e-8)
    assert found.effort.solver == "first-order"
    assert found.effort.iterations > 0


class Failing:
    """A solver whose code for quadratic programs gives up, as HiGHS' sometimes does."""

    name = "failing"

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        raise sytorch.SolverFailedError("HiGHS stopped with status Solve error.")


@pytest.mark.parametrize("share", [np.inf, 0.8])
def test_where_a_quadratic_solver_fails_the_ascent_takes_over(share: float) -> None:
    bound = share * program("l2", 2, np.inf).solve("highs").max_abs_change
    exact, found = program("l2", 2, bound).solve("highs"), program("l2", 2, bound).solve(Failing())
    assert found.objective == pytest.approx(exact.objective, rel=1e-8)
    assert found.gap <= 1e-8 and found.effort.solver == "first-order"
    assert found.max_abs_change <= bound * (1 + 1e-8)
    with pytest.raises(sytorch.SolverFailedError):
        program("l1", 2, bound).solve(Failing())


@pytest.mark.parametrize("bound", [0.01, 0.4, 0.47])
def test_a_bound_that_is_too_small_is_refuted(bound: float) -> None:
    """Two images contradict each other, or many do, or nearly none; the least that works comes from another way."""
    with pytest.raises(sytorch.ContradictionError) as exact:
        program("l2", 0, 0.4).solve("highs")
    least = exact.value.contradiction.refuted_bound
    with pytest.raises(sytorch.ContradictionError) as caught:
        solved(program("l2", 0, bound), "ascent")
    contradiction = caught.value.contradiction
    assert contradiction.proved_for_all_changes
    assert bound < contradiction.refuted_bound <= least * (1 + 1e-6)
    assert contradiction.images


def test_a_bound_that_is_just_enough_is_kept() -> None:
    with pytest.raises(sytorch.ContradictionError) as exact:
        program("l2", 0, 0.4).solve("highs")
    bound = 1.01 * exact.value.contradiction.refuted_bound
    found = solved(program("l2", 0, bound), "ascent")
    assert found.max_abs_change <= bound * (1 + 1e-6)
    assert found.objective == pytest.approx(program("l2", 0, bound).solve("highs").objective, rel=1e-6)


def test_the_time_limit_holds() -> None:
    with pytest.raises(sytorch.SolverTimeLimitError):
        solved(program("l2", 0, 5.0), "ascent", time_limit=1e-9)


@pytest.mark.parametrize("share", [np.inf, 0.8])
def test_of_many_images_auto_asks_no_solver_and_tells_it_once(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    bound = share * program("l2", 0, np.inf).solve("highs").max_abs_change
    few = program("l2", 0, bound).solve("auto")
    monkeypatch.setattr(sytorch.last_layer.program, "MANY_IMAGES", 5)
    told: list[str] = []
    solver = sytorch.AutoSolver(told.append)
    found = [program("l2", 0, bound).solve(solver) for _ in range(2)]
    assert [solution.effort.solver for solution in found] == ["first-order"] * 2
    assert len(told) == 1 and told[0].startswith("29 images lack their margin: l2 is solved without a solver")
    np.testing.assert_array_equal(found[0].change, found[1].change)
    np.testing.assert_allclose(found[0].change, few.change, atol=1e-6)
    assert "highs" in program("l2", 0, bound).solve("highs").effort.solver


def test_of_many_images_l1_is_generated_and_told_once_to_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    few = program("l1", 0, 5.0).solve("auto")
    monkeypatch.setattr(sytorch.last_layer.program, "MANY_IMAGES", 5)
    told: list[str] = []
    solver = sytorch.AutoSolver(told.append)
    for _ in range(2):
        np.testing.assert_array_equal(program("l1", 0, 5.0).solve(solver).change, few.change)
    assert told == ["29 images lack their margin: l1 takes minutes for so many; --norm l2 takes seconds."]


def test_nothing_is_told_of_programs_that_are_written_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sytorch.last_layer.program, "MANY_IMAGES", 5)
    told: list[str] = []
    assert program("linf", 0, 5.0).solve(sytorch.AutoSolver(told.append)).path == "whole"
    assert program("l1", 0, 5.0).solve(sytorch.AutoSolver(told.append), whole=True).path == "whole"
    assert not told


def test_images_that_repeat_each_other_are_no_obstacle() -> None:
    once = margins(1)
    twice = AffineOutputs(np.tile(once.outputs.logits, (2, 1)), np.tile(once.outputs.inputs, (2, 1)))
    doubled = sytorch.margin(twice, np.tile(once.labels, 2), 1.0)
    found = solved(sytorch.minimise("l2", metric(1)).subject_to(doubled, 5.0), "ascent")
    assert doubled.shortfall(doubled.outputs.inputs @ found.change.T).max() <= 1e-7
    assert found.gap <= 1e-8
