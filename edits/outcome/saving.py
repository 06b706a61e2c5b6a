"""Writing repaired weights: only what was loaded again and passed the forward pass is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from editset_helpers.edit_set import EditSet
from helpers.errors import NotVerifiedError
from helpers.evaluation import margins, predict_logits
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weight_files import save_weights


def save_verified(
    content: dict[str, Any],
    path: Path,
    edit_set: EditSet,
    margin: float,
    classes: int,
    *,
    place: Path,
    check: Callable[[AlexNet], None] = lambda _: None,
) -> torch.Tensor:
    """Write a state dict or changes, load the file again, and see that every image has its margin in float32.

    ``check`` may look at the loaded network, and raise `NotVerifiedError` too.

    Returns:
        The images' logits, float32 (N, C), as the loaded file gives them.

    Raises:
        NotVerifiedError: an image misses its margin.
        ToolError: ``path`` cannot be written.
    """
    save_weights(content, path)
    model = load_alexnet(path, classes, place)
    check(model)
    logits = predict_logits(model, edit_set.images)
    smallest = float(margins(logits, edit_set.labels).min())
    if smallest < margin:
        raise NotVerifiedError(
            f"With the saved weights an image or a copy misses the margin {margin:g} by {margin - smallest:.2g}."
        )
    return logits
