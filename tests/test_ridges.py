"""The comparison of ridges on the real digits: its parts against their definitions, and its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import ridges
from benchmarks.ridges import losses, with_ridge
from edits.workbench import open_workbench
from helpers.cli import DatasetName
from sytorch import KroneckerMetric


def test_another_ridge_is_added_to_the_moment() -> None:
    root = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double()
    moment = root.T @ root
    ridge = moment.trace() / 5 * torch.eye(5)
    metric = with_ridge(KroneckerMetric(torch.linalg.cholesky(moment + 0.1 * ridge)), 0.1, 0.3)
    expected = moment + 0.3 * ridge
    torch.testing.assert_close(metric.inputs @ metric.inputs.T, expected)


@pytest.mark.usefixtures("warm_workplace")
def test_no_change_loses_nothing_and_a_wild_one_much(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    chosen = np.sort(bench.training_images.right(100))
    change = torch.zeros(4096, 4097)
    assert losses(bench, [chosen[:40], chosen[40:]], change) == [0.0, 0.0]
    wild = torch.randn(4096, 4097, generator=torch.Generator().manual_seed(0))
    assert min(losses(bench, [chosen[:40], chosen[40:]], wild)) > 30


@pytest.mark.usefixtures("warm_workplace")
def test_the_table_has_a_line_for_each_ridge(digits_baseline: Path) -> None:
    words = ["--dataset", "digits", "--weights", str(digits_baseline), "--size", "3", "--ridges", "0.5", "0.001"]
    result = CliRunner().invoke(ridges.app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")][2:]
    assert [line[0].strip() for line in lines] == ["0.5", "0.001"]
    assert all(0 <= float(cell) <= 100 for line in lines for cell in line[1:])
    assert all(float(line[1]) == 100.0 for line in lines)
