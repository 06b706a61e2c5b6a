"""The ridge of stage one's metric, chosen by training images: some that are right are kept out of the metric.

Each ridge prepares the same edit set; what it breaks of the images kept aside is what it would break of any others.
Test images that are not of the edit set play no part.
"""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.records import as_markdown
from edits.options import AUTO_PREPARE, RepairOptions
from edits.prepare import prepare
from edits.tail import from_layer, moved_layer, run_modules
from edits.workbench import Workbench, open_workbench
from editset_helpers.building import select
from editset_helpers.selection import Selection
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.evaluation import is_right
from helpers.spaced_lists import SpacedLists
from model_classes.training import ensure_baseline
from sytorch import KroneckerMetric, linearise
from sytorch.kronecker_metric import OUTPUT_RIDGE

RIDGES = [1e-2, 2e-3, 5e-4, 1e-4]
ASIDE = 5  # one image of so many
HEADER = ["ridge", "edit images right (%)", "kept aside, lost (points)", "in the metric, lost (points)"]
OPTIONS = RepairOptions()

app = new_app(__doc__)


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    size: Annotated[int, typer.Option(min=1, help="Edit images.")] = 1000,
    ridges: Annotated[list[float] | None, typer.Option(help=f"[default: {' '.join(map(str, RIDGES))}]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which edit images.")] = 0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
) -> None:
    """Print the table as Markdown."""
    bench = open_workbench(dataset, data_root, ensure_baseline(dataset, data_root, weights))
    right = bench.training_images.right()
    aside, used = np.split(right, [len(right) // ASIDE])

    chosen = ridges or RIDGES
    least = min(chosen)
    metric = bench.training_images.metric(AUTO_PREPARE, used, (least, OUTPUT_RIDGE))
    edit_set = select(Selection("misclassified", max_samples=size, seed=seed), bench.test, bench.test_logits)
    view = linearise(bench.model, AUTO_PREPARE, edit_set.images, dtype=torch.float32)
    lost = functools.partial(losses, bench, [aside, used[: len(aside)]])
    lines = []
    for ridge in chosen:
        say(f"ridge {ridge:g}")
        prepared = prepare(
            view,
            edit_set.labels,
            with_ridge(metric, least, ridge),
            margin=OPTIONS.margin,
            bound=OPTIONS.param_bound,
            training_accuracy=lambda _: 1.0,
        )
        network = bench.moved(AUTO_PREPARE, prepared.change)
        logits = run_modules([network.model], edit_set.images)
        repaired = 100 * is_right(logits, edit_set.labels.numpy()).mean()
        lines.append([f"{ridge:g}", f"{repaired:.1f}", *(f"{points:.2f}" for points in lost(prepared.change.whole))])
    print(as_markdown(HEADER, lines), end="")


def with_ridge(metric: KroneckerMetric, ridge: float, larger: float) -> KroneckerMetric:
    """A metric whose inputs' moment has one ridge, relative to its mean diagonal, with a larger one."""
    moment = metric.inputs @ metric.inputs.T
    mean = moment.diagonal().mean() / (1 + ridge)
    definite = moment + (larger - ridge) * mean * torch.eye(len(moment)).double()
    return KroneckerMetric(torch.linalg.cholesky(definite), metric.outputs)


def losses(bench: Workbench, groups: list[NDArray[np.int64]], change: torch.Tensor) -> list[float]:
    """How many per cent of groups of training images, all right before, are wrong with a change of the hidden layer."""
    module, *behind = from_layer(bench.model, AUTO_PREPARE)
    modules, split = [moved_layer(module, change), *behind], bench.training
    found = []
    for chosen in groups:
        inputs = torch.from_numpy(bench.training_images.seen_at(AUTO_PREPARE, chosen))
        found.append(100 * float(1 - is_right(run_modules(modules, inputs), split.labels[chosen]).mean()))
    return found


if __name__ == "__main__":
    app()
