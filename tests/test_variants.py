"""The variants of a repair on the real digits, and the centred metric against numpy's covariance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import variants
from benchmarks.variants import centred
from sytorch import second_moment_metric


def test_the_centred_metric_is_that_of_the_covariance() -> None:
    """Of inputs with a 1 appended, so the bias has none and moves freely but for the ridge."""
    inputs = np.hstack([3 + np.random.default_rng(0).normal(size=(40, 4)), np.ones((40, 1))])
    found = centred(second_moment_metric(inputs.T @ inputs / 40, 0.01), 0.01)
    expected = np.cov(inputs, rowvar=False, bias=True)
    expected += 0.01 * np.trace(expected) / 5 * np.eye(5)
    np.testing.assert_allclose(found.solve(expected), np.eye(5), atol=1e-9)


def test_the_table_has_a_line_for_each_variant(
    digits_baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = ["--dataset", "digits", "--weights", str(digits_baseline), "--sizes", "4"]
    result = CliRunner().invoke(variants.app, told)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| 4 |")]
    assert [line[1] for line in lines] == list(variants.VARIANTS)
    assert {line[2] for line in lines} == {"100.0"}
    assert len({line[3] for line in lines}) > 1
