"""What methods and solvers find is looked at apart: wrong points, proofs and refusals do not get through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sytorch
from sytorch.problem.arrays import Matrix
from sytorch.solvers.linear_program import LinearProgram, LinearSolution
from tests.sytorch.last_layer.oracle import solved

IDENTITY = sytorch.IdentityMetric()


class Lying:
    """A solver whose answers are changed, or refused as infeasible."""

    name = "lying"

    def __init__(self, share: float | None):
        self.share = share

    def solve(self, program: LinearProgram, time_limit: float | None = None) -> LinearSolution:
        if self.share is None:
            raise sytorch.InfeasibleProgramError("infeasible.")
        found = sytorch.HighsSolver().solve(program, time_limit)
        return replace(found, x=self.share * found.x)


def alike(apart: float, bound: float = np.inf, norm: str = "l1") -> sytorch.Program:
    """Two images nearly alike: the change [[s, 0], [-s, 0]] with s = 1 / apart gives both a margin of 2."""
    outputs = sytorch.AffineOutputs(np.zeros((2, 2)), np.array([[apart, 1.0], [-apart, 1.0]]))
    return sytorch.minimise(norm, IDENTITY).subject_to(sytorch.margin(outputs, [0, 1], 2.0), bound)


def many(images: int, inputs: int, seed: int) -> sytorch.Program:
    """More images than inputs, labelled by a layer near by; ``l1`` in the training metric."""
    rng = np.random.default_rng(seed)
    weights, seen = rng.normal(size=(4, inputs + 1)), rng.normal(size=(images, inputs + 1))
    other = seen @ (weights + 0.5 * rng.normal(size=weights.shape)).T
    kept = np.diff(np.sort(other, axis=1)[:, -2:])[:, 0] > 0.05
    metric = sytorch.second_moment_metric(seen.T @ seen / images)
    outputs = sytorch.AffineOutputs((seen @ weights.T)[kept], seen[kept])
    return sytorch.minimise("l1", metric).subject_to(sytorch.margin(outputs, other.argmax(axis=1)[kept], 0.03), 5.0)


def least_margin(program: sytorch.Program, change: Matrix) -> float:
    margins = program.margins
    return -float(margins.shortfall(margins.outputs.inputs @ change.T).max())


@pytest.mark.parametrize(("images", "inputs", "seed"), [(60, 8, 0), (60, 8, 2), (100, 12, 1)])
def test_l2_by_ascent_has_its_margins_where_logits_depend_on_each_other(images: int, inputs: int, seed: int) -> None:
    program = replace(many(images, inputs, seed), norm_name=sytorch.NormName.L2)
    exact, found = program.solve("highs"), solved(program, "ascent")
    assert least_margin(program, found.change) >= -1e-7
    assert found.objective == pytest.approx(exact.objective, rel=1e-6) and found.gap <= 1e-6


@pytest.mark.parametrize("apart", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize(("norm", "size"), [("l1", 2.0), ("linf", 1.0), ("l2", 2**0.5)])
@pytest.mark.parametrize("solver", ["highs", "gurobi"])
def test_images_nearly_alike_have_their_optimum(norm: str, size: float, solver: str, apart: float) -> None:
    for bound in (10 / apart, np.inf):
        found = alike(apart, bound, norm).solve(solver, 60.0)
        assert found.objective == pytest.approx(size / apart, rel=1e-6)
        assert found.lower_bound == pytest.approx(size / apart, rel=1e-6)


@pytest.mark.parametrize("apart", [1e-3, 1e-5])
@pytest.mark.parametrize("norm", ["l1", "linf", "l2"])
def test_bounds_are_refuted_and_enough_as_the_closed_form_says(norm: str, apart: float) -> None:
    program = alike(apart, 0.5 / apart, norm)
    with pytest.raises(sytorch.ContradictionError) as caught:
        program.solve("highs", 60.0)
    found = caught.value.contradiction
    assert found.proved_for_all_changes and found.sufficient_bound is not None
    assert found.refuted_bound == pytest.approx(1 / apart, rel=1e-3) and found.refuted_bound <= (1 + 1e-9) / apart
    assert 1 / apart <= found.sufficient_bound
    assert program.refutes(found.multipliers)
    assert replace(program, bound=found.refuted_bound * (1 - 1e-9)).refutes(found.multipliers)
    assert not replace(program, bound=1.01 / apart).refutes(found.multipliers)
    assert alike(apart, found.sufficient_bound, norm).solve("highs").gap <= 1e-6


@pytest.mark.parametrize("norm", ["l1", "linf", "linf+l1"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_solver_says_wrongly_is_a_failure_and_no_answer(norm: str, whole: bool) -> None:
    program = alike(0.5, 10.0, norm)
    for solver in (Lying(None), Lying(0.5)):
        with pytest.raises(sytorch.SolverFailedError):
            program.solve(solver, whole=whole)


def test_a_wrong_answer_of_a_quadratic_solver_is_mended_or_refused() -> None:
    expected = alike(0.5, 10.0, "l2").solve("highs")
    for solver in (Lying(None), Lying(0.5), Lying(100.0)):
        assert alike(0.5, 10.0, "l2").solve(solver).objective == pytest.approx(expected.objective, rel=1e-9)


def test_an_objective_below_its_lower_bound_is_an_error() -> None:
    found = alike(0.5, 10.0).solve("highs")
    with pytest.raises(sytorch.SolverFailedError, match="below its lower bound"):
        replace(found, lower_bound=1.001 * found.objective)
    with pytest.raises(sytorch.SolverFailedError, match="below its lower bound"):
        replace(found, objective=np.nan)


def test_a_lower_bound_above_the_objective_by_rounding_is_told_as_the_objective() -> None:
    found = alike(0.5, 10.0).solve("highs")
    near = replace(found, lower_bound=(1 + 1e-7) * found.objective)
    assert near.lower_bound == near.objective and near.gap == 0.0
    below = replace(found, lower_bound=(1 - 1e-7) * found.objective)
    assert below.lower_bound < below.objective and below.gap == pytest.approx(1e-7)


def test_coordinates_are_those_whose_norm_is_the_objective() -> None:
    program = many(20, 30, 0)
    found = program.solve("highs")
    assert found.coordinates is not None
    assert np.abs(found.coordinates).sum() == pytest.approx(found.objective)
    np.testing.assert_allclose(program.coordinates.change(found.coordinates), found.change)
    assert alike(0.5).solve("highs").coordinates is None


def test_multipliers_that_refute_nothing_do_not() -> None:
    program = alike(1e-3, 1.0)
    assert not program.refutes(sytorch.Multipliers(np.zeros((2, 2)), np.zeros((2, 2))))
    assert not program.refutes(sytorch.Multipliers(np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros((2, 2))))
    assert not program.refutes(sytorch.Multipliers(-np.ones((2, 2)), np.zeros((2, 2))))
    assert program.refutes(sytorch.Multipliers(np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros((2, 2))))


def test_a_factorisation_that_fails_is_a_failure_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Matrix) -> None:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    program = many(10, 12, 0)
    monkeypatch.setattr(np.linalg, "eigh", failing)
    with pytest.raises(sytorch.SolverFailedError, match="could not be factored"):
        program.solve("highs")


@pytest.mark.parametrize("norm", ["l1", "linf", "linf+l1", "l2"])
@pytest.mark.parametrize(("logits", "inputs"), [(1e6, 1.0), (1e-6, 1.0), (1.0, 1e4), (1.0, 1e-4), (1e6, 1e-4)])
def test_the_answer_scales_with_logits_and_inputs(norm: str, logits: float, inputs: float) -> None:
    """A saturated network, or tiny activations: tolerances are relative, so nothing else changes."""
    program = sytorch.minimise(norm, IDENTITY).subject_to(many(12, 15, 1).margins)
    margins = program.margins
    outputs = sytorch.AffineOutputs(margins.outputs.logits, margins.outputs.inputs * inputs)
    scaled = replace(program, margins=replace(margins, outputs=outputs, required=margins.required * logits))
    expected = program.solve("highs").objective * logits / inputs
    for bound in (np.inf, 1.5 * scaled.solve("highs").max_abs_change):
        found = replace(scaled, bound=bound).solve("highs")
        assert found.objective == pytest.approx(expected, rel=1e-6) and found.gap <= 1e-6
