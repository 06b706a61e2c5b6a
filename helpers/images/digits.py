"""Scikit-learn's bundled handwritten digits (UCI optdigits), as 32x32 RGB images: no download."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from helpers.images.decoding import of_small_images
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.images.source import IMAGE_SIZE, DecodedImages, Split

TEST_EVERY = 3
LARGEST_VALUE = 16


@dataclass(frozen=True)
class Digits:
    """The 1,797 digits; of each class every third image, in scikit-learn's order, is a test image."""

    name: str = "digits"
    location: str = "scikit-learn"

    def fingerprint(self, split: Split) -> str:
        """The version of the package that carries the images."""
        return f"scikit-learn {importlib.metadata.version('scikit-learn')}, every {TEST_EVERY}rd for the test, {split}"

    def read(self, split: Split, preprocessing: Preprocessing = CIFAR) -> DecodedImages:
        """1,200 training images or 597 test images."""
        from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, and rarely needed

        bundle = load_digits()
        labels = bundle.target.astype(np.int64)
        chosen = np.flatnonzero(_is_test(labels) == (split == "test"))
        images = np.stack([_enlarge(image) for image in bundle.images[chosen]])
        return DecodedImages(
            of_small_images(images, preprocessing), labels[chosen], tuple(str(name) for name in bundle.target_names)
        )


def _is_test(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Stratified by construction, and with no random generator whose stream could change."""
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        is_test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return is_test


def _enlarge(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(8, 8) of 0..16 -> (32, 32, 3) of 0..255, bicubic."""
    grey = Image.fromarray(np.rint(image * (255 / LARGEST_VALUE)).astype(np.uint8))
    large = np.asarray(grey.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
    return np.repeat(large[:, :, None], 3, axis=2)
