"""Building an edit set: pure functions of images and a network's logits on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.edit_set import NUMBERS, EditSet, choose
from editset_helpers.lists import Picture
from editset_helpers.selection import Selection, description, resolve_class
from helpers.errors import ToolError
from helpers.evaluation import margins
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import CIFAR, to_inputs


def select(
    selection: Selection, dataset: ImageDataset, logits: torch.Tensor, taken: NDArray[np.int64] | None = None
) -> EditSet:
    """Build the edit set of a selection.

    Args:
        selection: which images.
        dataset: the N images of its split.
        logits: the network's, float32, (N, C).
        taken: positions of images that are not chosen; none by default.

    Returns:
        The images in the dataset's order; the provenance says what follows from the arguments.

    Raises:
        UsageError: there is no such class.
        ToolError: no image qualifies.
    """
    qualified = candidates(selection, dataset, logits.argmax(dim=1).numpy())
    if taken is not None:
        qualified = np.setdiff1d(qualified, taken)
    if len(qualified) == 0:
        raise ToolError(f"There is nothing to select: {description(selection, dataset)}.")
    positions = qualified[choose(len(qualified), selection.max_samples, selection.seed)]
    edit_set = at_positions(selection, dataset, positions, logits[torch.from_numpy(positions)])
    edit_set.provenance["candidates"] = len(qualified)
    return edit_set


def at_positions(
    selection: Selection, dataset: ImageDataset, positions: NDArray[np.int64], logits: torch.Tensor
) -> EditSet:
    """The edit set of images at some positions of a split, (n,), with the network's logits on them, (n, C)."""
    labels = right_labels(selection, dataset)[positions]
    numbers = [{NUMBERS[dataset.split]: position} for position in positions.tolist()]
    for number, was, label in zip(numbers, dataset.labels[positions].tolist(), labels.tolist(), strict=True):
        if was != label:
            number["dataset_class"] = dataset.class_names[was]
    facts = {"dataset": dataset.name, "dataset_hash": dataset.content_hash, "split": dataset.split}
    pixels = np.array(dataset.images[positions])
    return EditSet(
        images=to_inputs(pixels, dataset.preprocessing),
        labels=torch.from_numpy(labels),
        metadata=records(logits, labels, dataset.class_names, _type(selection), numbers),
        provenance={**of_dataset(dataset), **facts, **selection.facts(dataset.class_names)},
        pixels=torch.from_numpy(pixels),
    )


def of_pictures(pictures: Sequence[Picture], splits: Sequence[ImageDataset], logits: torch.Tensor) -> EditSet:
    """The edit set of listed pictures, (N,), with the network's logits on them, (N, C).

    Args:
        pictures: in the order of the list.
        splits: the dataset: a picture that has the very pixels of an image there gets that image's number.
        logits: the network's.
    """
    labels, names = np.array([picture.label for picture in pictures], dtype=np.int64), splits[0].class_names
    sources: list[dict[str, Any]] = [{"path": picture.path} for picture in pictures]
    for dataset in splits:
        for place, number in _found(pictures, dataset).items():
            sources[place][NUMBERS[dataset.split]] = number
            if dataset.labels[number] != labels[place]:
                sources[place]["dataset_class"] = names[dataset.labels[number]]
    pixels = np.stack([picture.pixels for picture in pictures])
    return EditSet(
        images=to_inputs(pixels, splits[0].preprocessing),
        labels=torch.from_numpy(labels),
        metadata=records(logits, labels, names, "file", sources),
        provenance={"source": "files", "dataset": splits[0].name, **of_dataset(splits[0])},
        pixels=torch.from_numpy(pixels),
    )


def _found(pictures: Sequence[Picture], dataset: ImageDataset) -> dict[int, int]:
    """Which pictures are images of a dataset, and the first number that each has there."""
    wanted, numbers = {picture.pixels.tobytes() for picture in pictures}, dict[bytes, int]()
    for number in range(len(dataset)):
        pixels = dataset.images[number].tobytes()
        if pixels in wanted:
            numbers.setdefault(pixels, number)
    own = [picture.pixels.tobytes() for picture in pictures]
    return {place: numbers[pixels] for place, pixels in enumerate(own) if pixels in numbers}


def right_labels(selection: Selection, dataset: ImageDataset) -> NDArray[np.int64]:
    """The labels of all images, (N,), with those that the selection gives instead of the dataset's."""
    labels = np.array(dataset.labels)
    for number, label in selection.relabeled:
        labels[number] = label
    return labels


def _type(selection: Selection) -> str:
    return f"class_homogeneous_{selection.correctness}" if selection.kind == "by-class" else selection.kind


def records(
    logits: torch.Tensor,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    kind: str,
    sources: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The metadata of images: where each is from, and what a network says of it, by its logits, (N, C)."""
    probabilities, truth = logits.double().softmax(dim=1), labels.tolist()
    rows = zip(sources, truth, logits.argmax(dim=1).tolist(), probabilities, margins(logits, truth), strict=True)
    return [
        {
            **source,
            "true_label": true,
            "predicted_label": predicted,
            "true_probability": float(probability[true]),
            "predicted_probability": float(probability[predicted]),
            "margin": float(margin),
            "true_class": class_names[true],
            "predicted_class": class_names[predicted],
            "type": kind,
        }
        for source, true, predicted, probability, margin in rows
    ]


def of_dataset(dataset: ImageDataset) -> dict[str, Any]:
    """What the provenance says of a split's classes and, unless they are the usual, of its inputs."""
    usual = dataset.preprocessing == CIFAR
    made = {} if usual else {"preprocessing": dataset.preprocessing.as_json()}
    return {"class_names": list(dataset.class_names), **made}


def candidates(selection: Selection, dataset: ImageDataset, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of every image that qualifies, ascending."""
    if selection.kind == "indices":
        return np.array(selection.indices, dtype=np.int64)
    labels, names = right_labels(selection, dataset), dataset.class_names
    is_right = predicted == labels
    wanted = {"incorrect": ~is_right, "correct": is_right, "any": np.ones_like(is_right)}[selection.focus]
    if selection.kind == "by-class":
        wanted = wanted & (labels == resolve_class(selection.target_class, names))
    if selection.predicted_class is not None:
        wanted = wanted & (predicted == resolve_class(selection.predicted_class, names))
    return np.flatnonzero(wanted)
