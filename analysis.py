"""Plots and a summary of one or more tables of experiment_runner.py."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
from pathlib import Path
from typing import Annotated

import typer

from helpers.arguments import knowing
from helpers.cli import new_app, say, tells_failures, works_long
from helpers.errors import UsageError

app = new_app(__doc__)


@app.command(cls=knowing({"--output-dir": "--output"}))
@works_long
@tells_failures
def main(
    tables: Annotated[list[Path], typer.Argument(help="CSV files of experiment_runner.py.", metavar="TABLE...")],
    output: Annotated[
        Path | None,
        typer.Option(help="Where the plots and the summary of all tables go. [default: TABLE_analysis, beside each]"),
    ] = None,
) -> None:
    """Write accuracy, drawdown, runtime, iterations, success and class by size as PNG and SVG, and a summary.

    Tables are taken together where an --output is given; else each has a folder of its own beside it.
    """
    for some, folder in [(tables, output)] if output else [([table], beside(table)) for table in tables]:
        for path in analyse(some, folder):
            say(f"wrote {path}")


def beside(table: Path) -> Path:
    """``results/sweep.csv`` -> ``results/sweep_analysis``."""
    return table.with_name(f"{table.stem}_analysis")


def analyse(tables: list[Path], output: Path) -> list[Path]:
    """Write the plots and ``summary.csv``, ``summary.md``; print the summary; return what was written.

    Raises:
        UsageError: the folder has a ``summary.csv`` that is none of these.
        ToolError: a table is missing or none of the runner's, or the folder cannot be written.
    """
    from experiments.analysis.figures import draw_figures
    from experiments.analysis.summary import as_text, is_summary, read_tables, summarise
    from helpers.files.writing import atomic_file
    from helpers.text import aligned, as_markdown

    path = output / "summary.csv"
    if path.is_file() and path.stat().st_size and not is_summary(path):
        raise UsageError(f"{path} is not of analysis.py and would be replaced: give another --output.")
    rows = read_tables(tables)
    summary = summarise(rows)
    table = as_text(summary)
    print(aligned(table))
    paths = draw_figures(rows, output)
    for name, text in (("summary.csv", summary.to_csv(index=False)), ("summary.md", as_markdown(table, right=()))):
        with atomic_file(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(output / name)
    return paths


if __name__ == "__main__":
    app()
