"""Unlike experiments are never one line, one bar or one row of a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.analysis.figures import baselines, by_images, draw_figures, series_of
from experiments.analysis.summary import as_text, summarise
from visualizer.drawing.charts import experiment_figures


@pytest.fixture
def rows() -> pd.DataFrame:
    """Eight repairs of five images: two types, two norms, two margins."""
    table = pd.DataFrame(
        [(kind, norm, margin) for kind in ("misclassified", "class_homogeneous_correct")
         for norm in ("l1", "l2") for margin in (1.0, 2.0)],
        columns=["repair_set_type", "norm", "margin"],
    )  # fmt: skip
    same = {"dataset": "digits", "layer": "classifier.6", "prepare": "none", "metric": "training", "param_bound": 5.0,
            "keep": 0, "prepare_copies": "none", "reach": "none", "more_options": "none", "sequence": "alone",
            "seed": 0, "baseline_weights_hash": "0" * 64,
            **dict.fromkeys(("iteration", "images_so_far", "repaired_accuracy_type"), float("nan"))}  # fmt: skip
    measured = dict.fromkeys(
        ("repaired_accuracy_test_set", "repaired_accuracy_edit_set", "baseline_accuracy_test_set", "drawdown_points",
         "generalization_after", "repair_runtime_seconds", "min_margin", "solver_iterations"), 1.0,
    )  # fmt: skip
    sizes = {"requested_repair_set_size": 5, "actual_repair_set_size": 5, "repair_successful": True}
    one_class = table["repair_set_type"] == "class_homogeneous_correct"
    return table.assign(**same, **measured, **sizes, target_class=one_class.map({True: 3.0, False: float("nan")}))


def test_a_summary_averages_over_classes_and_seeds_alone(rows: pd.DataFrame) -> None:
    summary = summarise(pd.concat([rows, rows.assign(seed=1)]))
    assert summary["experiments"].tolist() == [2] * 8
    assert list(summary.columns[:4]) == ["repair_set_type", "norm", "margin", "requested_repair_set_size"]


def test_a_series_is_named_by_what_differs(rows: pd.DataFrame) -> None:
    assert series_of(rows).tolist()[:2] == ["misclassified, l1, margin 1", "misclassified, l1, margin 2"]
    assert set(series_of(rows[rows["norm"] == "l1"].head(1))) == {"misclassified"}


def test_steps_of_a_sequence_are_where_they_have_come_to(rows: pd.DataFrame) -> None:
    steps = rows.assign(sequence="step", iteration=[*range(1, 9)], images_so_far=[5.0 * step for step in range(1, 9)])
    sizes = by_images(pd.concat([rows, steps]))["requested_repair_set_size"].tolist()
    assert sizes == [5] * 8 + [5, 10, 15, 20, 25, 30, 35, 40]
    assert series_of(steps)[0] == "misclassified, margin 1, 5 a step"
    one = steps.assign(norm="l1", margin=1.0, repair_set_type="misclassified", target_class="")
    assert summarise(one)["experiments"].tolist() == [1]


def _sequence(rows: pd.DataFrame, steps: int, **facts: Any) -> pd.DataFrame:
    """A sequence of some repairs of misclassified images, the norm as usual: another one from the fourth step on."""
    one = pd.concat([rows.head(1)] * steps, ignore_index=True).assign(sequence="step", **facts)
    return one.assign(iteration=range(1, steps + 1), norm=["l1" if step < 3 else "l2" for step in range(steps)])


def test_a_sequence_whose_norm_changes_is_one(rows: pd.DataFrame) -> None:
    """The fault: fifty steps were two last repairs, and two curves, for many images have another norm."""
    steps = _sequence(rows, 6)
    assert summarise(steps)["experiments"].tolist() == [1] and set(series_of(steps)) == {"misclassified, 5 a step"}
    of_each = pd.concat([steps.assign(norm=norm) for norm in ("l1", "l2")])
    assert summarise(of_each)[["norm", "experiments"]].to_numpy().tolist() == [["l1", 1], ["l2", 1]]
    assert set(series_of(of_each)) == {f"misclassified, {norm}, 5 a step" for norm in ("l1", "l2")}


@pytest.mark.parametrize("good", range(5))
def test_steps_that_failed_are_counted(rows: pd.DataFrame, good: int) -> None:
    """The fault: they were left out, and where all had failed, so were the type and the size."""
    steps = _sequence(rows, 5).assign(repair_successful=[step < good for step in range(5)])
    summary = summarise(steps)
    told = ["repair_set_type", "requested_repair_set_size", "experiments", "repaired"]
    failed, last = 5 - good, min(good, 1)
    assert summary[told].to_numpy().tolist() == [["misclassified", 5, failed + last, last]]


def test_a_sequence_is_not_averaged_with_repairs_that_stand_alone(rows: pd.DataFrame) -> None:
    summary = summarise(pd.concat([rows.head(1), _sequence(rows, 2).assign(norm="l1")]))
    assert summary[["sequence", "experiments"]].to_numpy().tolist() == [["alone", 1], ["step", 1]]


def test_two_networks_are_not_averaged(rows: pd.DataFrame, tmp_path: Path) -> None:
    one = rows.head(1).assign(target_class="")
    other = one.assign(baseline_weights_hash="f" * 64, drawdown_points=10.0, baseline_accuracy_test_set=0.5)
    both = pd.concat([one, other], ignore_index=True)
    assert summarise(both)["drawdown_mean"].tolist() == [1, 10]
    assert [row[1] for row in as_text(summarise(both))[1:]] == ["0" * 8, "f" * 8]
    draw_figures(both, tmp_path)
    drawn = (tmp_path / "accuracy.svg").read_text()
    assert all(f"before repair, network {digit * 8}" in drawn for digit in "0f")
    assert baselines(both) == {"before repair, network 00000000": 100, "before repair, network ffffffff": 50}


def test_a_keep_set_is_another_series(rows: pd.DataFrame) -> None:
    both = pd.concat([rows.head(1), rows.head(1).assign(keep=500)])
    assert series_of(both).tolist() == ["misclassified, keep 0", "misclassified, keep 500"]


def test_plots_tell_the_series_apart(rows: pd.DataFrame, tmp_path: Path) -> None:
    draw_figures(rows, tmp_path)
    for name in ("accuracy", "drawdown", "copies", "runtime", "iterations", "success"):
        assert "class homogeneous correct, l2, margin 2" in (tmp_path / f"{name}.svg").read_text()
    assert "class homogeneous correct, l1, margin 1: 3" in (tmp_path / "classes.svg").read_text()


def test_the_page_tells_the_series_apart(rows: pd.DataFrame) -> None:
    told = ["experiment_id", "repair_set_focus", "seed"]
    figures = experiment_figures(rows.assign(iterations=1.0, **dict.fromkeys(told, "")), [""] * len(rows))
    assert len(figures["accuracy"]["data"]) == 17  # a mean and its points each, and where the network before is
    assert len(figures["runtime"]["data"]) == len(figures["success"]["data"]) == 8
    assert "class homogeneous correct, l1, margin 1: 3.0" in figures["classes"]["data"][0]["y"]


def test_the_sizes_of_bars_ascend_whichever_series_has_them(rows: pd.DataFrame) -> None:
    sizes = rows.assign(requested_repair_set_size=[50, 50, 3, 3, 10, 10, 3, 3], iterations=1.0)
    told = dict.fromkeys(["experiment_id", "repair_set_focus", "seed"], "")
    axis = experiment_figures(sizes.assign(**told), [""] * len(rows))["success"]["layout"]["xaxis"]
    assert (axis["categoryorder"], axis["categoryarray"]) == ("array", ["3", "10", "50"])
