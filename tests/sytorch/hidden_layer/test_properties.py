"""Random programs with fixed activation patterns: each is solved, or refuted, as programs written out whole say.

The long form is ``python -m tests.properties --kind fixed-pattern --count 500``.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.properties import kind_named, tally
from tests.sytorch.hidden_layer.programs import Case


def test_every_answer_is_right_and_nearly_every_program_has_one() -> None:
    said: list[str] = []
    found = tally(kind_named("fixed-pattern"), 40, tell=said.append)
    assert not found["wrong"], "\n".join(said)
    assert found["unknown"] <= 1, "\n".join(said)
    assert found["solved"] >= 10 and found["refuted"] >= 5


@pytest.mark.parametrize(
    ("named", "images", "classes", "margin", "labels", "share", "seed"),
    [
        (("deep", "0[1:4]"), 3, 4, 0.2, "near", 0.003, 4),
        (("normalised", "0"), 4, 4, 0.5, "near", 0.03, 1445),
    ],
)
def test_entries_that_reach_both_sides_of_their_bound_on_the_way_are_within_both(
    named: tuple[str, str], images: int, classes: int, margin: float, labels: str, *, share: float, seed: int
) -> None:
    near = {"alike": 0, "apart": 0.0, "metric": "random", "allowance": 1e-5, "bound": ("between", share)}
    case = Case(*named, images, classes, margin=margin, labels=labels, dense=True, seed=seed, **near)  # type: ignore[arg-type]
    verdict = kind_named("fixed-pattern").judge(case)
    assert verdict.outcome == "solved", verdict.why


def test_a_bound_beyond_any_change_is_not_told_to_the_digit() -> None:
    """The fault: of two images that differ by rounding, a bound of 8e10 was refuted, wrong in its fourth digit."""
    near = {"alike": 0, "apart": 0.0, "metric": "random", "allowance": 0.0, "bound": ("number", float("inf"))}
    case = Case("pooled", "0[1:2]", 5, 2, margin=0.0, labels="near", dense=True, seed=5, **near)  # type: ignore[arg-type]
    verdict = kind_named("fixed-pattern").judge(case)
    assert verdict.outcome == "refuted", verdict.why


def test_the_command_counts_outcomes() -> None:
    words = ["-m", "tests.properties", "--kind", "fixed-pattern", "--count", "2"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["solved"] + said["refuted"] + said["unknown"] == 2 and said["wrong"] == 0
