"""Corrupted test images before and after a repair: what a repair changes of the network's behaviour elsewhere.

Images of the edit set are left out. The corruptions are made on the 32 x 32 pixels, before the network's resizing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from edits.record.finished import images_source, read_repair, stated_weights
from edits.record.report import RepairReport
from helpers.arguments import SpacedLists
from helpers.cli import new_app, say, tells_failures
from helpers.evaluation import is_right, predict_logits
from helpers.images.corruptions import CORRUPTIONS
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import spec_of
from helpers.images.preprocessing import to_inputs
from helpers.text import as_markdown
from model_classes.alexnet import AlexNet, load_alexnet

HEADER = ["corruption", "test images", "right before (%)", "right after (%)", "lost (points)", "answers changed (%)"]

app = new_app(__doc__)


@app.command(cls=SpacedLists)
@tells_failures
def main(
    reports: Annotated[list[Path], typer.Argument(help="Reports of repairs of one network, *.json.", metavar="REPORT")],
    *,
    images: Annotated[int | None, typer.Option(min=1, help="So many of the test images. [default: all]")] = None,
) -> None:
    """Print a table for each repair, as Markdown."""
    for path in reports:
        report, test, outside, networks = kept_repair(path, images)
        say(f"{path}: {report.command}")
        print(as_markdown([HEADER, *(row(networks, test, outside, name) for name in ("none", *CORRUPTIONS))]))


def kept_repair(path: Path, images: int | None) -> tuple[RepairReport, ImageDataset, NDArray[np.int64], list[AlexNet]]:
    """A report, the test images, the positions of up to so many outside the edit set, the networks before and after.

    Raises:
        ToolError: it is no report of a repair whose weights were kept, or something of it is not there.
    """
    report = read_repair(path)
    files = [
        stated_weights(report.weights_path, report.weights_hash_before, path),
        stated_weights(str(report.output_path), report.weights_hash_after, path),
    ]
    dataset, root = images_source(report)
    test = load_dataset(dataset, "test", root, spec_of(files[0]))
    outside = np.setdiff1d(np.arange(len(test)), report.edit_test_indices)[:images]
    return report, test, outside, [load_alexnet(file, len(test.class_names)) for file in files]


def row(networks: list[AlexNet], test: ImageDataset, chosen: NDArray[np.int64], name: str) -> list[str]:
    """What two networks make of corrupted test images, as a row of the table."""
    pixels = np.asarray(test.images[chosen])
    pixels = CORRUPTIONS[name](pixels) if name in CORRUPTIONS else pixels
    answers = [predict_logits(network, to_inputs(pixels, test.preprocessing), told=name) for network in networks]
    before, after = (100 * float(is_right(logits, test.labels[chosen]).mean()) for logits in answers)
    changed = 100 * float((answers[0].argmax(1) != answers[1].argmax(1)).double().mean())
    numbers = (f"{value:.2f}" for value in (before, after, before - after, changed))
    return [name, f"{len(chosen):,}", *numbers]


if __name__ == "__main__":
    app()
