"""Corrupted images: what light, a camera or a copy may do to a picture. Of the 32 x 32 pixels, before any resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
NOISE_SEED = 0


def contrast(factor: float) -> Callable[[Pixels], Pixels]:
    """Each pixel's distance from its image's mean times a factor."""

    def change(images: Pixels) -> Pixels:
        means = images.mean(axis=(1, 2, 3), keepdims=True)
        return _as_bytes(means + factor * (images - means))

    return change


def brightness(by: float) -> Callable[[Pixels], Pixels]:
    """A part of the range added to each pixel."""
    return lambda images: _as_bytes(images + 255.0 * by)


def noise(deviation: float) -> Callable[[Pixels], Pixels]:
    """Normal noise, its standard deviation a part of the range."""

    def change(images: Pixels) -> Pixels:
        return _as_bytes(images + np.random.default_rng(NOISE_SEED).normal(0.0, 255.0 * deviation, images.shape))

    return change


def blur(images: Pixels) -> Pixels:
    """The weights 1, 2, 1 across and down, the edge repeated."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return _as_bytes((down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 4)


def inversion(images: Pixels) -> Pixels:
    """Each pixel's distance from white."""
    return 255 - images


CORRUPTIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "contrast 0.5": contrast(0.5),
    "contrast 1.5": contrast(1.5),
    "contrast 2": contrast(2.0),
    "brightness +0.2": brightness(0.2),
    "brightness -0.2": brightness(-0.2),
    "noise 0.05": noise(0.05),
    "blur": blur,
    "inversion": inversion,
}


def _as_bytes(values: NDArray[np.floating[Any]]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
