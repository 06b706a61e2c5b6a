"""Makes the figures of the documents again: the page ``docs/figures.md`` and the plots that the README shows.

Every sweep goes on where it stopped, so a run that was killed is started again. Run it on a machine that does nothing
else. With ``--everything`` the pages of ``docs/benchmarks`` and the table of every layer are made, too, for hours.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from edits.options import REACHES
from experiments.analysis.summary import as_text, read_tables, summarise
from helpers.cli import new_app, say, tells_failures
from helpers.errors import ToolError
from helpers.files.writing import atomic_file
from helpers.text import as_markdown

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = Path("results/documents")
PAGE = Path("docs/figures.md")
PLOTS = Path("docs/experiments")
PLOTTED = {
    **{f"plots/{name}.png": f"{name}.png" for name in ("accuracy", "drawdown")},
    **{f"by_size/{name}.png": f"{name}_by_size.png" for name in ("drawdown", "copies")},
}
OF_SEEDS = "experiment_runner.py --edit-set-types misclassified --seeds 0 1 2 3 4 --output results/documents/"
BY_SIZE = (
    "experiment_runner.py --edit-set-types misclassified --edit-set-sizes 10 50 100 200 400 1000 --norms l2 "
    "--output results/documents/by_size_"
)
DEFAULT = "results/documents/default_1000.pth"

app = new_app(__doc__)


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: its heading.
        caption: what the table shows.
        commands: what makes it, each a script or module with its options.
        tables: results that are summed up; where there is none, what the last command prints is the table.
    """

    title: str
    caption: str
    commands: tuple[str, ...]
    tables: tuple[Path, ...] = ()

    def text(self) -> str:
        """Run the commands; the section as Markdown."""
        printed = [run(command) for command in self.commands]
        found = self.tables and as_text(summarise(read_tables(list(self.tables))))
        table = as_markdown(found, right=()) if found else printed[-1]
        commands = "".join(f"uv run python {command}\n" for command in self.commands)
        return f"## {self.title}\n\n{self.caption}\n\n```bash\n{commands}```\n\n{table}\n"


