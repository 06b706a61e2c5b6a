"""Softened programs: what Newton's steps end at satisfies the conditions of an optimum, each looked at apart."""

from __future__ import annotations

import pytest
import torch

from sytorch.numerics.newton import DenseRows, Point, _Systems, beginning, soften


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


def test_choices_that_differ_by_few_rows_share_a_factor() -> None:
    """One after another, rows gone, new, both, and the same ones again: each as a solver of its own has it."""
    rows, elastic = rows_of(3, count=200, size=300), torch.linspace(0.1, 0.2, 200).double()
    systems, chosen, own = _Systems(rows, elastic), torch.arange(0, 200, 2), []
    changes: list[tuple[list[int], list[int]]] = [([], []), ([0, 4], []), ([], [1, 7, 9]), ([6, 8], [3]), ([6, 8], [3])]
    for gone, new in [*changes, (list(range(0, 60, 2)), [])]:
        kept = torch.tensor(sorted({*chosen.tolist(), *new} - {*gone}))
        found = systems.solve(kept, rows.required)
        expected = torch.linalg.solve(rows.gram(kept) + elastic[kept].diag(), rows.required[kept])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        own.append(systems.is_own)
    assert own == [True, False, False, False, False, True]
    systems.solve(kept, rows.required)
    assert systems.is_own


def test_no_rows_have_no_solution_and_border_nothing() -> None:
    rows = rows_of(3)
    systems = _Systems(rows, torch.ones(30).double())
    for chosen in (torch.zeros(0, dtype=torch.int64), torch.arange(3), torch.zeros(0, dtype=torch.int64)):
        assert systems.solve(chosen, rows.required).shape == (len(chosen),)
