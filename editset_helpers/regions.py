"""The neighbourhood of the edit images that a repair covers, too: every image shifted by some pixels, and mirrored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.edit_set import EditSet
from editset_helpers.location import locate
from helpers.datasets import ImageDataset
from helpers.errors import UsageError
from helpers.image_source import IMAGE_SIZE
from helpers.preprocessing import to_inputs


@dataclass(frozen=True)
class Move:
    """How a copy differs from its image: mirrored or not, then shifted by so many pixels, negative is up or left."""

    mirrored: bool = False
    down: int = 0
    right: int = 0

    def __str__(self) -> str:
        """``a mirrored copy (1 down and 2 left)``."""
        ways = ((self.down, "down", "up"), (self.right, "right", "left"))
        shifts = [f"{abs(pixels)} {more if pixels > 0 else less}" for pixels, more, less in ways if pixels]
        kind = "a mirrored copy" if self.mirrored else "a copy"
        return f"{kind} ({' and '.join(shifts)})" if shifts else kind

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The copies of images, (N, H, W, 3); what a shift uncovers repeats the edge."""
        seen = pixels[:, :, ::-1] if self.mirrored else pixels
        rows = np.clip(np.arange(seen.shape[1]) - self.down, 0, seen.shape[1] - 1)
        columns = np.clip(np.arange(seen.shape[2]) - self.right, 0, seen.shape[2] - 1)
        return np.ascontiguousarray(seen[:, rows][:, :, columns])


@dataclass(frozen=True)
class Region:
    """Which copies of every edit image have to be right besides it.

    Attributes:
        shifts: by up to how many of the image's 32 x 32 pixels they are shifted, to every side and corner.
        flip: whether they are mirrored, too, and the mirrored ones shifted.
    """

    shifts: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        """Raise `UsageError` where nothing of an image would be left."""
        if not 0 <= self.shifts < IMAGE_SIZE:
            raise UsageError(
                f"--shifts is a number of pixels from 0 to {IMAGE_SIZE - 1}, "
                f"for images have {IMAGE_SIZE} x {IMAGE_SIZE}; it cannot be {self.shifts}."
            )

    @property
    def moves(self) -> tuple[Move, ...]:
        """What makes the copies, in their order."""
        reach = range(-self.shifts, self.shifts + 1)
        mirrored = (False, True) if self.flip else (False,)
        return tuple(
            move for move in itertools.starmap(Move, itertools.product(mirrored, reach, reach)) if move != Move()
        )

    def source(self, position: int, images: int) -> tuple[int, Move | None]:
        """Which of so many images is at a position of `with_copies`, and of which copy of it, if it is one."""
        block, image = divmod(position, images)
        return image, self.moves[block - 1] if block else None


def with_copies(edit_set: EditSet, region: Region, test: ImageDataset) -> EditSet:
    """The N edit images, then block by block of N, in the order of `Region.moves`, their copies.

    Raises:
        UsageError: shifts are asked for, but the set holds images that are no test images.
    """
    if not region.moves:
        return edit_set
    images = [edit_set.images, *_copies(edit_set, region, test)]
    return replace(
        edit_set,
        images=torch.cat(images),
        labels=edit_set.labels.repeat(len(images)),
        metadata=edit_set.metadata * len(images),
    )


def _copies(edit_set: EditSet, region: Region, test: ImageDataset) -> list[torch.Tensor]:
    if not region.shifts:
        return [edit_set.images.flip(-1)]
    pixels = pixels_of(edit_set, test)
    return [to_inputs(move.of(pixels)) for move in region.moves]


def pixels_of(edit_set: EditSet, test: ImageDataset) -> NDArray[np.uint8]:
    """The edit images before they were resized, uint8 (N, 32, 32, 3)."""
    indices = locate(edit_set, test).indices
    if (missing := np.flatnonzero(indices < 0)).size:
        raise UsageError(
            f"Shifted copies need images of the test set, and {len(missing)} of the edit set's are none of these "
            f"(image {missing[0]} is the first); leave out --shifts."
        )
    return test.images[indices]
