"""The variants of a repair on the real digits, and the least change in metrics of each class against scipy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from typer.testing import CliRunner

from benchmarks import variants
from benchmarks.variants import least_change
from sytorch import AffineOutputs, second_moment_metric
from sytorch.arrays import Vector


@pytest.mark.parametrize("count", [1, 3])
def test_the_least_change_in_metrics_of_classes(count: int) -> None:
    """Three classes, two images, inputs of four numbers; ``count`` metrics serve the classes."""
    random = np.random.default_rng(0)
    outputs = AffineOutputs(random.normal(size=(2, 3)), random.normal(size=(2, 4)))
    labels = np.array([0, 2])
    roots = random.normal(size=(count, 4, 6))
    moments = [root @ root.T / 6 for root in roots]
    found = least_change(outputs, torch.from_numpy(labels), [second_moment_metric(each) for each in moments], 1.0)

    definite = [
        moments[number % count] + 1e-3 * np.trace(moments[number % count]) / 4 * np.eye(4) for number in range(3)
    ]
    rows, needed = [], []
    for image, label in enumerate(labels):
        for other in {0, 1, 2} - {int(label)}:
            row = np.zeros((3, 4))
            row[label], row[other] = outputs.inputs[image], -outputs.inputs[image]
            rows.append(row.ravel())
            needed.append(1.0 - outputs.logits[image, label] + outputs.logits[image, other])

    def size(change: Vector) -> float:
        return float(np.einsum("ci,cij,cj", change.reshape(3, 4), definite, change.reshape(3, 4)))

    best = minimize(size, np.zeros(12), constraints=[LinearConstraint(np.array(rows), needed, np.inf)], tol=1e-12)
    assert np.all(np.array(rows) @ found.numpy().ravel() >= np.array(needed) - 2e-4)
    assert size(found.numpy()) == pytest.approx(best.fun, rel=1e-3)


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
