"""The page of the scaling benchmark, in Markdown: the table, and what dominates against its floor."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import as_markdown
from benchmarks.scale.floors import floor_of
from benchmarks.scale.run import PHASES, Run

INTRODUCTION = """\
# Time and memory as the number of images grows

Each size is one `run_repair.py misclassified` in a process of its own, made by `python -m benchmarks.scale.scale`; what
depends on the network alone (decoded images, activations, factors of metrics) is cached. *Margins* are those that are
missing at the first step of the preparation, *rows* those of the last layer's program. Seconds are by phase; no phase
counts imports, hashes and what is saved for other pages.

"""
FLOORS = """\
## What dominates, and its floor

The floor is what the phase's code has to multiply and to hold, at the machine's best rates, measured in the same run.
N images, R missing margins, layers of m = 4,096 units (n = 4,097 inputs with the bias), S training images in the
metrics' sample, and Q = 2,500 at most that are run to judge a step. The change of the hidden layer is of rank N, so
that the outputs of a training image are moved in `w` = `2 N (n + m)`, or `2 n m` where that is less:

- prepare: once `2 n m N` in float64 (inputs in the inverse metric), and `n^2 N` (whitened inputs) in float32; each
  step `2 R^2 m` (gram matrix of the margins), `R m^2` (their gradients, whitened), `2 N^2 n` (the inputs' kernel),
  `6 n m N` (outputs, change), `w Q` (training images), and `4 R^2` bytes read in each iteration of the dual. Held:
  the layer three times, both factors, `4 N^2`, and `4 R^2 + 8 R m` bytes.
- metric: after a preparation `(w + n^2) S` in float32, and `n^3 / 3` in float64.
- activations: after a preparation `2 T n m` in float32, for T test images.
- solve: `2 n^2 N + 2 N^2 n` in float64; for `l2` also `N^3 / 3`, and of r rows `16 r^2` bytes, and `4 r^2` in each
  iteration. Held: `8 N^2 + 16 N n`, for `l2` also `8 r^2`, and `4 r^2` with first-order iterations.

No floor was derived for the others: passes of the whole network, and files.

"""


def page(runs: Sequence[Run]) -> str:
    """The page of all runs."""
    kinds = list(dict.fromkeys(run.prepare for run in runs))
    parts = [INTRODUCTION]
    for kind in kinds:
        chosen = [run for run in runs if run.prepare == kind]
        parts += [f"## --prepare {kind}\n\n![Seconds and memory](scale_{kind}.svg)\n\n", _table(chosen), "\n"]
    return "".join([*parts, FLOORS, _dominating(runs), "\n", _machines(runs)])


def dominating(run: Run) -> str:
    """The phase that took longest."""
    return max(PHASES, key=run.seconds)


def _table(runs: Sequence[Run]) -> str:
    shown = [phase for phase in PHASES if max(run.seconds(phase) for run in runs) >= 0.05]
    header = [
        "images",
        *shown,
        "process (s)",
        "peak memory (MB)",
        "margins",
        "rows",
        "norm",
        "gap",
        "drawdown",
        "outcome",
    ]
    return as_markdown(header, [_line(run, shown) for run in runs])


def _line(run: Run, shown: Sequence[str]) -> list[str]:
    return [
        f"{run.edit_images:,}",
        *(f"{run.seconds(phase):.2f}" for phase in shown),
        f"{run.seconds_process:.1f}",
        f"{run.peak_memory_mb:,.0f}",
        f"{int(run.margins.split()[0]):,}" if run.margins else "-",
        "-" if run.rows is None else f"{run.rows:,}",
        run.norm,
        "-" if run.gap is None else f"{run.gap:.0e}",
        "-" if run.drawdown is None else f"{run.drawdown + 0.0:.2f}",
        run.status,
    ]


def _dominating(runs: Sequence[Run]) -> str:
    header = ["images", "prepare", "longest phase", "s", "share", "Gflop float32", "Gflop float64", "GB read again",
              "GB held", "floor (s)", "times the floor"]  # fmt: skip
    return as_markdown(header, [_against_floor(run) for run in runs])


def _against_floor(run: Run) -> list[str]:
    phase = dominating(run)
    seconds = run.seconds(phase)
    share = seconds / max(sum(run.seconds(name) for name in PHASES), 1e-9)
    told = [f"{run.edit_images:,}", run.prepare, phase, f"{seconds:.2f}", f"{100 * share:.0f} %"]
    floor = floor_of(run, phase)
    if floor is None:
        return [*told, *["-"] * 6]
    least = floor.seconds(run.machine)
    amounts = (1e-9 * amount for amount in (floor.single, floor.double, floor.streamed, floor.held))
    return [*told, *(f"{amount:,.2f}" for amount in amounts), f"{least:.3f}", f"{seconds / least:.1f}"]


def _machines(runs: Sequence[Run]) -> str:
    told = dict.fromkeys(
        f"{machine.gflops32:.0f} Gflop/s in float32 (4,096 x 4,096), {machine.gflops64:.0f} in float64, "
        f"{machine.gigabytes:.1f} GB/s read and written by a copy"
        for machine in (run.machine for run in runs)
    )
    return "The machine, measured before the runs: " + "; ".join(told) + ".\n"
