"""The plots of the scaling benchmark: seconds by phase, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.scale.floors import floor_of
from benchmarks.scale.run import PHASES, Run
from experiments.analysis.figures import COLOURS, LINES, MARKERS, save_figure


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``scale_<prepare>`` as PNG and SVG for each kind of preparing; returns their paths."""
    kinds = dict.fromkeys(run.prepare for run in runs)
    return [path for kind in kinds for path in _draw([run for run in runs if run.prepare == kind], folder, kind)]


def _draw(runs: Sequence[Run], folder: Path, kind: str) -> list[Path]:
    figure = Figure(figsize=(11.0, 5.0), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _seconds(left, runs)
    _memory(right, runs)
    for axes in (left, right):
        _label(axes, sorted({run.edit_images for run in runs}))
    return save_figure(figure, folder, f"scale_{kind}")


def _seconds(axes: Axes, runs: Sequence[Run]) -> None:
    sizes = [run.edit_images for run in runs]
    for number, phase in enumerate(PHASES):
        values = [run.seconds(phase) for run in runs]
        if max(values) < 0.05:
            continue
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        line = LINES[(number + number // len(COLOURS)) % len(LINES)]
        axes.plot(sizes, values, color=colour, marker=marker, linestyle=line, markersize=4, label=phase)
    axes.plot(sizes, [run.seconds_process for run in runs], color="black", marker=".", label="the process")
    axes.set_yscale("log")
    axes.set_title("Seconds by phase")
    axes.set_ylabel("seconds")


def _memory(axes: Axes, runs: Sequence[Run]) -> None:
    sizes = [run.edit_images for run in runs]
    axes.plot(
        sizes,
        [run.peak_memory_mb * 2**20 / 1e9 for run in runs],
        color=COLOURS[0],
        marker="o",
        label="peak of the process",
    )
    held = [max(floor.held for phase in PHASES if (floor := floor_of(run, phase)) is not None) for run in runs]
    axes.plot(
        sizes,
        [bytes_ / 1e9 for bytes_ in held],
        color=COLOURS[1],
        marker="s",
        linestyle="--",
        label="the most that one phase has to hold",
    )
    axes.set_ylim(bottom=0)
    axes.set_title("Memory")
    axes.set_ylabel("GB")


def _label(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("edit images")
    axes.legend(frameon=False, fontsize=7, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.12))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
