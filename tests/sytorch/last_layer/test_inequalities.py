"""Any linear requirement: margins written out give what margins give, others what scipy gives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sytorch
from sytorch.problem.arrays import Matrix
from tests.sytorch.hidden_layer.test_program import program as fixed_pattern
from tests.sytorch.last_layer.test_agreement import METRICS, NORMS, WAYS, problem


def written_out(margins: sytorch.Margins) -> sytorch.Inequalities:
    """Margins as inequalities with the row of the own class left out."""
    count, classes = margins.required.shape
    others = np.array([[j for j in range(classes) if j != own] for own in margins.labels])
    images = np.repeat(np.arange(count), classes - 1)
    weights = margins.weights_of(images, others.ravel()).reshape(count, classes - 1, classes)
    least = margins.required[images, others.ravel()].reshape(count, classes - 1) + np.einsum(
        "nrc,nc->nr", weights, margins.outputs.logits
    )
    return sytorch.at_least(margins.outputs, weights, least)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("solver", "whole"), WAYS)
def test_margins_written_out_have_the_same_optimum(norm: str, metric: str, solver: str, whole: bool) -> None:
    for seed in range(2):
        margins = problem(seed).margins()
        free = problem(seed).program(norm, metric, np.inf).solve("highs", whole=True)
        bound = 0.9 * free.max_abs_change
        objective = sytorch.minimise(norm, problem(seed).metric(metric))
        answers = [
            objective.subject_to(asked, bound).answer(solver, whole=whole) for asked in (margins, written_out(margins))
        ]
        assert answers[0].status == answers[1].status
        if answers[0].solution is not None and answers[1].solution is not None:
            assert answers[0].solution.objective == pytest.approx(answers[1].solution.objective, rel=1e-5)
            assert answers[1].solution.gap < 1e-5


@pytest.mark.parametrize("name", ["linear", "convolution"])
def test_behind_a_fixed_pattern_too(name: str) -> None:
    of_labels = fixed_pattern(name, 1)
    assert isinstance(of_labels.margins, sytorch.Margins)
    one = of_labels.solve()
    two = sytorch.FixedPatternProgram(
        of_labels.view, written_out(of_labels.margins), of_labels.metric, of_labels.bound
    ).solve()
    assert one.objective == pytest.approx(two.objective, rel=1e-6)


def least_norm(matrix: Matrix, rhs: Matrix) -> float | None:
    """The least Euclidean norm with ``matrix @ x >= rhs`` by SLSQP, from a point that scipy's HiGHS finds."""
    size = matrix.shape[1]
    start = scipy.optimize.linprog(np.zeros(size), -matrix, -rhs, bounds=[(None, None)] * size, method="highs")
    if start.status == 2:
        return None
    found = scipy.optimize.minimize(
        lambda x: x @ x,
        start.x,
        jac=lambda x: 2 * x,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: matrix @ x - rhs, "jac": lambda _: matrix},
        options={"maxiter": 500, "ftol": 1e-14},
    )
    return float(np.sqrt(found.fun))


@settings(max_examples=40, deadline=None)
@example(55, 2, 5, 4)  # rows of one point that cancel each other
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 6), st.integers(1, 4))
def test_any_rows_have_scipys_optimum_or_its_refusal(seed: int, outputs: int, points: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = np.hstack([rng.normal(size=(points, 5)), np.ones((points, 1))])
    posed = sytorch.AffineOutputs(rng.normal(size=(points, outputs)), inputs)
    weights, least = rng.integers(-2, 3, size=(points, rows, outputs)).astype(float), rng.normal(size=(points, rows))
    weights[..., 0] += weights[..., 0] == 0
    asked = sytorch.at_least(posed, weights, least)
    matrix = np.einsum("nrc,nd->nrcd", weights, inputs).reshape(points * rows, -1)
    expected = least_norm(matrix, asked.required.ravel())
    answer = sytorch.minimise("l2", sytorch.IdentityMetric()).subject_to(asked).answer("highs")
    if expected is None:
        assert answer.status is not sytorch.Status.SOLVED
        if answer.contradiction is not None:
            refuting = sytorch.minimise("l2", sytorch.IdentityMetric()).subject_to(asked)
            assert refuting.refutes(answer.contradiction.multipliers)
    else:
        assert answer.unwrap().objective == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert (asked.shortfall(inputs @ answer.unwrap().change.T) <= 1e-5).all()


def test_autograd_goes_through_what_is_required() -> None:
    margins = problem(0).margins()
    images = torch.arange(len(margins.required))
    logits = torch.randn(margins.required.shape, dtype=torch.float64, requires_grad=True)
    for asked in (margins, written_out(margins)):
        rise = asked.rise(logits, images)
        multipliers = torch.rand_like(rise)
        (pulled,) = torch.autograd.grad(rise, logits, multipliers)
        weighed = torch.from_numpy(asked.combine(multipliers.numpy()))
        counted = multipliers * torch.isfinite(torch.from_numpy(asked.required))
        (expected,) = torch.autograd.grad(asked.rise(logits, images), logits, counted)
        torch.testing.assert_close(weighed, expected)
        assert pulled.shape == logits.shape
