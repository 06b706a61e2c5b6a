"""The plots of the comparison: a method of each way, labelled at its line, and all others in a plot of their own."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
LINE_HEIGHT = 11  # points between two labels


def draw_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write a plot of each of `TITLES`, and ``..._others`` of the rest, as PNG and SVG; returns their paths.

    Where an edit image lacks its margin the marker is hollow. Several seeds are several points.
    """
    chosen = [row for row in rows if row.method in MAIN]
    others = [row for row in rows if row.method not in MAIN]
    paths = []
    for column in TITLES:
        paths += _draw_main(chosen, folder, column) if _judged(chosen) else []
        paths += _draw_others(others, folder, column) if _judged(others) else []
    return paths


def _judged(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.drawdown is not None]


def _draw_main(rows: Sequence[Row], folder: Path, column: str) -> list[Path]:
    figure = Figure(figsize=(10.0, 5.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, method in enumerate(MAIN):
        _line(axes, [row for row in rows if row.method == method], column, number)
    _label(axes, column, _sizes(rows))
    figure.draw_without_rendering()  # scales are settled, so that labels can be set apart
    _name_lines(axes)
    return save_figure(figure, folder, column)


def _draw_others(rows: Sequence[Row], folder: Path, column: str) -> list[Path]:
    figure = Figure(figsize=(10.0, 6.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, method in enumerate(dict.fromkeys(row.method for row in rows)):
        _line(axes, [row for row in rows if row.method == method], column, number)
    _label(axes, column, _sizes(rows))
    axes.set_title(f"{axes.get_title()}, the other methods")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return save_figure(figure, folder, f"{column}_others")


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({row.edit_images for row in rows if row.edit_images is not None})


def _line(axes: Axes, rows: Sequence[Row], column: str, number: int) -> None:
    points = sorted((row.edit_images or 0, float(getattr(row, column)), row.status) for row in _judged(rows))
    if not points:
        return
    colour = COLOURS[number % len(COLOURS)]
    marker, line = MARKERS[number % len(MARKERS)], LINES[(number // len(COLOURS)) % len(LINES)]
    sizes, values, _ = zip(*points, strict=True)
    axes.plot(sizes, values, marker, color=colour, linestyle=line, linewidth=1.5, markersize=5, label=rows[0].label)
    for size, value, status in points:
        if status != "repaired":
            axes.plot(size, value, marker, color=colour, markerfacecolor="white", markersize=5)


def _name_lines(axes: Axes) -> None:
    """Write each line's name behind its last point, no name upon another."""
    named = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [(line, *np.asarray(line.get_xydata(), dtype=float)[-1].tolist()) for line in named]
    scale, least = axes.figure.dpi / 72, float("-inf")
    rightmost = max(x for _, x, _ in ends)
    for line, x, y in sorted(ends, key=lambda end: float(end[2])):
        height = float(axes.transData.transform((x, y))[1])
        least = max(height, least + LINE_HEIGHT * scale)
        told = str(line.get_label()) if x == rightmost else textwrap.fill(str(line.get_label()), 20)
        axes.annotate(
            told,
            (x, y),
            xytext=(8, (least - height) / scale),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=line.get_color(),
            fontsize=9,
        )


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
