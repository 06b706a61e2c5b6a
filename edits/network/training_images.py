"""The training images as one network sees them: what it says of them, and samples of them for metrics."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edits.network.channels import Channels
from edits.network.training_metric import MetricSample, check_some_right
from editset_helpers.edit_set import choose
from helpers import progress
from helpers.array_cache import Fact, cache_path, keep_array, read_array
from helpers.evaluation import is_right
from helpers.images.corruptions import CORRUPTIONS
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import INPUT_SIZE, to_inputs
from helpers.remembering import keys_of, remembers
from model_classes.alexnet import AlexNet
from sytorch import KroneckerMetric, chain_of, kronecker_metric
from sytorch.metrics.kronecker import softmax_curvature

SAMPLE_SEED = 0
UNUSUAL = 250  # images, each corrupted in every way
BATCH = 1_000
MOMENT_BATCH = 4_000
GRADIENT_IMAGES = 3_000
SEARCHED = 250
ALIKE = 0.1  # relative: pixels that differ by 3/255 move CIFAR-10's channels by 0.05; another image is at 0.15 or more


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The training images and a network.

    Attributes:
        model: in evaluation mode.
        weights_hash: names the model.
        split: the images.
        can_flip: whether a mirrored image is still one of its class; a mirrored digit is another sign.
    """

    model: AlexNet
    weights_hash: str
    split: ImageDataset
    can_flip: bool

    @property
    def facts(self) -> dict[str, Fact]:
        """What names the network and the images in the cache, and how samples of them are drawn."""
        named = {"weights": self.weights_hash, "images": self.split.content_hash, "split": str(self.split.split)}
        return {**named, "can_flip": self.can_flip, "seed": SAMPLE_SEED}

    @functools.cached_property
    def channels(self) -> Channels:
        """What the convolutions make of them."""
        return Channels(self.model, self.facts, self.split)

    @functools.cached_property
    def logits(self) -> torch.Tensor:
        """What the network says of all of them, float32 (R, C)."""
        path = cache_path("logits", **self.facts)
        logits = read_array(path, (len(self.split), len(self.split.class_names)))
        if logits is None:
            logits = self.channels.logits().numpy()
            keep_array(path, logits)
        return torch.from_numpy(logits)

    def seen_at(self, layer: str, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a linear layer gets from the images at these positions, (N, n)."""
        return self.channels.inputs(layer, chosen).numpy()

    def right(self, count: int | None = None) -> NDArray[np.int64]:
        """Positions of up to ``count`` images that the network gets right, in random order."""
        right = np.flatnonzero(is_right(self.logits, self.split.labels))
        check_some_right(len(right))
        return np.random.default_rng(SAMPLE_SEED).permutation(right)[:count]

    def alike(self, channels: torch.Tensor) -> list[NDArray[np.int64]]:
        """For each of N images' channels, (N, k), positions of training images whose channels are nearly these.

        Those with its pixels are among them, though it was resized in another way.
        """
        keys, found = keys_of(channels), self._alike
        fresh = [place for place, key in enumerate(keys) if key not in found]
        for places in np.array_split(fresh, math.ceil(len(fresh) / SEARCHED)) if fresh else ():
            for place, near in zip(places.tolist(), self._near(channels[places]), strict=True):
                found[keys[place]] = np.flatnonzero(near)
        return [found[key] for key in keys]

    @functools.cached_property
    def _alike(self) -> dict[bytes, NDArray[np.int64]]:
        """What was found, by image: a sequence of repairs asks the same of earlier images at every step."""
        return {}

    def _near(self, channels: torch.Tensor) -> NDArray[np.bool_]:
        known, own = torch.from_numpy(np.asarray(self.channels.all(mirrored=False))), channels.square().sum(1, True)
        apart = own + self._squares - 2 * channels @ known.T
        return np.asarray((apart <= ALIKE**2 * own).numpy())

    @functools.cached_property
    def _squares(self) -> torch.Tensor:
        return torch.from_numpy(np.asarray(self.channels.all(mirrored=False))).square().sum(dim=1)

    def metric(self, layer: str, chosen: NDArray[np.int64], ridges: tuple[float, float]) -> KroneckerMetric:
        """The metric of a layer, see `sytorch.kronecker_metric`, from images at these positions and their mirrors."""
        chain = self.channels.chain if self.is_linear(layer) else chain_of(self.model)

        larger = self.split.preprocessing.input_size / INPUT_SIZE
        size = BATCH if self.is_linear(layer) else max(1, int(BATCH / larger**2))

        def batches() -> Iterator[torch.Tensor]:
            for part, mirrored in self._parts(chosen, size, f"metric of {layer}"):
                if self.is_linear(layer):
                    yield self.channels.of(part, mirrored=mirrored)
                else:
                    images = self.split.inputs(part)
                    yield images.flip(3) if mirrored else images

        return kronecker_metric(chain, layer, batches, GRADIENT_IMAGES, ridges=ridges)

    def all_right(self, layer: str) -> Iterator[MetricSample]:
        """What a linear layer gets from all images that the network gets right, and from their mirror images."""
        for part, mirrored in self._parts(self.right(), MOMENT_BATCH, f"metric of {layer}"):
            inputs = self.channels.inputs(layer, part, mirrored=mirrored).numpy()
            yield MetricSample(inputs, self.split.labels[part], np.ones(len(part)))

    def some_right(self, layer: str, count: int) -> Iterator[MetricSample]:
        """What a linear layer gets from up to ``count`` of the images that are right, `MOMENT_BATCH` at a time.

        Half of them are those most in doubt, which count most; the others are drawn from the rest and stand for it.
        """
        chosen, shares = self.worth_while(count)
        for start in range(0, len(chosen), MOMENT_BATCH):
            part = chosen[start : start + MOMENT_BATCH]
            yield MetricSample(self.seen_at(layer, part), self.split.labels[part], shares[start : start + MOMENT_BATCH])

    @functools.cached_property
    def unusual(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Corrupted copies of some right images: positions of these, (U,), and the copies' channels, (U, k)."""
        chosen = self.right(UNUSUAL)
        sources, path = np.tile(chosen, len(CORRUPTIONS)), cache_path("unusual-channels", **self.facts, count=UNUSUAL)
        found = read_array(path, (len(sources), math.prod(self.channels.shape)))
        if found is None:
            pixels = np.asarray(self.split.images[chosen])
            parts = [to_inputs(corrupted(pixels), self.split.preprocessing) for corrupted in CORRUPTIONS.values()]
            found = torch.cat([self.channels.convolved(part) for part in parts]).numpy()
            keep_array(path, found)
        return sources, found

    @remembers(1)
    def worth_while(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Positions of some right images, ascending, (R,), and how many each stands for, (R,); see `some_right`."""
        right = is_right(self.logits, self.split.labels)
        check_some_right(int(right.sum()))
        doubt = softmax_curvature(self.logits).numpy()
        wanted = max(np.count_nonzero(doubt * right), min(count, int(right.sum())))
        order = np.argsort(np.where(right, -doubt, 1.0), kind="stable")[:wanted]
        first, rest = np.split(order, [count // 2])
        drawn = rest[choose(len(rest), count - count // 2, SAMPLE_SEED)] if len(rest) else rest
        shares = np.concatenate([np.ones(len(first)), np.full(len(drawn), len(rest) / max(len(drawn), 1))])
        chosen = np.concatenate([first, drawn])
        places = np.argsort(chosen)
        return chosen[places], shares[places]

    def is_linear(self, layer: str) -> bool:
        """Whether a layer is behind the convolutions."""
        return layer in self.channels.chain.names

    def _parts(self, chosen: NDArray[np.int64], size: int, name: str) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Positions, (R,), so many at a time, and whether mirrored: each part as it is, then mirrored."""
        with progress.loop(f"{name}, once for this network", len(chosen), "image") as steps:
            for part in np.array_split(chosen, -(-len(chosen) // size)):
                yield part, False
                if self.can_flip:
                    yield part, True
                steps.update(len(part))
