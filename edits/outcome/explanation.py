"""Saying why no repair exists."""

from __future__ import annotations

import math
from collections.abc import Callable

from edits.options import LAST_LAYER, RepairOptions
from editset_helpers.edit_set import EditSet
from editset_helpers.regions import Region
from helpers.images.datasets import ImageDataset
from sytorch import Contradiction

NAMED = 6
ANY_CHANGE = 1e6  # a larger change of a weight is none


def explain(contradiction: Contradiction, edit_set: EditSet, options: RepairOptions, test: ImageDataset) -> str:
    """One or two sentences: which images, or copies of them, contradict each other, and what to change."""
    class_names = test.class_names
    stage = "" if options.prepared_layer is None else f" (after moving {options.prepared_layer})"
    if options.layer.startswith(LAST_LAYER):
        stage = f"{stage} when only {options.layer} changes" if options.is_hidden else stage
    else:
        stage = f" with the activation pattern behind {options.layer} held (--pattern relinearise lets it change)"
    if not contradiction.proved_for_all_changes:
        return (
            f"no change{stage} of the form that {options.norm} in the {options.metric} metric allows stays within "
            f"{options.param_bound:g}, though others may; try --norm l2, --metric identity or a larger --param-bound."
        )
    names = [image_name(image, edit_set, class_names, options.region) for image in contradiction.images]
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    if contradiction.refuted_bound >= ANY_CHANGE:
        return f"these images look alike to the layer{stage} but have different labels; no change can help: {listed}."
    what = "this image cannot have its margin" if len(names) == 1 else "these images contradict each other"
    enough = contradiction.sufficient_bound
    found = "" if enough is None else f" and {_digits(enough, math.ceil)} is enough"
    return (
        f"{what} within the bound {options.param_bound:g}{stage}: {listed}. No --param-bound below "
        f"{_digits(contradiction.refuted_bound, math.floor)} can work{found}; raise it, or lower --margin."
    )


def _digits(value: float, towards: Callable[[float], int]) -> str:
    """Four digits, rounded to the side on which the sentence stays true."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{towards(value / unit) * unit:.4g}"


def contradicting_images(contradiction: Contradiction, edit_set: EditSet) -> tuple[list[int], float | None]:
    """The images by test index where the set says it, else by position; the least bound if any helps.

    A copy counts as its image.
    """
    indices = edit_set.test_indices()
    images = dict.fromkeys(position % len(edit_set) for position in contradiction.images)
    named = [int(image if indices is None else indices[image]) for image in images]
    return named, contradiction.refuted_bound if contradiction.refuted_bound < ANY_CHANGE else None


def image_name(position: int, edit_set: EditSet, class_names: tuple[str, ...], region: Region) -> str:
    """``image 4 (a cat, test image 9077)``, or ``a mirrored copy of image 4 (...)``."""
    image, move = region.source(position, len(edit_set))
    label = class_names[int(edit_set.labels[image])]
    index = edit_set.metadata[image].get("image_idx")
    source = "" if index is None else f", test image {index}"
    copy = "" if move is None else f"{move} of "
    return f"{copy}image {image} ({label}{source})"
