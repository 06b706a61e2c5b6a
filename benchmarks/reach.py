"""Which reach detectors are to have, chosen on training images: the table, and what the rule makes of it.

A part of the training images is kept aside in the place of the test images; the others stand for ordinary ones. What
the network gets wrong of the part is repaired, and all of it measured. The rule: each name gets the candidate that has
the most copies right of those whose drawdown is within `LIMITS`, `exact` of those without copies, the others of those
with copies. Drawdown and copies are means of the seeds.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from edits.network.workbench import Workbench, open_workbench
from edits.options import REACHES, Reach, ReachName, RepairOptions
from edits.pipeline import repair_edit_set
from edits.record.report import RepairReport
from edits.task import Task
from editset_helpers.building import select
from editset_helpers.edit_set import save_edit_set
from editset_helpers.selection import Selection
from helpers.arguments import SpacedLists
from helpers.cli import DatasetName, command_line, new_app, say, tells_failures
from helpers.files.paths import baseline_weights
from helpers.images.datasets import ImageDataset
from helpers.text import as_markdown

# Points that may be lost with up to `MANY` images, and with more.
LIMITS: dict[ReachName, tuple[float, float]] = {"exact": (0.02, 0.05), "near": (0.08, 0.15), "wide": (0.15, 0.3)}
MANY = 1000
ASIDE = 10_000
SEED = 1
CANDIDATES = (
    *(Reach(f"alone {threshold:g}", copies=False, threshold=threshold) for threshold in (0.1, 0.3, 0.5)),
    *(
        Reach(f"copies {threshold:g} to {most:g}", copies=True, threshold=threshold, tolerated=most)
        for most in (0.75, 0.85)
        for threshold in (0.0, 0.1, 0.2, 0.3)
    ),
)
HEADER = ["candidate", "images", "drawdown (points)", "of each seed", "copies right (%)", "others detected"]

app = new_app(__doc__)


@dataclass(frozen=True, eq=False)
class Rehearsal(Workbench):
    """A network with a part of the training images in the place of the test images."""

    ordinary: ImageDataset

    @functools.cached_property
    def training(self) -> ImageDataset:
        """The other training images."""
        return self.ordinary


@dataclass(frozen=True)
class Trial:
    """A candidate at one size: the drawdown in points, copies right, and others detected, by seed."""

    reach: Reach
    size: int
    drawdown: tuple[float, ...]
    copies: tuple[float, ...]
    detected: tuple[int, ...]

    def row(self) -> list[str]:
        """Of the table."""
        each = ", ".join(f"{lost:.2f}" for lost in self.drawdown)
        told = (f"{np.mean(self.drawdown):.3f}", each, f"{100 * np.mean(self.copies):.1f}")
        return [self.reach.name, f"{self.size:,}", *told, f"{np.mean(self.detected):.0f}"]


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[int], typer.Option(min=1, help="Images to repair; of more than there are, all.")] = [  # noqa: B006
        1000,
        10_000,
    ],
    only: Annotated[list[str] | None, typer.Option(help="Candidates by name. [default: all]")] = None,
    seeds: Annotated[list[int], typer.Option(help="Of which images.")] = [0, 1],  # noqa: B006
    dataset: Annotated[DatasetName, typer.Option(help="The data set.")] = DatasetName.CIFAR10,
    weights: Annotated[Path | None, typer.Option(help="The network.")] = None,
) -> None:
    """Repair every size with every candidate, and print the table and the choice, as Markdown."""
    bench = rehearsal(open_workbench(dataset, None, weights or baseline_weights(dataset)))
    trials = []
    for size in sizes:
        for reach in (reach for reach in CANDIDATES if only is None or reach.name in only):
            trials.append(trial(bench, reach, size, seeds))
            say(" | ".join(trials[-1].row()))
    print(as_markdown([HEADER, *(found.row() for found in trials)]))
    for name, reach in chosen(trials).items():
        now = next((known.name for known in REACHES.values() if replace(known, name=reach.name) == reach), None)
        print(f"{name}: {reach.name}; {'as in edits/options.py' if now == name else 'edits/options.py has another'}")


def rehearsal(bench: Workbench, count: int = ASIDE) -> Rehearsal:
    """The same network with so many training images kept aside, or a fifth of them where there are few."""
    whole = bench.training
    order = np.random.default_rng(SEED).permutation(len(whole))
    aside, rest = np.split(order, [min(count, len(whole) // 5)])
    return Rehearsal(
        bench.dataset,
        bench.data_root,
        bench.weights_path,
        bench.model,
        bench.weights_hash,
        replace(part_of(whole, aside), split="test"),
        bench.clock,
        ordinary=part_of(whole, rest),
    )


def part_of(images: ImageDataset, positions: NDArray[np.int64]) -> ImageDataset:
    """The images at these positions, in their order in the split."""
    positions = np.sort(positions)
    told = hashlib.sha256(images.content_hash.encode() + positions.tobytes()).hexdigest()
    return replace(
        images, images=np.asarray(images.images[positions]), labels=images.labels[positions], content_hash=told
    )


def trial(bench: Workbench, reach: Reach, size: int, seeds: Sequence[int]) -> Trial:
    """Repair a size with each seed; all images are the same for each seed."""
    wrong = int((bench.test_logits.argmax(1).numpy() != bench.test.labels).sum())
    reports = [repaired(bench, reach, size, seed) for seed in (seeds if size < wrong else seeds[:1])]
    return Trial(
        reach,
        reports[0].edit_set_size,
        tuple(report.drawdown_points or 0.0 for report in reports),
        tuple(report.generalization_after or 0.0 for report in reports),
        tuple(report.outside_detected or 0 for report in reports),
    )


def repaired(bench: Workbench, reach: Reach, size: int, seed: int) -> RepairReport:
    """The report of one repair, whose files are not kept."""
    edit_set = select(Selection("misclassified", max_samples=size, seed=seed), bench.test, bench.test_logits)
    options = RepairOptions(norm="l2", reach=reach)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "edit_set.pt", Path(folder) / "repaired.pth"
        save_edit_set(edit_set, paths[0])
        return repair_edit_set(Task(bench, edit_set, paths[0], options, paths[1], command_line(), "none"))


def chosen(trials: Sequence[Trial]) -> dict[ReachName, Reach]:
    """What the rule takes: a candidate for each name for which there is one."""
    made: dict[ReachName, Reach] = {}
    for name, (few, many) in LIMITS.items():
        beyond = {found.reach for found in trials if np.mean(found.drawdown) > (few if found.size <= MANY else many)}
        able = {found.reach for found in trials if found.reach.copies == (name != "exact")} - beyond
        if able:
            made[name] = max(able, key=lambda reach: np.mean([np.mean(t.copies) for t in trials if t.reach == reach]))
    return made


if __name__ == "__main__":
    app()
