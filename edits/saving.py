"""Writing repaired weights: only what was loaded again and passed the forward pass keeps its name."""

from __future__ import annotations

from pathlib import Path

import torch

from editset_helpers.edit_set import EditSet
from helpers.errors import NotVerifiedError
from helpers.evaluation import margins, predict_logits
from helpers.files import atomic_file
from model_classes.alexnet import load_alexnet


def save_verified(state: dict[str, torch.Tensor], path: Path, edit_set: EditSet, margin: float) -> torch.Tensor:
    """Write a state dict, load it again, and keep it if every edit image has its margin in float32.

    Returns:
        The edit images' logits, float32 (N, C), as the loaded file gives them.

    Raises:
        NotVerifiedError: an image misses its margin; ``path`` is then as it was.
        ToolError: ``path`` cannot be written.
    """
    classes = state["classifier.6.bias"].shape[0]
    with atomic_file(path) as temporary:
        torch.save(state, temporary)
        logits = predict_logits(load_alexnet(temporary, classes), edit_set.images)
        smallest = float(margins(logits, edit_set.labels).min())
        if smallest < margin:
            raise NotVerifiedError(f"The saved weights give an edit image the margin {smallest:.6g}, not {margin:g}.")
    return logits
