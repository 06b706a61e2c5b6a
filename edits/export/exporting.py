"""A network is written in another format, and the file is run before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edits.export.formats import FORMATS, Run
from edits.export.judges import Exporting, Judges, judges_of
from helpers import progress
from helpers.cli import DatasetName
from helpers.errors import NotVerifiedError
from helpers.evaluation import is_right, margins, predict_logits
from helpers.files.outputs import preprocessing_path
from helpers.files.places import explained_os_errors
from helpers.files.publishing import publication
from helpers.images.input_spec import USUAL, InputSpec, keep_spec, spec_of
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weights import OUTPUT_WEIGHT, read_weights, weights_hash

TOLERANCE = 1e-4  # of a logit, relative to the largest one: what a repair's program allows for rounding
BATCH = 100


@dataclass(frozen=True)
class Checked:
    """What a written file made of some images.

    Attributes:
        what, images: which images these are, for people, and how many.
        right: how many are classified right; None without labels.
        least_margin: of any image, in logits; None without labels.
        required_margin: what every image has to have; None where nothing was promised.
        largest_difference: of a logit to torch's.
    """

    what: str
    images: int
    right: int | None
    least_margin: float | None
    required_margin: float | None
    largest_difference: float


@dataclass(frozen=True)
class Exported:
    """A file that was written and run.

    Attributes:
        output, format, size: the file, ``onnx`` or ``torchscript``, and bytes.
        weights, weights_hash: the network.
        input_shape, outputs: without the batch, which may have any size.
        preprocessing: how pictures become inputs, and the classes of the outputs, as `InputSpec.as_json` says it.
        checked: what the file made of images.
    """

    output: str
    format: str
    size: int
    weights: str
    weights_hash: str
    input_shape: tuple[int, ...]
    outputs: int
    preprocessing: dict[str, Any]
    checked: Checked


def export(
    weights: Path,
    form: str,
    output: Path,
    *,
    dataset: DatasetName = DatasetName.CIFAR10,
    data_root: Path | None = None,
    edit_set: Path | None = None,
) -> Exported:
    """Write a network in a format of `FORMATS`, run the file, and publish it where it is the network.

    Args:
        weights: the network's file; a report beside it, or itself, says which images are to have which margin.
        form: the format's name.
        output: where to.
        dataset, data_root, edit_set: see `Exporting`.

    Raises:
        NotVerifiedError: the written file lacks a margin, or its logits are not torch's; nothing is left of it.
        ToolError: a package is missing, or the weights or images that are given are.
    """
    FORMATS[form].check()
    spec, model = spec_of(weights), _network(weights)
    outputs, digest = len(model.state_dict()[OUTPUT_WEIGHT]), weights_hash(model)
    judges = judges_of(Exporting(weights, digest, spec, outputs, dataset, data_root, edit_set))
    known = InputSpec(spec.preprocessing, spec.classes or judges.class_names)
    shape, made = tuple(judges.images.shape[1:]), known.as_json()
    notes = {"described": _described(known), "preprocessing": made, "weights_hash": digest}
    with publication(output) as publishing:
        file = publishing.staged(output)
        with progress.phase("export"), explained_os_errors(output):
            FORMATS[form].write(model, torch.zeros(2, *shape), notes, file)  # of a batch of one, size 1 would be fixed
        checked = check(FORMATS[form].load(file), model, judges, output)
        if spec != USUAL:
            keep_spec(spec, output, publishing.staged(preprocessing_path(output)))
        size = file.stat().st_size
        publishing.publish([preprocessing_path(output)])
    return Exported(str(output), form, size, str(weights), digest, shape, outputs, made, checked)


def _network(weights: Path) -> AlexNet:
    state = read_weights(weights)
    return load_alexnet(weights, len(state[OUTPUT_WEIGHT]) if OUTPUT_WEIGHT in state else 10)


def _described(spec: InputSpec) -> str:
    side = spec.preprocessing.input_size
    return f"inputs float32 (N, 3, {side}, {side}), red, green, blue: {spec.preprocessing.described}; logits (N, C)"


def check(run: Run, model: AlexNet, judges: Judges, output: Path) -> Checked:
    """Compare what a file computes with torch, and with the margin that was promised; raises `NotVerifiedError`."""
    found = torch.cat(list(_batches(run, judges.images)))
    logits = predict_logits(model, judges.images)
    difference, allowed = float((found - logits).abs().max()), TOLERANCE * max(1.0, float(logits.abs().max()))
    if not difference <= allowed:  # nor where it is no number
        raise NotVerifiedError(
            f"{output} was not written: a logit of {judges.what} differs from torch's by {difference:.2g}, and "
            f"rounding explains {allowed:.2g}."
        )
    right, least = None, None
    if judges.labels is not None:
        right = int(is_right(found, judges.labels.numpy()).sum())
        least = float(margins(found, judges.labels).min())
    if judges.margin is not None and least is not None and least < judges.margin:
        raise NotVerifiedError(
            f"{output} was not written: of {judges.what} one has the margin {least:.6g} by it, and {judges.margin:g} "
            "was promised."
        )
    return Checked(judges.what, len(found), right, least, judges.margin, difference)


def _batches(run: Run, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Logits of all images; the first one is alone, so that batches of several sizes are tried."""
    for part in (images[:1], *torch.split(images[1:], BATCH)):
        if len(part):
            yield run(part)
