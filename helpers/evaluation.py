"""What a network says of images, and how right it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from helpers import progress
from helpers.errors import ToolError
from helpers.images.datasets import ImageDataset

BATCH_SIZE = 500


@dataclass(frozen=True)
class Evaluation:
    """How right a network is on labelled images.

    Attributes:
        accuracy: the fraction classified right, 0 to 1.
        loss: mean cross-entropy, in nats.
        per_class: the accuracy of each class; None for a class without images.
        confusion: counts, true class by predicted class.
        count: the number of images.
    """

    accuracy: float
    loss: float
    per_class: dict[str, float | None]
    confusion: list[list[int]]
    count: int


def predict_logits(
    model: nn.Module,
    images: ImageDataset | torch.Tensor,
    batch_size: int = BATCH_SIZE,
    told: str | None = None,
) -> torch.Tensor:
    """Run a network in evaluation mode on the device it is on, and leave its mode as it was.

    Args:
        model: the network, (n, 3, S, S) -> (n, C).
        images: a data set, or the network's inputs, float32 (N, 3, S, S).
        batch_size: images at a time.
        told: what those who wait are told of it; nothing by default.

    Returns:
        float32 logits, (N, C), on the CPU.

    Raises:
        ToolError: a logit is NaN or infinite.
    """
    parts = _parts(len(images), batch_size) if told is None else progress.parts(len(images), batch_size, told)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            logits = torch.cat([_forward(model, images, part) for part in parts])
    finally:
        model.train(was_training)
    return checked(logits)


def checked(logits: torch.Tensor) -> torch.Tensor:
    """Logits as a plain tensor: autograd refuses one made in inference mode; `ToolError` where one is not finite."""
    if not torch.isfinite(logits).all():
        raise ToolError("The network answers with NaN or infinity: its weights or the images are damaged.")
    return logits.clone()


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _forward(model: nn.Module, images: ImageDataset | torch.Tensor, part: slice) -> torch.Tensor:
    inputs = images.inputs(part) if isinstance(images, ImageDataset) else images[part]
    parameter = next(model.parameters(), None)
    outputs: torch.Tensor = model(inputs if parameter is None else inputs.to(parameter.device))
    return outputs.to("cpu", torch.float32)


def evaluate_logits(
    logits: torch.Tensor, labels: torch.Tensor | NDArray[np.int64], class_names: tuple[str, ...]
) -> Evaluation:
    """Measure logits (N, C) against labels (N,), N >= 1, for C named classes."""
    truth = torch.as_tensor(labels, dtype=torch.int64)
    confusion = _confusion(truth, logits.argmax(dim=1), len(class_names))
    right, total = confusion.diagonal(), confusion.sum(dim=1)
    per_class = zip(class_names, right.tolist(), total.tolist(), strict=True)
    return Evaluation(
        accuracy=int(right.sum()) / len(truth),
        loss=float(nn.functional.cross_entropy(logits.double(), truth)),
        per_class={name: hits / count if count else None for name, hits, count in per_class},
        confusion=confusion.tolist(),
        count=len(truth),
    )


def _confusion(truth: torch.Tensor, predicted: torch.Tensor, classes: int) -> torch.Tensor:
    """Counts, int64 (classes, classes)."""
    return torch.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def margins(logits: torch.Tensor, labels: torch.Tensor | NDArray[np.int64]) -> torch.Tensor:
    """(N,): the logit of each image's true class minus the largest other; positive where it is classified right."""
    truth = torch.as_tensor(labels, dtype=torch.int64)[:, None]
    others = logits.scatter(1, truth, -torch.inf)
    return logits.gather(1, truth).squeeze(1) - others.amax(dim=1)


def is_right(logits: torch.Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images are classified right, bool (N,)."""
    return np.asarray(logits.argmax(dim=1).numpy() == labels)
