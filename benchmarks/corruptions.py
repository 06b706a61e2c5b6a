"""Corrupted test images before and after a repair: what a repair changes of the network's behaviour elsewhere.

Images of the edit set are left out. The corruptions are made on the 32 x 32 pixels, before the network's resizing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.records import as_markdown
from helpers.cli import DatasetName, new_app, say, tells_failures
from helpers.errors import ToolError
from helpers.evaluation import is_right, predict_logits
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.spaced_lists import SpacedLists
from model_classes.alexnet import AlexNet, load_alexnet

Pixels = NDArray[np.uint8]
HEADER = ["corruption", "test images", "right before (%)", "right after (%)", "lost (points)", "answers changed (%)"]
NOISE_SEED = 0

app = new_app(__doc__)


def contrast(factor: float) -> Callable[[Pixels], Pixels]:
    """Each pixel's distance from its image's mean times a factor."""

    def change(images: Pixels) -> Pixels:
        means = images.mean(axis=(1, 2, 3), keepdims=True)
        return _as_bytes(means + factor * (images - means))

    return change


def brightness(by: float) -> Callable[[Pixels], Pixels]:
    """A part of the range added to each pixel."""
    return lambda images: _as_bytes(images + 255.0 * by)


def noise(deviation: float) -> Callable[[Pixels], Pixels]:
    """Normal noise, its standard deviation a part of the range."""

    def change(images: Pixels) -> Pixels:
        return _as_bytes(images + np.random.default_rng(NOISE_SEED).normal(0.0, 255.0 * deviation, images.shape))

    return change


def blur(images: Pixels) -> Pixels:
    """The weights 1, 2, 1 across and down, the edge repeated."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return _as_bytes((down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 4)


def inversion(images: Pixels) -> Pixels:
    """Each pixel's distance from white."""
    return 255 - images


CORRUPTIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda images: images,
    "contrast 0.5": contrast(0.5),
    "contrast 1.5": contrast(1.5),
    "contrast 2": contrast(2.0),
    "brightness +0.2": brightness(0.2),
    "brightness -0.2": brightness(-0.2),
    "noise 0.05": noise(0.05),
    "blur": blur,
    "inversion": inversion,
}


@app.command(cls=SpacedLists)
@tells_failures
def main(
    reports: Annotated[list[Path], typer.Argument(help="Reports of repairs of one network, *.json.", metavar="REPORT")],
    *,
    images: Annotated[int | None, typer.Option(min=1, help="So many of the test images. [default: all]")] = None,
) -> None:
    """Print a table for each repair, as Markdown."""
    for path in reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["status"] != "repaired" or report["output_path"] is None:
            raise ToolError(f"{path} is not the report of a repair whose weights were kept.")
        dataset, root = DatasetName(report["dataset"]), report["data_root"]
        test = load_dataset(dataset, "test", None if root is None else Path(root))
        outside = np.setdiff1d(np.arange(len(test)), report["edit_test_indices"])[:images]
        networks = [load_alexnet(Path(report[name]), len(test.class_names)) for name in ("weights_path", "output_path")]
        say(f"{path}: {report['command']}")
        print(as_markdown(HEADER, [row(networks, test, outside, name) for name in CORRUPTIONS]))


def row(networks: list[AlexNet], test: ImageDataset, chosen: NDArray[np.int64], name: str) -> list[str]:
    """What two networks make of corrupted test images, as a row of the table."""
    pixels = CORRUPTIONS[name](np.asarray(test.images[chosen]))
    answers = [predict_logits(network, pixels, progress=name) for network in networks]
    before, after = (100 * float(is_right(logits, test.labels[chosen]).mean()) for logits in answers)
    changed = 100 * float((answers[0].argmax(1) != answers[1].argmax(1)).double().mean())
    numbers = (f"{value:.2f}" for value in (before, after, before - after, changed))
    return [name, f"{len(chosen):,}", *numbers]


def _as_bytes(values: NDArray[np.floating[Any]]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    app()
