"""What every source of images has in common: where it lies, what it holds, when it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from helpers.images.preprocessing import Preprocessing

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
IMAGE_SIZE = 32


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images with their labels.

    Attributes:
        images: uint8, (N, S, S, 3), RGB, of the preprocessing's stored size, usually 32.
        labels: int64, (N,), positions in ``class_names``.
        class_names: the classes, in the order of the labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


class ImageSource(Protocol):
    """A place that images are read from. Reading is slow; telling whether anything changed is not."""

    @property
    def name(self) -> str:
        """What the dataset is called."""

    @property
    def location(self) -> str:
        """Where it lies: two sources with the same name differ in this."""

    def fingerprint(self, split: Split) -> str:
        """A short text that differs whenever the images of the split may differ."""

    def read(self, split: Split, preprocessing: Preprocessing) -> DecodedImages:
        """Decode every image of the split, and keep of it what a preprocessing wants.

        Raises:
            ToolError: one cannot be read.
        """
