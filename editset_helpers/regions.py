"""The neighbourhood of the edit images that a repair covers, too: every image shifted by some pixels, and mirrored."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from helpers.errors import UsageError
from helpers.images.source import IMAGE_SIZE


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
