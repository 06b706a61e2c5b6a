"""The repairs that a network has been through, from its report: told, undone, compared with another's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edits.outcome.finished import check_same, read_repair, stated_file
from edits.outcome.report import RepairReport
from helpers.errors import ToolError, UsageError
from helpers.evaluation import is_right, predict_logits
from helpers.files.outputs import report_path
from helpers.files.publishing import publication
from helpers.files.writing import write_json
from helpers.images.datasets import ImageDataset
from model_classes.alexnet import load_alexnet
from model_classes.weights import read_weights, weights_hash


@dataclass(frozen=True)
class Step:
    """One repair of a chain.

    Attributes:
        weights: its file, and whether that is there.
        weights_hash: of it.
        timestamp, command: when it began, UTC, and what was typed.
        edit_set: the images of this repair and of all before.
        images, new: how many these are, and how many of them came with this repair.
        margin: what they have at least.
        drawdown_points: what the test images outside lost, against the network before all repairs.
        generalization: the fraction of copies right.
    """

    weights: str
    is_there: bool
    weights_hash: str
    timestamp: str
    command: str
    edit_set: str
    images: int
    new: int
    margin: float
    drawdown_points: float | None
    generalization: float | None


def steps_of(weights: Path) -> tuple[str, list[Step]]:
    """The network before all repairs, and the repairs of a file, the first one first; raises `ToolError` for none."""
    told = report_of(weights)
    entries, steps, images = [*told.earlier, told.as_json()], list[Step](), 0
    for entry in entries:
        file = stated_file(entry["output_path"], report_path(weights))
        steps.append(
            Step(
                weights=str(file),
                is_there=file.is_file(),
                weights_hash=entry["weights_hash_after"],
                timestamp=entry["timestamp"],
                command=entry["command"],
                edit_set=entry["edit_set_path"],
                images=entry["edit_set_size"],
                new=entry["edit_set_size"] - images,
                margin=entry["margin"],
                drawdown_points=entry["drawdown_points"],
                generalization=entry["generalization_after"],
            )
        )
        images = entry["edit_set_size"]
    return told.weights_path, steps


def report_of(weights: Path) -> RepairReport:
    """The report beside repaired weights; raises `ToolError` where it is missing, damaged or no repair's."""
    path = report_path(weights)
    if not path.is_file():
        raise ToolError(f"{weights} has no report {path.name} beside it, so what it was repaired of is not known.")
    return read_repair(path)


def undo(weights: Path, output: Path, whole: bool = False) -> str:
    """Write the network before the last repair, bit for bit the file that it was made from, with its report.

    Args:
        weights: the repaired network.
        output: where to; its folder is that of the file before if that holds changes only.
        whole: the network before all repairs instead.

    Returns:
        What was written, for people.

    Raises:
        ToolError: the file before is gone or another one, or the output cannot be written.
    """
    told = report_of(weights)
    last = None if whole or not told.earlier else told.earlier[-1]
    stated, digest = (told.weights_path, told.weights_hash_before) if last is None else _names(last)
    before = stated_file(stated, report_path(weights))
    if not before.is_file():
        raise ToolError(f"{before}, from which {weights} was made, is gone: put it back to undo the repair.")
    check_same("weights", str(before), digest, weights_hash(read_weights(before)))
    with publication(output) as publishing:
        shutil.copyfile(before, publishing.staged(output))
        if weights_hash(read_weights(publishing.staged(output), output)) != digest:
            raise UsageError(f"{before} holds changes of a file that it names from its folder; give an --output there.")
        removed = [report_path(output)]
        if last is not None:
            content = report_of(before).as_json() | {"output_path": str(output)}
            write_json(publishing.staged(report_path(output)), content)
        publishing.publish(removed)
    return f"{output} is {before}, bit for bit"


def _names(entry: dict[str, str]) -> tuple[str, str]:
    return entry["output_path"], entry["weights_hash_after"]


@dataclass(frozen=True)
class Moved:
    """How a parameter differs between two networks: entries that do, the largest difference, and its Euclidean norm."""

    name: str
    entries: int
    largest: float
    norm: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks on the same test images.

    Attributes:
        moved: the parameters that differ.
        accuracies: (2, C), of each class.
        broken, fixed: positions of test images that only the first gets right, and only the second.
    """

    moved: list[Moved]
    accuracies: NDArray[np.float64]
    broken: NDArray[np.int64]
    fixed: NDArray[np.int64]


def compare(first: Path, second: Path, test: ImageDataset) -> Comparison:
    """Compare two weights files; raises `ToolError` where one cannot be read."""
    models = [load_alexnet(path, len(test.class_names)) for path in (first, second)]
    before, after = (model.state_dict() for model in models)
    moved = [_moved(name, before[name], after[name]) for name in before if not torch.equal(before[name], after[name])]
    right = np.stack([is_right(predict_logits(model, test, told="test images"), test.labels) for model in models])
    classes = [test.labels == label for label in range(len(test.class_names))]
    accuracies = np.array(
        [[answers[of_class].mean() if of_class.any() else np.nan for of_class in classes] for answers in right]
    )
    return Comparison(moved, accuracies, np.flatnonzero(right[0] & ~right[1]), np.flatnonzero(~right[0] & right[1]))


def _moved(name: str, before: torch.Tensor, after: torch.Tensor) -> Moved:
    change = after.double() - before.double()
    return Moved(name, int((change != 0).sum()), float(change.abs().max()), float(change.norm()))
