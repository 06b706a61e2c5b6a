"""The plots of a sweep: labelled, readable in print, and told apart by colour, marker and line alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.files.writing import atomic_file

SETTINGS = {
    "dataset": "{}",
    "baseline_weights_hash": "network {:.8}",
    "layer": "{}",
    "prepare": "prepare {}",
    "prepare_copies": "prepare {} copies",
    "reach": "reach {}",
    "norm": "{}",
    "metric": "{} metric",
    "margin": "margin {:g}",
    "param_bound": "bound {:g}",
    "keep": "keep {:g}",
    "more_options": "options {}",
}
# What the steps of one sequence have in common, but for the norm, which changes where images become many.
CHAIN = ["repair_set_type", "target_class", "seed", "requested_repair_set_size", *(set(SETTINGS) - {"norm"})]
# Okabe and Ito's palette for any colour vision.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1))]
SIZE = "images asked for"
REPAIRED = "images repaired"
WIDE, FEW = 30, 12  # few sizes that differ by more are told apart on a logarithmic axis

Draw = Callable[[Axes, pd.DataFrame], None]


def varied(rows: pd.DataFrame) -> list[str]:
    """The settings that differ between rows, so that a mean over them would be of unlike experiments."""
    return [name for name in SETTINGS if rows[name].nunique() > 1]


def with_one_norm(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows; the steps of a sequence have the norm of its last one, unless each norm has a sequence of its own."""
    rows = rows.reset_index(drop=True)
    steps = rows[rows["sequence"] == "step"].sort_values("iteration")
    keys = [steps[name] for name in CHAIN]
    several = steps.duplicated([*CHAIN, "iteration"], keep=False).groupby(keys, dropna=False).transform("any")
    last = steps[~several].groupby(CHAIN, dropna=False)["norm"].transform("last")
    return rows.assign(norm=last.reindex(rows.index).fillna(rows["norm"]))


def series_of(rows: pd.DataFrame) -> pd.Series[str]:
    """The name of each row's series: its type of edit set, and what else differs in this table."""
    rows = with_one_norm(rows).set_index(rows.index)
    names = rows["repair_set_type"].astype(str).str.replace("_", " ")
    for setting in varied(rows):
        names = names + ", " + rows[setting].map(SETTINGS[setting].format)
    steps = rows["requested_repair_set_size"].map(", {:g} a step".format)
    return names + steps.where(rows["sequence"] == "step", "")


def by_images(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, steps of a sequence with the sizes that they have come to with all before them."""
    steps = rows["sequence"] == "step"
    sizes = rows["images_so_far"].fillna(rows["iteration"] * rows["requested_repair_set_size"])
    return rows.assign(
        requested_repair_set_size=sizes.where(steps, rows["requested_repair_set_size"]),
        actual_repair_set_size=rows["images_so_far"].where(steps, rows["actual_repair_set_size"]),
    )


def baselines(rows: pd.DataFrame) -> dict[str, float]:
    """The accuracy of each network before repair, in per cent, by what a legend says."""
    found = rows.groupby("baseline_weights_hash")["baseline_accuracy_test_set"].mean().dropna()
    names = [f"before repair, network {digest:.8}" if len(found) > 1 else "before repair" for digest in found.index]
    return dict(zip(names, 100 * found, strict=True))


def draw_figures(rows: pd.DataFrame, folder: Path) -> list[Path]:
    """Write every plot that the rows have something for, as PNG and SVG; returns their paths.

    Raises:
        ToolError: the folder cannot be written.
    """
    rows = by_images(rows.assign(series=series_of(rows)))
    rows = rows.dropna(subset=["requested_repair_set_size"])
    good = rows[rows["repair_successful"]]
    plots: list[tuple[str, Draw, pd.DataFrame]] = [
        ("accuracy", _accuracy, good),
        ("drawdown", _drawdown, good.dropna(subset=["drawdown_points"])),
        ("copies", _copies, good.dropna(subset=["generalization_after"])),
        ("runtime", _runtime, good),
        ("iterations", _iterations, good.dropna(subset=["solver_iterations"])),
        ("success", _success, rows),
        ("classes", _classes, good[good["target_class"] != ""].dropna(subset=["drawdown_points"])),
        ("sequence", _sequence, good.dropna(subset=["repaired_accuracy_type"])),
    ]
    return [path for name, draw, part in plots if len(part) for path in _save(name, draw, part, folder)]


def _save(name: str, draw: Draw, rows: pd.DataFrame, folder: Path) -> list[Path]:
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    draw(figure.add_subplot(), rows)
    return save_figure(figure, folder, name)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG, which has no date so that it is the same each time; returns their paths.

    Raises:
        ToolError: the folder cannot be written.
    """
    paths = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        dateless = {"Date": None} if path.suffix == ".svg" else None
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], metadata=dateless)
    return paths


