"""The plots of the comparison: a method of each way, and all others in a plot of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from benchmarks.compare.row import Row
from experiments.analysis.figures import COLOURS, LINES, MARKERS, save_figure

# The default; what it was; the last layer alone; and of each way that people use instead, one.
MAIN = ("ours-default", "moved", "ours-l2", "closed-form", "tune-last", "whole-ipm")
TITLES = {
    "drawdown": ("Drawdown: accuracy lost outside the edit set", "percentage points (linear below 1)"),
    "generalization": ("Copies of edit images, mirrored and shifted, that are right", "%"),
    "seconds": ("Time of a repair", "seconds"),
}
WIDTH = 24  # letters of a line of the legend


def draw_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write a plot of each of `TITLES`, and ``..._others`` of the rest, as PNG and SVG; returns their paths.

    Where an edit image lacks its margin the marker is hollow. Several seeds are several points.
    """
    others = tuple(dict.fromkeys(row.method for row in rows if row.method not in MAIN))
    return [
        path
        for column in TITLES
        for methods, name in ((MAIN, column), (others, f"{column}_others"))
        if _judged(chosen := [row for row in rows if row.method in methods])
        for path in save_figure(_figure(chosen, methods, column), folder, name)
    ]


def _judged(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.drawdown is not None]


def _figure(rows: Sequence[Row], methods: Sequence[str], column: str) -> Figure:
    figure = Figure(figsize=(10.0, 5.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, method in enumerate(methods):
        _line(axes, [row for row in rows if row.method == method], column, number)
    _label(axes, column, _sizes(rows))
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({row.edit_images for row in rows if row.edit_images is not None})


def _line(axes: Axes, rows: Sequence[Row], column: str, number: int) -> None:
    points = sorted((row.edit_images or 0, float(getattr(row, column)), row.status) for row in _judged(rows))
    if not points:
        return
    colour = COLOURS[number % len(COLOURS)]
    marker, line = MARKERS[number % len(MARKERS)], LINES[(number // len(COLOURS)) % len(LINES)]
    sizes, values, _ = zip(*points, strict=True)
    label = textwrap.fill(rows[0].label, WIDTH)
    axes.plot(sizes, values, marker, color=colour, linestyle=line, linewidth=1.5, markersize=5, label=label)
    for size, value, status in points:
        if status != "repaired":
            axes.plot(size, value, marker, color=colour, markerfacecolor="white", markersize=5)


def _label(axes: Axes, column: str, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    if column == "drawdown":
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=min(-0.2, 1.2 * axes.dataLim.y0), top=2 * max(axes.dataLim.y1, 1))
        axes.axhline(0, color="#555555", linewidth=0.8)
    elif column == "seconds":
        axes.set_yscale("log")
    title, unit = TITLES[column]
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("edit images; hollow: a margin is missed")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
