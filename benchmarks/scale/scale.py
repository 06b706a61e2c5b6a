"""Time and memory of a repair as the number of images grows: a table, a page and plots.

Every size runs in a process of its own. The first run only fills the caches and is not counted.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare.one import ALL
from benchmarks.records import read_records, write_records
from benchmarks.scale.page import page
from benchmarks.scale.plot import draw
from benchmarks.scale.run import Context, Run, run_size
from edits.network.workbench import open_workbench
from edits.options import PrepareName
from helpers.arguments import SpacedLists
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.errors import UsageError
from model_classes.training import ensure_baseline

SIZES = ["10", "30", "100", "300", "1000", ALL]

app = new_app(__doc__)


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[str] | None, typer.Option(help=f"Edit images. [default: {' '.join(SIZES)}]")] = None,
    prepare: Annotated[PrepareName, typer.Option(help="As in run_repair.py.")] = "auto",
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: Annotated[Path, typer.Option(help="The folder of table, page and plots.")] = Path("docs/benchmarks"),
) -> None:
    """Run every size; runs that are in the table already are not made again."""
    chosen = list(dict.fromkeys(sizes or SIZES))
    if wrong := [size for size in chosen if size != ALL and not (size.isdecimal() and int(size) > 0)]:
        raise UsageError(f"--sizes are numbers above 0, or {ALL}, not {wrong[0]!r}.")
    table = output / "scale.csv"
    runs = read_records(table, Run)
    network = ensure_baseline(dataset, data_root, weights)
    context = Context(dataset, data_root, network, open_workbench(dataset, data_root, network).weights_hash)
    missing = [size for size in chosen if (size, prepare, context.weights_hash) not in {run.key for run in runs}]
    if missing:
        say("filling the caches")
        run_size(context, missing[0], prepare)
    for size in missing:
        say(f"{size} images, prepare {prepare}")
        runs.append(run_size(context, size, prepare))
        write_records(table, sorted(runs, key=lambda run: (run.prepare, run.edit_images)))
    for path in finish(table, output):
        say(f"wrote {path}")


def finish(table: Path, output: Path) -> list[Path]:
    """Write the page and the plots of all that the table holds; returns what was written."""
    runs = read_records(table, Run)
    (output / "scale.md").write_text(page(runs), encoding="utf-8")
    return [table, output / "scale.md", *draw(runs, output)]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a repair's process does not outlive this one
    app()
