"""The table of layers on the real digits: a row for each repair, and what one says that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.layers import LAYERS, TITLES, Case, cases


@pytest.fixture(autouse=True)
def project(module_folder: Path, digits_baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(module_folder)
    Path("artifacts").mkdir(exist_ok=True)
    for path in (digits_baseline, digits_baseline.with_suffix(".json")):
        if not (place := Path("artifacts") / path.name).exists():
            place.symlink_to(path)


def _row(case: Case) -> dict[str, str]:
    return dict(zip(TITLES, case.run("digits", 60.0, 0), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "pattern"), [("classifier.6", "fixed"), ("classifier.4", "relinearise")])
def test_a_row_of_a_repair(layer: str, pattern: str) -> None:
    row = _row(Case(3, layer, pattern))
    assert (row["images"], row["layer"], row["status"], row["edit accuracy"]) == ("3", layer, "repaired", "100.0 %")
    assert row["proof"].startswith("gap") if layer == "classifier.6" else row["proof"] == "none"
    assert abs(float(row["drawdown"])) < 10 and float(row["s"]) < 120
    assert float(row["MB"].replace(",", "")) > 100


def test_a_row_of_a_failure_says_why() -> None:
    row = _row(Case(3, "classifier.5", "fixed"))
    assert row["status"] == "failed" and "classifier.5" in row["proof"]


def test_every_layer_has_both_patterns_but_the_last() -> None:
    planned = cases([10, 50], list(LAYERS))
    assert len(planned) == 2 * (2 * len(LAYERS) - 1)
    assert [case.pattern for case in planned if case.layer == "classifier.6"] == ["fixed", "fixed"]