SECTIONS = (
    Section(
        "Means of five seeds",
        "Misclassified test images; drawdown in percentage points with its standard deviation over seeds 0 to 4.",
        (
            *(
                f"{OF_SEEDS}{reach}.csv --edit-set-sizes 100 400 1000 --prepare auto --reach {reach} --norms l2"
                for reach in REACHES
            ),
            f"{OF_SEEDS}last_layer_l1.csv --edit-set-sizes 100 400 --norms l1 --prepare none",
            f"{OF_SEEDS}last_layer_l2.csv --edit-set-sizes 100 400 1000 --norms l2 --prepare none",
            f"{OF_SEEDS}per_class.csv --edit-set-sizes 100 400 1000 --norms l2 --metrics per-class",
        ),
        tuple(FOLDER / f"{name}.csv" for name in (*REACHES, "last_layer_l1", "last_layer_l2", "per_class")),
    ),
    Section(
        "All misclassified images",
        "The 2,525 test images that the network gets wrong.",
        tuple(
            "experiment_runner.py --edit-set-types misclassified --edit-set-sizes 2525 --prepare auto --norms l2 "
            f"--reach {reach} --output results/documents/all_{reach}.csv"
            for reach in REACHES
        ),
        tuple(FOLDER / f"all_{reach}.csv" for reach in REACHES),
    ),
    Section(
        "Whole commands",
        "The default and detectors of the images alone: seconds from start to end of the process, with imports, hashes "
        "and all evaluation; what depends on the network alone is cached.",
        ("-m benchmarks.commands --seeds 0 1 2",),
    ),
    Section(
        "By size",
        "The default, detectors of the images alone, and the last layer alone; the README's plot is of this table.",
        (
            *(f"{BY_SIZE}{reach}.csv --prepare auto --reach {reach}" for reach in ("near", "exact")),
            f"{BY_SIZE}none.csv --prepare none",
            "analysis.py results/documents/by_size_near.csv results/documents/by_size_exact.csv "
            "results/documents/by_size_none.csv results/documents/all_near.csv results/documents/all_exact.csv "
            "--output results/documents/by_size",
        ),
        tuple(FOLDER / f"{name}.csv" for name in ("by_size_near", "by_size_exact", "by_size_none")),
    ),
    Section(
        "A sweep of 55 experiments",
        "The last layer alone by `l1` in the training metric.",
        (
            "experiment_runner.py --edit-set-sizes 10 25 50 100 200 --edit-set-types misclassified "
            "class_homogeneous_incorrect --target-classes 0 1 2 3 4 5 6 7 8 9 --prepare none "
            "--output results/documents/full.csv",
            "analysis.py results/documents/full.csv --output results/documents/plots",
        ),
        (FOLDER / "full.csv",),
    ),
    Section(
        "Corrupted images",
        "What the default repair of 1,000 images (seed 0) changes of the answers to 4,000 images outside the set.",
        (
            f"run_repair.py misclassified --max-samples 1000 --force --output {DEFAULT}",
            f"-m benchmarks.corruptions {DEFAULT.replace('.pth', '.json')} --images 4000",
        ),
    ),
    Section(
        "Fewer bits",
        "The same repair of 1,000 images, run with fewer bits.",
        (f"-m benchmarks.quantised {DEFAULT.replace('.pth', '.json')}",),
    ),
    Section(
        "The other half",
        "What is wrong in one half of the test images is repaired; the other half is measured, wrong images included.",
        ("-m benchmarks.halves",),
    ),
)
REACH = Section(
    "Which reach, chosen on training images",
    "Training images kept aside in the place of the test images; the rule is in `benchmarks/reach.py`.",
    ("-m benchmarks.reach",),
)
# These write pages and tables of their own, and go on with what is there.
PAGES = ("-m benchmarks.compare.side_by_side",)
LAYERS = Section(
    "Every layer",
    "Each layer repaired alone on the same images (seed 0).",
    ("-m benchmarks.layers --sizes 10 50 100 --time-limit 240",),
)


def run(command: str) -> str:
    """Run a script or module of this project in the folder that one is in; what it prints.

    Raises:
        ToolError: it fails.
    """
    say(f"uv run python {command}")
    words = shlex.split(command)
    if words[0] != "-m":
        words[0] = str(CHECKOUT / words[0])
    ended = subprocess.run(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    if ended.returncode:
        raise ToolError(f"The command above ended with exit code {ended.returncode}, so no page was written.")
    return ended.stdout


def provenance() -> str:
    """Commit, machine and day, in a sentence."""
    answers = [
        subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    commit = f"commit {answers[0] or 'unknown'}{', with changes' * bool(answers[1])}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__.partition('+')[0]}"
    return f"Made by `python -m benchmarks.documents` of {commit}, on {machine}, {datetime.date.today().isoformat()}."


def page(sections: tuple[Section, ...]) -> str:
    """The page, whose sections are made one after the other."""
    made = [section.text() for section in sections]
    return f"# Figures of the documents\n\n{provenance()}\n\n" + "\n".join(made)


@app.command()
@tells_failures
def main(
    output: Annotated[Path, typer.Option(help="The page.")] = PAGE,
    plots: Annotated[Path, typer.Option(help="Where the README's plots go.")] = PLOTS,
    everything: Annotated[bool, typer.Option("--everything", help="Also the comparison and every layer.")] = False,
) -> None:
    """Run the sweeps and repairs that the documents tell of (45 minutes on two cores), and write their page."""
    for command in PAGES if everything else ():
        run(command)
    text = page((*SECTIONS, REACH, LAYERS) if everything else SECTIONS)
    with atomic_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for made, kept in PLOTTED.items():
        shutil.copyfile(FOLDER / made, plots / kept)
    say(f"wrote {output}, and the plots in {plots}")


if __name__ == "__main__":
    app()
