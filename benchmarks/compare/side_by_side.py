"""Repairs side by side: this toolkit's and what people would use instead, on the same edit sets, by one judge."""

from __future__ import annotations

import datetime
import itertools
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compare.apart import Context, not_tried, run_apart
from benchmarks.compare.one import ALL
from benchmarks.compare.page import write_page
from benchmarks.compare.plots import draw_plots
from benchmarks.compare.row import Row
from benchmarks.compare.warm_up import warm_up
from benchmarks.opponents.methods import METHODS
from benchmarks.records import read_records, write_records
from helpers.arguments import SpacedLists
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.errors import UsageError
from model_classes.training import ensure_baseline

SIZES = ["10", "50", "100", "400", "1000", ALL]
Key = tuple[str, str, int]

app = new_app(__doc__)


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[str] | None, typer.Option(help=f"Edit images. [default: {' '.join(SIZES)}]")] = None,
    seeds: Annotated[list[int] | None, typer.Option(min=0, help="Which edit images. [default: 0]")] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="Some of benchmarks.opponents.methods. [default: all]")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds for a solver, or for one learning rate.")] = 120.0,
    memory_limit: Annotated[float, typer.Option(min=1, help="GiB that a method may use.")] = 16.0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: Annotated[Path, typer.Option(help="The folder of table, page and plots.")] = Path("docs/benchmarks"),
) -> None:
    """Compare; rows that are in the table already are not made again."""
    planned = plan(sizes or SIZES, seeds or [0], methods or list(METHODS))
    baseline = ensure_baseline(dataset, data_root, weights)
    table = output / "side_by_side.csv"
    done = read_records(table, Row)
    missing = [key for key in planned if key not in {row.key for row in done}]
    if missing:
        told = warm_up(dataset, data_root, baseline)
        context = Context(dataset, data_root, baseline, told, time_limit, memory_limit)
        check_same(done, context, table)
        _run_all(missing, context, table)
    for path in finish(table, output):
        say(f"wrote {path}")


def plan(sizes: list[str], seeds: list[int], methods: list[str]) -> list[Key]:
    """Every method on every edit set, as ``(method, size, seed)``: all methods of a size, then the next size.

    Raises:
        UsageError: a size is no number, or there is no such method.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError(f"There is no method {unknown[0]!r}; the methods are {', '.join(METHODS)}.")
    if wrong := [size for size in sizes if size != ALL and not (size.isdecimal() and int(size) > 0)]:
        raise UsageError(f"--sizes are numbers above 0, or {ALL}, not {wrong[0]!r}.")
    chosen = itertools.product(dict.fromkeys(sizes), dict.fromkeys(seeds), dict.fromkeys(methods))
    keys = [(method, size, seed) for size, seed, method in chosen]
    return [key for key in keys if key[1] != ALL or key[2] == seeds[0]]  # all images are the same with every seed


def hopeless(done: list[Row], method: str, size: str) -> str | None:
    """The size of a smaller edit set for which the method ran out of time or memory; None where it never did."""
    told = (row.edit_images for row in done if row.size == ALL and row.edit_images)
    count = next(told, math.inf) if size == ALL else int(size)  # drawn of training images, a set can be larger than all
    smaller = (row.size for row in done if row.method == method and row.ran_out and row.size != ALL)
    return next((found for found in smaller if int(found) < count), None)


def check_same(done: list[Row], context: Context, table: Path) -> None:
    """Raise `UsageError` where the table's rows cannot stand beside new ones."""
    for row in done:
        if row.weights_hash != context.weights_hash or row.time_limit != context.time_limit:
            raise UsageError(f"{table} was made with other weights or another --time-limit: give another --output.")


def finish(table: Path, output: Path) -> list[Path]:
    """Put the table in order, and write the page and the plots of all that it holds; returns what was written."""
    rows = read_records(table, Row)
    order = {name: place for place, name in enumerate(METHODS)}
    rows.sort(key=lambda row: (row.size == ALL, len(row.size), row.size, row.seed, order.get(row.method, len(order))))
    write_records(table, rows)
    return [table, write_page(rows, output), *draw_plots(rows, output)]


def _run_all(missing: list[Key], context: Context, table: Path) -> None:
    for number, (method, size, seed) in enumerate(missing, start=1):
        say(f"[{number}/{len(missing)}] {METHODS[method].label}, {size} images, seed {seed}")
        done = read_records(table, Row)
        smaller = hopeless(done, method, size)
        row = not_tried(context, method, size, seed, smaller) if smaller else _run(context, method, size, seed)
        write_records(table, [*done, row])
        say(f"    {row.status}; {_figures(row)}{row.message}")


def _run(context: Context, method: str, size: str, seed: int) -> Row:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    row = run_apart(context, method, size, seed)
    return replace(row, message=" ".join(row.message.split()), measured=today)


def _figures(row: Row) -> str:
    if row.drawdown is None or row.seconds is None:
        return ""
    return f"drawdown {row.drawdown:.2f} points, {row.seconds:.1f} s; "


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a method's process does not outlive this one
    app()
