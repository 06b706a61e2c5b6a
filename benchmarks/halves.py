"""What a repair of one half of the test images does to the other half, wrong images included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edits.network.workbench import Workbench, open_workbench
from edits.options import REACHES, Reach, RepairOptions
from edits.pipeline import repair_edit_set
from edits.task import Task
from editset_helpers.building import select
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from editset_helpers.selection import Selection
from helpers.cli import DatasetName, DatasetOption, WeightsOption, command_line, new_app, tells_failures
from helpers.errors import ToolError
from helpers.evaluation import is_right, predict_logits
from helpers.files.paths import baseline_weights
from helpers.text import as_markdown
from model_classes.alexnet import load_alexnet

HEADER = ["reach", "images repaired", "other half", "right before (%)", "right after (%)", "mended", "broken"]

app = new_app(__doc__)


@app.command()
@tells_failures
def main(
    *,
    dataset: DatasetOption = DatasetName.CIFAR10,
    weights: WeightsOption = None,
    seed: Annotated[int, typer.Option(help="Of the halves.")] = 0,
) -> None:
    """Repair what is wrong in one half with each reach, and print what became of the other, as Markdown."""
    bench = open_workbench(dataset, None, weights or baseline_weights(dataset))
    first = np.random.default_rng(seed).permutation(len(bench.test)) < len(bench.test) // 2
    wrong = select(Selection("misclassified"), bench.test, bench.test_logits)
    indices = wrong.test_indices()
    assert indices is not None
    edit_set = wrong.at(np.flatnonzero(first[indices]))
    print(as_markdown([HEADER, *(row(bench, edit_set, ~first, reach) for reach in REACHES.values())]))


def row(bench: Workbench, edit_set: EditSet, others: np.ndarray, reach: Reach) -> list[str]:
    """Of the table; ``others`` are the other half, (T,)."""
    options = RepairOptions(norm="l2", reach=reach)
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "edit_set.pt", Path(folder) / "repaired.pth"
        save_edit_set(edit_set, path)
        edit_set = load_edit_set(path)  # its images' positions are those of this file
        report = repair_edit_set(Task(bench, edit_set, path, options, output, command_line()))
        if report.status != "repaired":
            raise ToolError(f"{report.status}: {report.message}")
        after = predict_logits(
            load_alexnet(output, len(bench.test.class_names)), bench.test.inputs(np.flatnonzero(others))
        )
    labels = bench.test.labels[others]
    before, now = is_right(bench.test_logits[others], labels), is_right(after, labels)
    shares = (f"{100 * before.mean():.2f}", f"{100 * now.mean():.2f}")
    mended = f"{int((now & ~before).sum())} of {int((~before).sum()):,}"
    broken = f"{int((before & ~now).sum())} of {int(before.sum()):,}"
    return [reach.name, f"{len(edit_set):,}", f"{len(labels):,}", *shares, mended, broken]


if __name__ == "__main__":
    app()
