"""The plots of the comparison: a colour for each family, a marker and a line for each method in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from benchmarks.compare.row import Row
from experiments.analysis.figures import COLOURS, LINES, MARKERS, save_figure

FAMILIES = ["ours", "whole LP", "fine-tuning", "closed form", "l1 with right images"]


def draw_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write ``drawdown`` and ``seconds`` as PNG and SVG; returns their paths.

    Where an edit image lacks its margin the marker is hollow. Several seeds are several points.
    """
    return [*_draw(rows, folder, "drawdown"), *_draw(rows, folder, "seconds")]


def _draw(rows: Sequence[Row], folder: Path, column: str) -> list[Path]:
    figure = Figure(figsize=(10.0, 6.0), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for method in dict.fromkeys(row.method for row in rows):
        _line(axes, [row for row in rows if row.method == method], column, _style(rows, method))
    _label(axes, column, sorted({row.edit_images for row in rows if row.edit_images is not None}))
    figure.legend(loc="outside right upper", frameon=False, fontsize=7, title="hollow: a margin is missed")
    return save_figure(figure, folder, column)


def _style(rows: Sequence[Row], method: str) -> tuple[str, int]:
    """The family's colour, and the method's number within it."""
    family = next(row.family for row in rows if row.method == method)
    members = list(dict.fromkeys(row.method for row in rows if row.family == family))
    place = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    return COLOURS[place % len(COLOURS)], members.index(method)


def _line(axes: Axes, rows: Sequence[Row], column: str, style: tuple[str, int]) -> None:
    judged = [row for row in rows if row.drawdown is not None]
    points = sorted((row.edit_images or 0, float(getattr(row, column)), row.status) for row in judged)
    if not points:
        return
    colour, number = style
    marker, line = MARKERS[number % len(MARKERS)], LINES[(number + number // len(MARKERS)) % len(LINES)]
    sizes, values, _ = zip(*points, strict=True)
    axes.plot(sizes, values, color=colour, linestyle=line, linewidth=1, alpha=0.8)
    for size, value, status in points:
        fill = colour if status == "repaired" else "white"
        axes.plot(size, value, marker, color=colour, markerfacecolor=fill, markersize=5)
    axes.plot([], [], color=colour, linestyle=line, marker=marker, markersize=4, label=rows[0].label)


def _label(axes: Axes, column: str, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    if column == "drawdown":
        axes.set_yscale("symlog", linthresh=1)
        axes.axhline(0, color="#555555", linewidth=0.8)
        axes.set_title("Drawdown: accuracy lost outside the edit set")
        axes.set_ylabel("percentage points (linear below 1)")
    else:
        axes.set_yscale("log")
        axes.set_title("Time of a repair")
        axes.set_ylabel("seconds")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("edit images")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
