"""First-order methods against the solvers' exact optima, with active bounds, contradictions and time limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sytorch
import sytorch.last_layer.program
from sytorch.last_layer.first_order import GAP
from sytorch.numerics.ascent import ascend, largest_eigenvalue
from sytorch.problem.outputs import AffineOutputs
from sytorch.solvers.linear_program import LinearProgram, LinearSolution

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
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("share", [np.inf, 0.9, 0.7])
def test_it_reaches_the_solvers_optimum(norm: str, seed: int, share: float) -> None:
    """``share`` of the largest entry of the free optimum is the bound: at 0.9 and 0.7 it is active."""
    free = program(norm, seed, np.inf).solve("highs")
    bound = share * free.max_abs_change
    exact = program(norm, seed, bound).solve("highs")
    found = program(norm, seed, bound).solve("first-order")
    needed, tolerance = margins(seed), GAP if norm == "l1" else 1e-8
    assert found.gap <= tolerance
    assert found.lower_bound <= exact.objective * (1 + 1e-9)
    assert exact.objective * (1 - 1e-9) <= found.objective <= exact.objective * (1 + tolerance)
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
def test_where_a_quadratic_solver_fails_the_first_order_method_takes_over(share: float) -> None:
    bound = share * program("l2", 2, np.inf).solve("highs").max_abs_change
    exact, found = program("l2", 2, bound).solve("highs"), program("l2", 2, bound).solve(Failing())
    assert found.objective == pytest.approx(exact.objective, rel=1e-8)
    assert found.gap <= 1e-8 and found.effort.solver == "first-order"
    assert found.max_abs_change <= bound * (1 + 1e-8)
    with pytest.raises(sytorch.SolverFailedError):
        program("l1", 2, bound).solve(Failing())


@pytest.mark.parametrize(("norm", "bound"), [("l1", 0.01), ("l1", 0.4), ("l2", 0.01), ("l2", 0.4), ("l2", 0.47)])
def test_a_bound_that_is_too_small_is_refuted(norm: str, bound: float) -> None:
    """Two images contradict each other, or many do, or nearly none; the least that works comes from another way."""
    with pytest.raises(sytorch.ContradictionError) as exact:
        program(norm, 0, 0.4).solve("highs")
    least = exact.value.contradiction.refuted_bound
    with pytest.raises(sytorch.ContradictionError) as caught:
        program(norm, 0, bound).solve("first-order")
    contradiction = caught.value.contradiction
    assert contradiction.proved_for_all_changes
    assert bound < contradiction.refuted_bound <= least * (1 + 1e-6)
    assert contradiction.images


def test_a_bound_that_is_just_enough_is_kept() -> None:
    with pytest.raises(sytorch.ContradictionError) as exact:
        program("l2", 0, 0.4).solve("highs")
    bound = 1.01 * exact.value.contradiction.refuted_bound
    found = program("l2", 0, bound).solve("first-order")
    assert found.max_abs_change <= bound * (1 + 1e-6)
    assert found.objective == pytest.approx(program("l2", 0, bound).solve("highs").objective, rel=1e-6)


@pytest.mark.parametrize("norm", ["linf", "linf+l1"])
def test_norms_that_it_does_not_solve_are_refused(norm: str) -> None:
    with pytest.raises(sytorch.SolverFailedError, match="choose another solver"):
        program(norm, 0, 5.0).solve("first-order")


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_time_limit_holds(norm: str) -> None:
    with pytest.raises(sytorch.SolverTimeLimitError):
        program(norm, 0, 5.0).solve("first-order", time_limit=1e-9)


def test_many_images_are_its_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sytorch.last_layer.program, "MANY_IMAGES", 5)
    told: list[str] = []
    solution = program("l1", 0, 5.0).solve(sytorch.AutoSolver(told.append))
    assert solution.path == "first-order"
    assert len(told) == 1
    assert program("linf", 0, 5.0).solve(sytorch.AutoSolver()).path == "whole"
    assert program("l1", 0, 5.0).solve(sytorch.AutoSolver(), whole=True).path == "whole"


def test_images_that_repeat_each_other_are_no_obstacle() -> None:
    once = margins(1)
    twice = AffineOutputs(np.tile(once.outputs.logits, (2, 1)), np.tile(once.outputs.inputs, (2, 1)))
    doubled = sytorch.margin(twice, np.tile(once.labels, 2), 1.0)
    for norm in ("l1", "l2"):
        found = sytorch.minimise(norm, metric(1)).subject_to(doubled, 5.0).solve("first-order")
        assert doubled.shortfall(doubled.outputs.inputs @ found.change.T).max() <= 1e-7
        assert found.gap <= GAP


def test_the_ascent_solves_a_quadratic_by_hand() -> None:
    """max 2a + b/2 - (2a^2 + b^2)/2 - ab over a, b >= 0: a = 1 alone; the slope of b is -1/2 there."""
    gram, needed = torch.tensor([[2.0, 1.0], [1.0, 1.0]]), torch.tensor([2.0, 0.5])
    values, _ = ascend(gram, needed, -np.inf, 5000)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_the_largest_eigenvalue_does_not_depend_on_the_scale(scale: float) -> None:
    """float32 holds no squares of 1e20; the ascent diverged on a network that stretched its gradients so far."""
    matrix = scale * torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert largest_eigenvalue(lambda vector: matrix @ vector, matrix[0], 20) == pytest.approx(3 * scale, rel=1e-5)
    assert largest_eigenvalue(lambda vector: 0 * matrix @ vector, matrix[0], 20) == 1.0
