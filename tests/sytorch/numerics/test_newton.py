"""Softened programs: what Newton's steps end at satisfies the conditions of an optimum, each looked at apart."""

from __future__ import annotations

import pytest
import torch

from sytorch.numerics.newton import DenseRows, Point, beginning, soften


def rows_of(seed: int, count: int = 30, size: int = 12) -> DenseRows:
    """More rows than unknowns, so that not all can be met."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return DenseRows(rows @ rows.T, torch.randn(count, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("softness", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("seed", range(6))
def test_the_end_is_an_optimum(seed: int, softness: float) -> None:
    rows = rows_of(seed)
    elastic, tolerances = torch.full_like(rows.required, softness), torch.full_like(rows.required, 1e-10)
    point, _ = soften(rows, elastic, beginning(rows), tolerances)
    missing = rows.required - rows.products @ point.weights
    assert float(point.weights.min()) >= 0
    torch.testing.assert_close(missing.clamp(min=0.0), elastic * point.weights, rtol=1e-6, atol=1e-9)


def test_where_it_begins_does_not_matter() -> None:
    rows = rows_of(7)
    elastic, tolerances = torch.full_like(rows.required, 1e-2), torch.full_like(rows.required, 1e-10)
    weights = torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    elsewhere = Point(weights, rows.required - rows.scores(weights))
    ends = [soften(rows, elastic, start, tolerances)[0].weights for start in (beginning(rows), elsewhere)]
    torch.testing.assert_close(*ends)


def test_one_row_by_hand() -> None:
    """``D^2 / 2 + (6 - 2 D)^2 / 2`` is least at ``D = 12 / 5``: 2 times the multiplier ``6 / (4 + 1)``."""
    rows = DenseRows(torch.tensor([[4.0]]), torch.tensor([6.0]))
    point, steps = soften(rows, torch.ones(1), beginning(rows), torch.zeros(1))
    assert float(point.weights) == pytest.approx(1.2) and steps == 1
