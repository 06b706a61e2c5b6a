"""The repairs that a network has been through, from its report: told, undone, compared with another's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edits.record.finished import check_same, stated_weights
from edits.record.history import History, gone_back, told_of
from edits.record.report import RepairReport
from helpers.errors import ToolError, UsageError
from helpers.evaluation import is_right, predict_logits
from helpers.files.outputs import files_beside, preprocessing_path, report_path
from helpers.files.publishing import Publication, publication
from helpers.files.writing import write_json
from helpers.images.datasets import ImageDataset
from helpers.images.input_spec import keep_spec, spec_of
from model_classes.alexnet import load_alexnet
from model_classes.weight_files import SUFFIX, save_weights
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
        layer, prepare: which layer changed, and what was done first.
        drawdown_points: what the test images outside lost, against the network before all repairs.
        last_drawdown_points: the same, against the repair before; None of the first one, and where nothing tells it.
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
    layer: str
    prepare: str
    drawdown_points: float | None
    generalization: float | None
    last_drawdown_points: float | None = None


def steps_of(weights: Path) -> tuple[str, list[Step]]:
    """The network before all repairs, and the repairs of a file, the first one first; raises `ToolError` for none."""
    told, _ = _told(weights)
    steps, images = list[Step](), 0
    for entry in [*told.earlier, told.step]:
        file = weights
        if entry["weights_hash_after"] != told.weights_hash_after:
            file = stated_weights(entry["output_path"], entry["weights_hash_after"], report_path(weights))
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
                layer=entry["layer"],
                prepare=entry["prepare"] or "none",
                drawdown_points=entry["drawdown_points"],
                generalization=entry["generalization_after"],
                last_drawdown_points=entry.get("last_drawdown_points"),
            )
        )
        images = entry["edit_set_size"]
    first = told.first_weights
    return f"the network before {steps[0].weights}" if first is None else first[0], steps


def _told(weights: Path) -> tuple[RepairReport, History]:
    found = told_of(weights)
    if found is None:
        path, told = report_path(weights), "it has no report {} beside it"
        if path.exists():
            told = "{} beside it is no report of a repair"
        raise ToolError(
            f"{weights} tells of no repair itself, and {told.format(path.name)}: what it was repaired of is not known."
        )
    return found


def undo(weights: Path, output: Path, whole: bool = False) -> str:
    """Write the network before the last repair, bit for bit, with what it was repaired of.

    That is the file it was made from where that is still there; else what the repaired file holds of it is put
    together with the weights that its repair counts from.

    Args:
        weights: the repaired network.
        output: where to; its folder is that of the file before if that holds changes only.
        whole: the network before all repairs instead.

    Returns:
        What was written, for people.

    Raises:
        ToolError: what it takes is gone or another file, or the output cannot be written.
        UsageError: the output is the network before the repair, or before all repairs.
    """
    told, history = _told(weights)
    last = None if whole or not told.earlier else told.earlier[-1]
    target = told.first_weights if last is None else (last["output_path"], last["weights_hash_after"])
    if target is None:
        raise ToolError(f"Which network was before all repairs of {weights} is not told; undo them one by one.")
    before = stated_weights(target[0], target[1], report_path(weights))
    for path, digest in filter(None, [target, told.first_weights]):
        kept = stated_weights(path, digest, report_path(weights))
        if kept.resolve() == output.resolve() and _holds(kept, digest):
            raise UsageError(
                f"{output} is what the repairs of {weights} were made from, and stays; name another --output."
            )
    if last is None or _holds(before, target[1]):
        _check_there(before, target[1], f"{before}, from which {weights} was made,")
        _copy(before, target[1], output)
        return f"{output} is {before}, bit for bit"
    _restore(weights, told, history, output, before)
    return f"{output} has the weights of {before}, bit for bit"


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and weights_hash(read_weights(path)) == digest


def _check_there(path: Path, digest: str, what: str) -> None:
    """Raise `ToolError` unless a file holds the weights of that hash."""
    if not path.is_file():
        raise ToolError(f"{what} is gone: put it back to undo the repair.")
    check_same("weights", str(path), digest, weights_hash(read_weights(path)))


def _copy(before: Path, digest: str, output: Path) -> None:
    """The file before, and its report where it has one."""
    if SUFFIX in {before.suffix, output.suffix} and before.suffix != output.suffix:
        raise UsageError(f"{before} is copied as it is: name an --output that ends in {before.suffix}.")
    with publication(output) as publishing:
        shutil.copyfile(before, publishing.staged(output))
        if weights_hash(read_weights(publishing.staged(output), output)) != digest:
            raise UsageError(f"{before} holds changes of a file that it names from its folder; give an --output there.")
        found = told_of(before)
        if found is not None and found[0].weights_hash_after == digest:
            write_json(publishing.staged(report_path(output)), found[0].as_json() | {"output_path": str(output)})
        _publish(publishing, before)


def _publish(publishing: Publication, before: Path) -> None:
    """With the preprocessing of a network before; what was beside a former file of that name is none of this one."""
    output = publishing.output
    keep_spec(spec_of(before), output, publishing.staged(preprocessing_path(output)))
    publishing.publish(files_beside(output))


def _restore(weights: Path, told: RepairReport, history: History, output: Path, before: Path) -> None:
    """The weights before, from those after, the way back, and the network from which the repair counts."""
    base = stated_weights(told.weights_path, told.weights_hash_before, report_path(weights))
    if base == before:
        raise ToolError(f"{before}, from which {weights} was made and counts, is gone: put it back to undo the repair.")
    gone, known = f"{before}, from which {weights} was made, is gone", history.before
    if known is None or not history.back[-1]:
        raise ToolError(f"{gone}, and {weights} does not hold the way back to it: put it back to undo the repair.")
    _check_there(base, told.weights_hash_before, f"{gone}, and {base}, which is needed to put it together,")
    try:
        state = gone_back(read_weights(weights), history.back[-1], read_weights(base))
    except ValueError:
        state = {}
    if not state or weights_hash(state) != known.last.weights_hash_after:
        raise ToolError(f"{gone}, and the way back to it that {weights} holds is damaged: put it back.")
    with publication(output) as publishing:
        save_weights(state, publishing.staged(output), known.text)
        _publish(publishing, base)


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
