"""What whole commands cost and take: run_repair.py in a process of its own for each edit set, as a user would type it.

Seconds are from start to end of the process, imports, hashes and all evaluation included. What depends on the network
alone is in the cache: a first command, which is not counted, puts it there.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.compare.one import ALL
from edits.options import REACHES
from helpers.arguments import SpacedLists
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.errors import ToolError, UsageError
from helpers.text import as_markdown
from model_classes.training import ensure_baseline

RUN_REPAIR = Path(__file__).parents[1] / "run_repair.py"
SIZES = ["100", "400", "1000", ALL]
DRAWN_REACHES = ["near", "exact"]
HEADER = ["images", "reach", "commands", "drawdown", "copies right (%)", "other mistakes mended"]
HEADER += ["right answers broken", "seconds", "largest memory (MB)"]
SHORT = 0.05  # seconds of a phase that has no column

app = new_app(__doc__)


@dataclass(frozen=True)
class Command:
    """A command that ended with a repair: its report, and the seconds of its process."""

    report: dict[str, Any]
    seconds: float

    def phase(self, name: str) -> float:
        """Seconds of one phase of the report; of ``the rest``, what no phase counts."""
        phases: dict[str, float] = self.report["seconds"]
        return self.seconds - sum(phases.values()) if name == REST else phases.get(name, 0.0)


REST = "the rest"


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[str] | None, typer.Option(help=f"Edit images. [default: {' '.join(SIZES)}]")] = None,
    seeds: Annotated[list[int] | None, typer.Option(min=0, help="Which images. [default: 0 1 2 3 4]")] = None,
    reaches: Annotated[
        list[str] | None, typer.Option(help=f"Of the detectors. [default: {' '.join(DRAWN_REACHES)}]")
    ] = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
) -> None:
    """Run the commands and print two tables as Markdown: what repairs cost and take, and seconds by phase."""
    if wrong := [size for size in sizes or () if size != ALL and not (size.isdecimal() and int(size) > 0)]:
        raise UsageError(f"--sizes are numbers above 0, or {ALL}, not {wrong[0]!r}.")
    if unknown := [reach for reach in reaches or () if reach not in REACHES]:
        raise UsageError(f"--reaches are {', '.join(REACHES)}, not {unknown[0]!r}.")
    network = ensure_baseline(dataset, data_root, weights)
    shared = ["--dataset", dataset.value, "--weights", str(network)]
    shared += [] if data_root is None else ["--data-root", str(data_root)]
    pairs = list(itertools.product(sizes or SIZES, reaches or DRAWN_REACHES))
    run(pairs[0][0], pairs[0][1], 0, shared)
    found = {
        (size, reach): [run(size, reach, seed, shared) for seed in (seeds or range(5) if size != ALL else [0])]
        for size, reach in pairs
    }
    typer.echo(table(found))


def run(size: str, reach: str, seed: int, shared: Sequence[str]) -> Command:
    """Repair so many misclassified images; raises `ToolError` where there is no repair."""
    say(f"{size} images, reach {reach}, seed {seed}")
    told = [] if size == ALL else ["--max-samples", size, "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "repaired.pth"
        words = [str(RUN_REPAIR), "misclassified", *shared, *told, "--reach", reach, "--output", str(output)]
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise ToolError(
                f"{' '.join(words[1:])} ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}"
            )
        return Command(json.loads(output.with_suffix(".json").read_text(encoding="utf-8")), seconds)


def table(found: dict[tuple[str, str], list[Command]]) -> str:
    """Both tables; a figure is the mean of its commands, ± the standard deviation where there are several."""
    everything = [command for commands in found.values() for command in commands]
    names = dict.fromkeys(name for command in everything for name in command.report["seconds"])
    phases = [name for name in names if max(command.phase(name) for command in everything) >= SHORT] + [REST]
    costs = [_costs(reach, commands) for (_, reach), commands in found.items()]
    times = [
        [_images(commands), reach, *(f"{_mean(commands, name):.2f}" for name in phases)]
        for (_, reach), commands in found.items()
    ]
    return f"{as_markdown([HEADER, *costs])}\n{as_markdown([['images', 'reach', *phases], *times])}"


def _costs(reach: str, commands: Sequence[Command]) -> list[str]:
    reports = [command.report for command in commands]
    wrong = statistics.mean(report["outside_wrong"] for report in reports)
    mended, broken = (statistics.mean(report[f"outside_{kind}"] for report in reports) for kind in ("mended", "broken"))
    return [
        _images(commands),
        reach,
        str(len(commands)),
        _spread([report["drawdown_points"] for report in reports], 2),
        _spread([100 * report["generalization_after"] for report in reports], 1),
        f"{mended:.1f} of {wrong:,.0f}",
        f"{broken:.1f}",
        _spread([command.seconds for command in commands], 1),
        f"{max(report['peak_memory_mb'] for report in reports):,.0f}",
    ]


def _images(commands: Sequence[Command]) -> str:
    return f"{commands[0].report['edit_set_size']:,}"


def _mean(commands: Sequence[Command], name: str) -> float:
    return statistics.mean(command.phase(name) for command in commands)


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values) + 0.0:.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    app()
