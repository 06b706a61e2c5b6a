"""Published cases: read as they are, repaired, judged and accepted; without their archives one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import sytorch
from benchmarks.public import run
from benchmarks.public.cases import cases
from tests.conftest import SHARED

PUBLIC = SHARED / "public"


def test_without_the_archives_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(run.app, ["--data", str(tmp_path), "--output", str(tmp_path / "a.csv")])
    assert result.exit_code == 1 and "give their folder as --data" in result.stderr
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the published networks are not in ../shared/data/public")
def test_cases_are_repaired_beyond_what_was_published() -> None:
    of_name = {case.name.rsplit(", ", 1)[-1]: case for case in cases(PUBLIC)}
    assert len(of_name) == 15  # three of the seventeen end in 9x100
    boxed, points = of_name["24 boxes"].points, of_name["n29-p8"].points
    assert isinstance(boxed, sytorch.Polytopes) and isinstance(points, torch.Tensor)
    held = torch.zeros(len(points), dtype=torch.bool)
    for box in boxed.groups(boxed.vertices):
        held |= ((points >= box.amin(dim=0)) & (points <= box.amax(dim=0))).all(dim=1)
    assert len(boxed.centres) == 24 and held.all()
    for case in [case for case in cases(PUBLIC) if "foggy digits" in case.name]:
        before, published, here = run.judged(case)
        assert (before.edits, here.edits, here.accepted) == (0.0, 100.0, "yes")
        assert here.drawdown <= 0.0 < published.drawdown and here.generalization > published.generalization
    before, here = run.judged(of_name["n29-p8"])
    assert (before.edits, before.generalization, here.edits, here.accepted) == (0.0, 0.0, 100.0, "yes")
    assert here.generalization > 99.9 and here.drawdown == 0.0 and here.gap is not None and here.gap < 1e-9