def _accuracy(axes: Axes, rows: pd.DataFrame) -> None:
    for number, (name, baseline) in enumerate(baselines(rows).items()):
        axes.axhline(baseline, color="#555555", linewidth=1, linestyle=LINES[number % len(LINES)], label=name)
    _means(axes, rows.assign(value=100 * rows["repaired_accuracy_test_set"]))
    _label(axes, "Accuracy after repair", SIZE, "all test images right (%)")


def _drawdown(axes: Axes, rows: pd.DataFrame) -> None:
    axes.axhline(0, color="#555555", linewidth=1)
    _means(axes, rows.assign(value=rows["drawdown_points"]))
    _label(axes, "Drawdown: accuracy lost outside the edit set", SIZE, "percentage points")


def _copies(axes: Axes, rows: pd.DataFrame) -> None:
    _means(axes, rows.assign(value=100 * rows["generalization_after"]))
    axes.set_ylim(0, 100)
    _label(axes, "Shifted and mirrored copies of the edit images", SIZE, "right after the repair (%)")


def _sequence(axes: Axes, rows: pd.DataFrame) -> None:
    """Images of all steps so far, which are to stay right, and all that the network before them got wrong."""
    kept, of_type = (100 * rows[f"repaired_accuracy_{what}"] for what in ("edit_set", "type"))
    both = [(kept, "images of all steps so far"), (of_type, "all of that type")]
    _means(axes, pd.concat([rows.assign(value=part, series=rows["series"] + f": {told}") for part, told in both]))
    axes.set_ylim(0, 105)
    _label(axes, "Repairs one upon the other", SIZE, "right (%)")


def is_wide(sizes: pd.Series[float]) -> bool:
    """Whether sizes want a logarithmic axis; those of a long sequence are at equal distances."""
    return bool(0 < sizes.nunique() <= FEW and sizes.max() > WIDE * sizes.min() > 0)


def _means(axes: Axes, rows: pd.DataFrame) -> None:
    """The mean over classes and seeds as a line, the range as a band, every repair as a faint point."""
    for number, (kind, group) in enumerate(rows.groupby("series")):
        by_size = group.groupby("requested_repair_set_size")["value"].agg(["mean", "min", "max"])
        colour, marker, line = (style[number % len(style)] for style in (COLOURS, MARKERS, LINES))
        axes.fill_between(by_size.index, by_size["min"], by_size["max"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(group["requested_repair_set_size"], group["value"], marker, color=colour, alpha=0.35, markersize=3)
        axes.plot(by_size.index, by_size["mean"], linestyle=line, marker=marker, color=colour, label=str(kind))
    if is_wide(rows["requested_repair_set_size"]):
        sizes = sorted(rows["requested_repair_set_size"].unique())
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
    axes.legend(frameon=False, title="mean; the band is the range")


def _runtime(axes: Axes, rows: pd.DataFrame) -> None:
    _points(axes, rows, "repair_runtime_seconds")
    axes.set_ylim(bottom=0)
    _label(axes, "Time of a repair, verified weights included", REPAIRED, "seconds")


def _iterations(axes: Axes, rows: pd.DataFrame) -> None:
    _points(axes, rows, "solver_iterations")
    _label(axes, "Iterations of the solver", REPAIRED, "iterations")


def _points(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    for number, (kind, group) in enumerate(rows.groupby("series")):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(group["actual_repair_set_size"], group[column], marker, color=colour, alpha=0.7, label=str(kind))
    axes.legend(frameon=False)


def _success(axes: Axes, rows: pd.DataFrame) -> None:
    kinds = sorted(rows["series"].unique())
    sizes = sorted(rows["requested_repair_set_size"].unique())
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        group = rows[rows["series"] == kind].groupby("requested_repair_set_size")["repair_successful"]
        places = np.array([sizes.index(size) for size in group.mean().index]) + (number - (len(kinds) - 1) / 2) * width
        bars = axes.bar(places, 100 * group.mean(), width, color=COLOURS[number % len(COLOURS)], label=str(kind))
        told = [f"{good}/{count}" for good, count in zip(group.sum(), group.count(), strict=True)]
        axes.bar_label(bars, told, fontsize=7, padding=1)
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_ylim(0, 125)
    axes.set_yticks(range(0, 101, 20))
    axes.legend(frameon=False, ncols=2)
    _label(axes, "Experiments that ended in a verified repair", SIZE, "repaired (%)")


def _classes(axes: Axes, rows: pd.DataFrame) -> None:
    table = rows.pivot_table(
        index=["series", "target_class"], columns="requested_repair_set_size", values="drawdown_points"
    )
    values = table.to_numpy()
    image = axes.imshow(values, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(table.columns)), [str(size) for size in table.columns])
    several = rows["series"].nunique() > 1
    axes.set_yticks(range(len(table)), [f"{kind}: {name}" if several else name for kind, name in table.index])
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color="wk"[int(value > middle)], fontsize=8
            )
    axes.figure.colorbar(image, ax=axes, label="drawdown (percentage points)")
    axes.set_title("Drawdown by class and size")
    axes.set_xlabel(SIZE)
    axes.set_ylabel("class")


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
