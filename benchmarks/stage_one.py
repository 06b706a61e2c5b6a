"""Steps and damping of stage one against what they cost: the steps table of docs/drawdown.md, made anew.

The rule that ends the steps when training images suffer is off here: its measure is a column.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.one import ALL
from benchmarks.records import as_markdown, read_records, write_records
from edits.layer_change import LayerChange
from edits.network import Network
from edits.options import AUTO_PREPARE, RepairOptions
from edits.prepare import DAMPING, STEPS, Preparation, prepare
from edits.solving import repair_and_save
from edits.task import Task
from edits.workbench import Workbench, open_workbench
from editset_helpers.building import select
from editset_helpers.edit_set import EditSet
from editset_helpers.location import locate
from editset_helpers.selection import Selection
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.errors import UsageError
from helpers.evaluation import is_right, predict_logits
from helpers.spaced_lists import SpacedLists
from model_classes.training import ensure_baseline
from sytorch import linearise

SIZES = ["100", "400", "1000", ALL]
PLANS = ["4x0.4", f"{STEPS}x{DAMPING:g}", "8x0.4", "8x0.3", "6x0.5"]
OPTIONS = RepairOptions(norm="l2")
HEADER = ["edit images", "steps x damping", "edit set right after stage one", "drawdown", "training images lost", "s"]
INTRODUCTION = """\
# Steps of stage one

`l2` at the last layer. Drawdown after stage one / after both, and training images lost by stage one, in points; seconds
of stage one. The rule that ends the steps where training images suffer is off.

"""

app = new_app(__doc__)


@dataclass(frozen=True)
class Trial:
    """One way to prepare one edit set: accuracies in per cent, losses in percentage points, seconds of stage one."""

    size: str
    seed: int
    plan: str
    weights_hash: str
    edit_images: int
    steps_taken: int
    edit_accuracy: float
    drawdown_prepared: float
    drawdown_repaired: float
    training_lost: float
    largest_change: float
    seconds: float

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What the trial is about."""
        return self.size, self.seed, self.plan, self.weights_hash


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[str] | None, typer.Option(help=f"Edit images. [default: {' '.join(SIZES)}]")] = None,
    plans: Annotated[list[str] | None, typer.Option(help=f"STEPSxDAMPING. [default: {' '.join(PLANS)}]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which edit images.")] = 0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: Annotated[Path, typer.Option(help="The folder of table and page.")] = Path("docs/benchmarks"),
) -> None:
    """Try every plan on every edit set; trials that are in the table already are not made again."""
    asked = [(size, plan, *read_plan(plan)) for size, plan in itertools.product(sizes or SIZES, plans or PLANS)]
    bench = open_workbench(dataset, data_root, ensure_baseline(dataset, data_root, weights))
    trials = read_records(output / "stage_one.csv", Trial)
    for size, plan, steps, damping in asked:
        if (size, seed, plan, bench.weights_hash) in {trial.key for trial in trials}:
            continue
        say(f"{size} images, {plan}")
        trials.append(run_trial(bench, size, seed, plan, steps=steps, damping=damping))
        write_records(output / "stage_one.csv", trials)
        (output / "stage_one.md").write_text(page(trials), encoding="utf-8")
    say(f"wrote {output / 'stage_one.csv'} and {output / 'stage_one.md'}")


def read_plan(plan: str) -> tuple[int, float]:
    """``6x0.4`` is six steps of 0.4; raises `UsageError` where it is no such plan."""
    steps, _, damping = plan.partition("x")
    try:
        read = int(steps), float(damping)
    except ValueError:
        read = 0, 0.0
    if not (read[0] > 0 and 0 < read[1] <= 1):
        raise UsageError(
            f"--plans are like {STEPS}x{DAMPING:g}: steps, and a damping above 0 and at most 1; not {plan!r}."
        )
    return read


def run_trial(bench: Workbench, size: str, seed: int, plan: str, *, steps: int, damping: float) -> Trial:
    """Prepare, repair the last layer, and measure after each.

    Raises:
        ToolError: no image is misclassified.
    """
    chosen = Selection("misclassified", max_samples=None if size == ALL else int(size), seed=seed)
    edit_set = select(chosen, bench.test, bench.test_logits)
    bench.layer_metric(AUTO_PREPARE)
    started = time.perf_counter()
    prepared = prepared_by(bench, edit_set, steps, damping)
    seconds = time.perf_counter() - started
    network = bench.moved(AUTO_PREPARE, prepared.change)
    unmoved = LayerChange(torch.zeros_like(prepared.change.whole))
    accuracy = functools.partial(bench.training_images.accuracy, AUTO_PREPARE)
    lost = accuracy(unmoved) - accuracy(prepared.change)
    right = is_right(predict_logits(network.model, edit_set.images), edit_set.labels.numpy())
    return Trial(
        size=size,
        seed=seed,
        plan=plan,
        weights_hash=bench.weights_hash,
        edit_images=len(edit_set),
        steps_taken=prepared.steps,
        edit_accuracy=100 * float(right.mean()),
        drawdown_prepared=drawdown_of(bench, edit_set, network.test_logits),
        drawdown_repaired=drawdown_of(bench, edit_set, network.test_logits_of(repaired(bench, edit_set, network))),
        training_lost=100 * lost,
        largest_change=float(prepared.change.whole.abs().max()),
        seconds=round(seconds, 2),
    )


def prepared_by(bench: Workbench, edit_set: EditSet, steps: int, damping: float) -> Preparation:
    """Stage one with so many steps, whatever becomes of training images."""
    return prepare(
        linearise(bench.model, AUTO_PREPARE, edit_set.images, dtype=torch.float32),
        edit_set.labels,
        bench.layer_metric(AUTO_PREPARE),
        margin=OPTIONS.margin,
        bound=OPTIONS.param_bound,
        training_accuracy=lambda _: 1.0,
        steps=steps,
        damping=damping,
    )


def page(trials: list[Trial]) -> str:
    """The trials as a page in Markdown."""
    return INTRODUCTION + as_markdown(HEADER, [_line(trial) for trial in trials])


def _line(trial: Trial) -> list[str]:
    return [
        f"{trial.edit_images:,} (seed {trial.seed})",
        trial.plan.replace("x", " x ") + ("" if trial.plan.startswith(f"{trial.steps_taken}x") else ", ended early"),
        f"{trial.edit_accuracy:.0f} %",
        f"{trial.drawdown_prepared + 0.0:.2f} / {trial.drawdown_repaired + 0.0:.2f}",
        f"{trial.training_lost + 0.0:.2f}",
        f"{trial.seconds:.0f}",
    ]


def repaired(bench: Workbench, edit_set: EditSet, network: Network) -> dict[str, torch.Tensor]:
    """The weights after the program at the last layer of a network that may have been prepared."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "repaired.pth"
        task = Task(
            bench,
            edit_set,
            Path(folder) / "edit_set.pt",
            OPTIONS,
            output,
            "",
            keep="changed-layer",
            folder=output.parent,
        )
        return repair_and_save(task, network).state


def drawdown_of(bench: Workbench, edit_set: EditSet, logits: torch.Tensor) -> float:
    """In percentage points, of what a repaired network says of the test images."""
    outside = locate(edit_set, bench.test).outside
    assert outside is not None  # the sets are selected from these images
    before, after = (_right(bench, said)[outside].mean() for said in (bench.test_logits, logits))
    return 100 * float(before - after)


def _right(bench: Workbench, logits: torch.Tensor) -> NDArray[np.bool_]:
    return is_right(logits, bench.test.labels)


if __name__ == "__main__":
    app()
