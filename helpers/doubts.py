"""What figures may tell of a wrong preprocessing, or of classes in another order than the network's outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy  # `optimize` is imported on its first use: 0.3 s
import torch

from helpers.cli import say_once
from helpers.evaluation import Evaluation, evaluate_logits
from helpers.images.datasets import ImageDataset

REMEDY = "They belong to the weights and are told by options of eval.py; docs/own_network.md has an example."


def doubts(found: Evaluation, preprocessing: str) -> Iterator[str]:
    """Sentences for people; none where nothing is out of the ordinary.

    Args:
        found: what was measured.
        preprocessing: which was used, in words.
    """
    names = list(found.per_class)
    order = _better_order(found)
    if order is not None:
        of, right = order
        place = next(place for place, output in enumerate(of) if place != output)
        yield (
            f"with the classes in another order {right:.1%} would be right, not {found.accuracy:.1%}: output "
            f"{of[place]}, which is taken for {names[of[place]]!r}, goes with images of {names[place]!r}. Name the "
            "classes in the order of the outputs with eval.py --classes."
        )
    elif found.accuracy < min(1.5 * (chance := 1 / len(names)), chance + 0.1):
        yield (
            f"{found.accuracy:.1%} is near chance, {chance:.1%}. Perhaps the network was trained with another "
            f"preprocessing than the one used ({preprocessing}) or with the classes in another order. {REMEDY}"
        )


def tell_doubts(logits: torch.Tensor, images: ImageDataset) -> None:
    """Say them once, of what a network says of a whole split, (N, C)."""
    for doubt in doubts(evaluate_logits(logits, images.labels, images.class_names), images.preprocessing.described):
        say_once(f"note: {doubt}")


def _better_order(found: Evaluation) -> tuple[list[int], float] | None:
    """The output of each class with which most images are right, and how many are; None where that gains little."""
    if found.accuracy >= 0.5:
        return None
    confusion = np.array(found.confusion)
    _, columns = scipy.optimize.linear_sum_assignment(confusion, maximize=True)
    right = float(confusion[np.arange(len(confusion)), columns].sum()) / found.count
    return (columns.tolist(), right) if right > max(2 * found.accuracy, 1.5 / len(confusion)) else None
