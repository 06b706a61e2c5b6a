"""Drawdown is measured on the test images outside the edit set: which are they?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editset_helpers.edit_set import EditSet
from helpers.errors import UsageError


def drawdown_mask(edit_set: EditSet, dataset_hash: str, count: int) -> NDArray[np.bool_] | None:
    """Which of ``count`` test images are outside the edit set: bool, (count,). None where the set does not say.

    Args:
        edit_set: the edit set.
        dataset_hash: content hash of the test images.
        count: the number of test images.

    Raises:
        UsageError: the set was drawn from other images, so that its ``image_idx`` mean nothing here.
    """
    indices = edit_set.test_indices()
    if indices is None:
        return None
    drawn_from = edit_set.provenance.get("dataset_hash", dataset_hash)
    if drawn_from != dataset_hash or indices.min() < 0 or indices.max() >= count:
        raise UsageError("The edit set was drawn from other images: give the --dataset and --data-root it came from.")
    outside = np.ones(count, dtype=bool)
    outside[indices] = False
    return outside
