"""Saying why no repair exists."""

from __future__ import annotations

import math

from edits.options import RepairOptions
from editset_helpers.edit_set import EditSet
from sytorch import Contradiction

NAMED = 6


def explain(
    contradiction: Contradiction, edit_set: EditSet, options: RepairOptions, class_names: tuple[str, ...]
) -> str:
    """One or two sentences: which images contradict each other, and what to change."""
    if not contradiction.proved_for_all_changes:
        return (
            f"no change of the form that {options.norm} in the {options.metric} metric allows stays within "
            f"{options.param_bound:g}, though others do; try --norm l2, --metric identity or a larger --param-bound."
        )
    names = [image_name(image, edit_set, class_names) for image in contradiction.images]
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    if math.isinf(contradiction.smallest_bound):
        return f"these images look alike to the layer and have different labels, so no change separates them: {listed}."
    return (
        f"these images contradict each other within the bound {options.param_bound:g}: {listed}. "
        f"No --param-bound below {contradiction.smallest_bound:.4g} can work; raise it, or lower --margin."
    )


def image_name(position: int, edit_set: EditSet, class_names: tuple[str, ...]) -> str:
    """``image 4 (a cat, test image 9077)``."""
    label = class_names[int(edit_set.labels[position])]
    index = edit_set.metadata[position].get("image_idx")
    source = "" if index is None else f", test image {index}"
    return f"image {position} ({label}{source})"
