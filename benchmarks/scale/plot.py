"""The plots of the scaling benchmark: seconds by phase, one upon the other, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scale.run import Run, long_phases
from experiments.analysis.figures import COLOURS, save_figure

REST = "the rest"


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``scale_<prepare>`` as PNG and SVG for each kind of preparing; returns their paths."""
    kinds = dict.fromkeys(run.prepare for run in runs)
    return [path for kind in kinds for path in _draw([run for run in runs if run.prepare == kind], folder, kind)]


def stacked(runs: Sequence[Run]) -> dict[str, list[float]]:
    """What each bar consists of, from below: seconds by phase, and last the rest of the process."""
    parts = {phase: [run.seconds(phase) for run in runs] for phase in long_phases(runs)}
    counted = [sum(seconds) for seconds in zip(*parts.values(), strict=True)] or [0.0] * len(runs)
    return {**parts, REST: [run.seconds_process - told for run, told in zip(runs, counted, strict=True)]}


def _draw(runs: Sequence[Run], folder: Path, kind: str) -> list[Path]:
    figure = Figure(figsize=(11.0, 5.0), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _seconds(left, runs)
    _memory(right, runs)
    for axes in (left, right):
        _label(axes, [f"{run.edit_images:,}" for run in runs])
    return save_figure(figure, folder, f"scale_{kind}")


def _seconds(axes: Axes, runs: Sequence[Run]) -> None:
    places, bottom = np.arange(len(runs)), np.zeros(len(runs))
    for number, (phase, seconds) in enumerate(stacked(runs).items()):
        colour = "#bbbbbb" if phase == REST else COLOURS[number % len(COLOURS)]
        hatch = "///" if phase != REST and number >= len(COLOURS) else None
        axes.bar(places, seconds, 0.7, bottom, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=phase)
        bottom += seconds
    axes.legend(frameon=False, fontsize=8, reverse=True, loc="upper left")
    axes.set_title("Seconds of the process, by phase")
    axes.set_ylabel("seconds")


def _memory(axes: Axes, runs: Sequence[Run]) -> None:
    axes.bar(np.arange(len(runs)), [run.peak_memory_mb * 2**20 / 1e9 for run in runs], 0.7, color=COLOURS[0])
    axes.set_title("Peak memory of the process")
    axes.set_ylabel("GB")


def _label(axes: Axes, sizes: Sequence[str]) -> None:
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlabel("edit images")
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
