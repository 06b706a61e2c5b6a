"""Which training images are most like each edit image to the network: what a person looks at beside it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edits.network.workbench import Workbench
from editset_helpers.edit_set import EditSet

COUNT = 5
AT_ONCE = 256  # edit images
MOST_CHANNELS = 1024  # numbers of an image; of larger inputs the training images' fill gigabytes


def nearest_training_images(bench: Workbench, edit_set: EditSet) -> NDArray[np.int64]:
    """The positions in the training split of the images nearest to each of N edit images, (N, 5), the nearest first.

    Near is the Euclidean distance of what the convolutions make of both. An edit image is not near itself. Where this
    was not computed for the training images yet, or is large, there are none: (N, 0).
    """
    channels = bench.training_images.channels
    if not channels.file(mirrored=False).is_file() or np.prod(channels.shape) > MOST_CHANNELS:
        return np.zeros((len(edit_set), 0), dtype=np.int64)
    there = torch.from_numpy(channels.all(mirrored=False))
    sizes, itself = there.square().sum(dim=1), edit_set.claimed_indices("train")
    found = []
    for start in range(0, len(edit_set), AT_ONCE):
        part = channels.of_inputs(edit_set.images[start : start + AT_ONCE])
        distances = sizes - 2 * part @ there.T
        own = torch.from_numpy(itself[start : start + AT_ONCE])
        rows = torch.nonzero((own >= 0) & (own < len(there))).flatten()
        distances[rows, own[rows]] = torch.inf
        found.append(distances.topk(min(COUNT, len(there)), dim=1, largest=False).indices)
    return torch.cat(found).numpy()
