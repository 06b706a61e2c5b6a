"""Writing repaired weights: only what was loaded again and passed the forward pass keeps its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from editset_helpers.edit_set import EditSet
from helpers.errors import NotVerifiedError
from helpers.evaluation import margins, predict_logits
from helpers.files import atomic_file
from model_classes.alexnet import AlexNet, load_alexnet


def save_verified(
    content: dict[str, Any],
    path: Path,
    edit_set: EditSet,
    margin: float,
    classes: int,
    *,
    check: Callable[[AlexNet], None] = lambda _: None,
) -> torch.Tensor:
    """Write a state dict or changes, load the file again, and keep it if every image has its margin in float32.

    ``check`` may look at the loaded network, and raise `NotVerifiedError` too.

    Returns:
        The images' logits, float32 (N, C), as the loaded file gives them.

    Raises:
        NotVerifiedError: an image misses its margin; ``path`` is then as it was.
        ToolError: ``path`` cannot be written.
    """
    with atomic_file(path) as temporary:
        torch.save(content, temporary)
        model = load_alexnet(temporary, classes)
        check(model)
        logits = predict_logits(model, edit_set.images)
        smallest = float(margins(logits, edit_set.labels).min())
        if smallest < margin:
            raise NotVerifiedError(
                f"With the saved weights an image or a copy misses the margin {margin:g} by {margin - smallest:.2g}."
            )
    return logits
