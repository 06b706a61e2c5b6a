"""What is right where networks are run with fewer bits (bfloat16, float16, int8): edit images, and others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from benchmarks.corruptions import kept_repair
from edits.record.finished import repaired_images
from helpers.arguments import SpacedLists
from helpers.cli import new_app, say, tells_failures
from helpers.evaluation import is_right, predict_logits
from helpers.text import as_markdown
from model_classes.alexnet import AlexNet

HEADER = ["numbers", "edit images right (%)", "others right before (%)", "others right after (%)"]
KINDS = ("float32", "bfloat16", "float16", "int8, linear layers")

app = new_app(__doc__)


@app.command(cls=SpacedLists)
@tells_failures
def main(
    reports: Annotated[list[Path], typer.Argument(help="Reports of repairs, *.json.", metavar="REPORT")],
    *,
    images: Annotated[int, typer.Option(min=1, help="So many test images outside the edit set.")] = 2000,
) -> None:
    """Print a table for each repair, as Markdown."""
    for path in reports:
        report, test, others, networks = kept_repair(path, images)
        edit_set = repaired_images(report, path, test).edit_set
        say(f"{path}: {report.command}")
        seen = edit_set.images, test.inputs(others)
        cases = [(networks[1], seen[0], edit_set.labels.numpy())]
        cases += [(network, seen[1], test.labels[others]) for network in networks]
        columns = [
            [f"{100 * float(is_right(found, labels).mean()):.1f}" for found in answers(network, part)]
            for network, part, labels in cases
        ]
        print(as_markdown([HEADER, *zip(KINDS, *columns, strict=True)]))


def answers(network: AlexNet, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """The logits, float32 (N, C), with each kind of numbers of `KINDS`."""
    yield predict_logits(network, images)
    for kind in (torch.bfloat16, torch.float16):
        fewer = copy.deepcopy(network).to(kind)
        with torch.inference_mode():
            yield torch.cat([fewer(part.to(kind)) for part in torch.split(images, 250)]).float()
    quantise: Callable[..., nn.Module] = torch.ao.quantization.quantize_dynamic
    yield predict_logits(quantise(copy.deepcopy(network), {nn.Linear}, dtype=torch.qint8), images)


if __name__ == "__main__":
    app()
