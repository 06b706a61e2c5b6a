"""The page of the scaling benchmark, in Markdown: a plot and a table for each kind of preparing."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import as_markdown
from benchmarks.scale.run import Run, long_phases

INTRODUCTION = """\
# Time and memory as the number of images grows

Each size is one `run_repair.py misclassified` in a process of its own, made by `python -m benchmarks.scale.scale`. What
depends on the network alone is cached: decoded images, activations, factors of metrics. *Rows* and *gap* are of the
last layer's program. Seconds are by phase. The process also imports, hashes, and saves what other pages need; no phase
counts that.
"""
COLUMNS = ["process (s)", "peak memory (MB)", "rows", "norm", "solver", "gap", "drawdown", "outcome"]


def page(runs: Sequence[Run]) -> str:
    """The page of all runs."""
    parts = [INTRODUCTION]
    for kind in dict.fromkeys(run.prepare for run in runs):
        chosen = [run for run in runs if run.prepare == kind]
        parts.append(f"\n## --prepare {kind}\n\n![Seconds and memory](scale_{kind}.svg)\n\n{_table(chosen)}")
    return "".join(parts)


def _table(runs: Sequence[Run]) -> str:
    shown = long_phases(runs)
    return as_markdown(["images", *shown, *COLUMNS], [_line(run, shown) for run in runs])


def _line(run: Run, shown: Sequence[str]) -> list[str]:
    return [
        f"{run.edit_images:,}",
        *(f"{run.seconds(phase):.2f}" for phase in shown),
        f"{run.seconds_process:.1f}",
        f"{run.peak_memory_mb:,.0f}",
        "-" if run.rows is None else f"{run.rows:,}",
        run.norm,
        run.solver or "-",
        "-" if run.gap is None else f"{run.gap:.0e}",
        "-" if run.drawdown is None else f"{run.drawdown + 0.0:.2f}",
        run.status,
    ]
