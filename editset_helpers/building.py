"""Building an edit set: pure functions of the test images and a network's logits on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.choice import choose
from editset_helpers.edit_set import EditSet
from editset_helpers.selection import Selection, description, resolve_class
from helpers.errors import ToolError
from helpers.evaluation import margins
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import CIFAR


def select(selection: Selection, dataset: ImageDataset, logits: torch.Tensor) -> EditSet:
    """Build the edit set of a selection.

    Args:
        selection: which images.
        dataset: the N test images.
        logits: the network's, float32, (N, C).

    Returns:
        The images in the dataset's order; the provenance says what follows from the arguments.

    Raises:
        UsageError: there is no such class.
        ToolError: no image qualifies.
    """
    qualified = candidates(selection, dataset, logits.argmax(dim=1).numpy())
    if len(qualified) == 0:
        raise ToolError(f"There is nothing to select: {description(selection, dataset)}.")
    positions = qualified[choose(len(qualified), selection.max_samples, selection.seed)]
    return EditSet(
        images=dataset.inputs(positions),
        labels=torch.from_numpy(dataset.labels[positions]),
        metadata=_metadata(dataset, logits, positions, _type(selection)),
        provenance=_provenance(selection, dataset, len(qualified)),
    )


def _type(selection: Selection) -> str:
    if selection.kind == "misclassified":
        return "misclassified"
    return f"class_homogeneous_{selection.correctness}"


def _metadata(
    dataset: ImageDataset, logits: torch.Tensor, positions: NDArray[np.int64], kind: str
) -> list[dict[str, Any]]:
    chosen = logits[torch.from_numpy(positions)]
    probabilities = chosen.double().softmax(dim=1)
    truth = dataset.labels[positions].tolist()
    rows = zip(
        positions.tolist(), truth, chosen.argmax(dim=1).tolist(), probabilities, margins(chosen, truth), strict=True
    )
    return [
        {
            "image_idx": position,
            "true_label": true,
            "predicted_label": predicted,
            "true_probability": float(probability[true]),
            "predicted_probability": float(probability[predicted]),
            "margin": float(margin),
            "true_class": dataset.class_names[true],
            "predicted_class": dataset.class_names[predicted],
            "type": kind,
        }
        for position, true, predicted, probability, margin in rows
    ]


def _provenance(selection: Selection, dataset: ImageDataset, qualified: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"dataset": dataset.name, "dataset_hash": dataset.content_hash, "split": dataset.split}
    names = {"class_names": list(dataset.class_names)}
    if dataset.preprocessing != CIFAR:
        facts["preprocessing"] = dataset.preprocessing.as_json()
    return {**facts, **names, **selection.facts(dataset.class_names), "candidates": qualified}


def candidates(selection: Selection, dataset: ImageDataset, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of every image that qualifies, ascending."""
    is_right = predicted == dataset.labels
    if selection.kind == "misclassified":
        return np.flatnonzero(~is_right)
    of_class = dataset.labels == resolve_class(selection.target_class, dataset.class_names)
    wanted = {"incorrect": ~is_right, "correct": is_right, "any": np.ones_like(is_right)}[selection.correctness]
    return np.flatnonzero(of_class & wanted)
