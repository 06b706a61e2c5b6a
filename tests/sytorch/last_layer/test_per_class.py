"""The program in a metric of each class against a quadratic program over all entries, written out for HiGHS."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import sytorch
from sytorch.problem.arrays import Matrix, Vector
from sytorch.solvers.linear_program import LinearProgram
from tests.sytorch.last_layer.oracle import solved

MARGIN, RIDGE = 1.0, 1e-2


def problem(seed: int) -> tuple[sytorch.Margins, list[Matrix]]:
    """Random outputs of six images and four classes, and a definite moment of the five inputs for each class."""
    random = np.random.default_rng(seed)
    outputs = sytorch.AffineOutputs(random.normal(size=(6, 4)), random.normal(size=(6, 5)))
    roots = random.normal(size=(4, 5, 8))
    return sytorch.margin(outputs, random.integers(0, 4, size=6), MARGIN), [root @ root.T / 8 for root in roots]


def metric(moments: list[Matrix]) -> sytorch.PerClassMetric:
    return sytorch.PerClassMetric(tuple(sytorch.second_moment_metric(moment, RIDGE) for moment in moments))


def rows(margins: sytorch.Margins) -> tuple[Matrix, Vector]:
    """Each margin as a dense row over the entries of the change."""
    found, needed = [], []
    for image, label in enumerate(margins.labels):
        for other in set(range(4)) - {int(label)}:
            row = np.zeros((4, 5))
            row[label], row[other] = margins.outputs.inputs[image], -margins.outputs.inputs[image]
            found.append(row.ravel())
            needed.append(MARGIN - margins.outputs.logits[image, label] + margins.outputs.logits[image, other])
    return np.array(found), np.array(needed)


def by_highs(seed: int, bound: float) -> float | None:
    """The least size; None where there is no change."""
    margins, moments = problem(seed)
    definite = [moment + RIDGE * np.trace(moment) / 5 * np.eye(5) for moment in moments]
    hessian = sparse.block_diag(definite, format="csc")
    matrix, needed = rows(margins)
    limit = np.full(20, bound)
    whole = LinearProgram(np.zeros(20), -limit, limit, sparse.csr_array(matrix), needed, sparse.csc_array(hessian))
    try:
        found = sytorch.HighsSolver().solve(whole)
    except sytorch.InfeasibleProgramError:
        return None
    return float(np.sqrt(found.x @ hessian @ found.x))


@pytest.mark.parametrize("bound", [np.inf, 1.5, 0.4])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("solver", ["auto", "highs", "ascent"])
def test_the_optimum_is_that_of_the_whole_program(seed: int, bound: float, solver: str) -> None:
    margins, moments = problem(seed)
    best = by_highs(seed, bound)
    program = sytorch.minimise("l2", metric(moments)).subject_to(margins, bound)
    if best is None:
        with pytest.raises(sytorch.ContradictionError):
            solved(program, solver)
        return
    solution = solved(program, solver)
    matrix, needed = rows(margins)
    assert np.all(matrix @ solution.change.ravel() >= needed - 1e-6)
    assert np.abs(solution.change).max() <= bound * (1 + 1e-6)
    assert solution.objective == pytest.approx(best, rel=1e-5)
    assert solution.lower_bound <= best * (1 + 1e-6) and solution.gap <= 1e-6


def test_some_bounds_are_active_and_some_leave_nothing() -> None:
    """So the test above sees both."""
    least = [by_highs(seed, bound) for seed in range(4) for bound in (1.5, 0.4)]
    free = [by_highs(seed, np.inf) for seed in range(4)]
    assert None in least
    assert any(
        found is not None and found > 1.001 * unbound
        for found, unbound in zip(least[::2], free, strict=True)
        if unbound
    )


def test_equal_metrics_of_all_classes_are_one_metric() -> None:
    margins, moments = problem(0)
    shared = sytorch.minimise("l2", sytorch.second_moment_metric(moments[0], RIDGE)).subject_to(margins).solve("auto")
    alike = sytorch.minimise("l2", metric([moments[0]] * 4)).subject_to(margins).solve("auto")
    np.testing.assert_allclose(alike.change, shared.change, atol=1e-9)
    assert alike.objective == pytest.approx(shared.objective, rel=1e-9)


def test_other_norms_and_the_whole_program_are_refused() -> None:
    margins, moments = problem(0)
    with pytest.raises(ValueError, match="for l2, not for l1"):
        sytorch.minimise("l1", metric(moments))
    with pytest.raises(TypeError, match="not written out"):
        sytorch.minimise("l2", metric(moments)).subject_to(margins).solve("highs", whole=True)
