"""The training images as one network sees them: what it says of them, samples for judging, and samples for metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from edits.network.channels import Channels
from edits.network.tail import from_layer, run_modules
from edits.network.training_metric import MetricSample, check_some_right
from editset_helpers.choice import choose
from helpers.evaluation import is_right, margins
from helpers.files.array_cache import Fact, cache_path, fingerprint, keep_array, read_array
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from helpers.remembering import remembers
from model_classes.alexnet import AlexNet
from sytorch import KroneckerMetric, chain_of, kronecker_metric
from sytorch.metrics.kronecker import softmax_curvature
from sytorch.network.layer_change import LayerChange

SAMPLE_SEED = 0
JUDGES = 10_000
DOUBTFUL = 2_500
BATCH = 1_000
MOMENT_BATCH = 4_000
GRADIENT_IMAGES = 3_000


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

    def sample(self, count: int) -> NDArray[np.int64]:
        """The positions of a fixed sample of up to ``count`` images."""
        return choose(len(self.split), count, SAMPLE_SEED)

    def labels(self, count: int) -> NDArray[np.int64]:
        """The labels of that sample, (R,)."""
        return self.split.labels[self.sample(count)]

    def seen_at(self, layer: str, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a linear layer gets from the images at these positions, (N, n)."""
        return self.channels.inputs(layer, chosen).numpy()

    def accuracy(self, layer: str, change: LayerChange) -> float:
        """The accuracy on the sample of `JUDGES` with a change of a hidden linear layer.

        Only the images nearest to another answer are run; the others keep theirs.
        """
        doubtful, sure = self._doubtful
        inputs, outputs = self._doubtful_values(layer)
        logits = run_modules(from_layer(self.model, layer)[1:], outputs + change.moves(inputs))
        return float(is_right(logits, self.labels(JUDGES)[doubtful]).sum() + sure) / len(self.labels(JUDGES))

    @remembers(1)
    def _doubtful_values(self, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """What the layer gets from the doubtful images, and what it gives."""
        chosen = self.sample(JUDGES)[self._doubtful[0]]
        inputs = self.seen_at(layer, chosen)
        return torch.from_numpy(inputs), torch.from_numpy(self._outputs(layer, chosen, lambda: [inputs]))

    @functools.cached_property
    def _doubtful(self) -> tuple[NDArray[np.int64], int]:
        """Positions in the sample of the images whose margins are nearest to zero; how many of the others are right."""
        logits, labels = self.logits[self.sample(JUDGES)], self.labels(JUDGES)
        nearness = margins(logits, torch.from_numpy(labels)).abs().numpy()
        doubtful = np.sort(np.argsort(nearness, kind="stable")[:DOUBTFUL])
        right = is_right(logits, labels)
        return doubtful, int(right.sum() - right[doubtful].sum())

    def right(self, count: int | None = None) -> NDArray[np.int64]:
        """Positions of up to ``count`` images that the network gets right, in random order."""
        right = np.flatnonzero(is_right(self.logits, self.split.labels))
        check_some_right(len(right))
        return np.random.default_rng(SAMPLE_SEED).permutation(right)[:count]

    def metric(self, layer: str, chosen: NDArray[np.int64], ridges: tuple[float, float]) -> KroneckerMetric:
        """The metric of a layer, see `sytorch.kronecker_metric`, from images at these positions and their mirrors."""
        chain = self.channels.chain if self.is_linear(layer) else chain_of(self.model)

        def batches() -> Iterator[torch.Tensor]:
            for part, mirrored in self._parts(chosen, BATCH, f"metric of {layer}"):
                if self.is_linear(layer):
                    yield self.channels.of(part, mirrored=mirrored)
                else:
                    images = to_inputs(self.split.images[part])
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
        chosen, shares = self._worth_while(count)
        for start in range(0, len(chosen), MOMENT_BATCH):
            part = chosen[start : start + MOMENT_BATCH]
            yield MetricSample(self.seen_at(layer, part), self.split.labels[part], shares[start : start + MOMENT_BATCH])

    def outputs_of_some_right(self, layer: str, count: int) -> NDArray[np.float32]:
        """What that layer gives for all of these images, (R, m); from the cache where it is there."""
        chosen, _ = self._worth_while(count)
        return self._outputs(layer, chosen, lambda: (sample.inputs for sample in self.some_right(layer, count)))

    def fill_cache(self, layer: str, count: int) -> None:
        """Compute what the layer gives for the images that judge a step, and for up to ``count`` of a metric."""
        self._doubtful_values(layer)
        self.outputs_of_some_right(layer, count)

    def _outputs(
        self, layer: str, chosen: NDArray[np.int64], seen: Callable[[], Iterable[NDArray[np.float32]]]
    ) -> NDArray[np.float32]:
        """What a linear layer gives for the images at these positions, (N,), from what it gets, some at a time."""
        path = cache_path(f"outputs-{layer}", **self.facts, chosen=fingerprint(chosen))
        alone = from_layer(self.model, layer)[:1]
        outputs = read_array(path, (len(chosen), len(self.model.get_parameter(f"{layer}.weight"))))
        if outputs is None:
            outputs = torch.cat([run_modules(alone, torch.from_numpy(inputs)) for inputs in seen()]).numpy()
            keep_array(path, outputs)
        return outputs

    def _worth_while(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Positions in ascending order, (R,), and how many images each stands for, (R,); see `some_right`."""
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
        for part in tqdm(np.array_split(chosen, -(-len(chosen) // size)), desc=name, unit="batch", disable=None):
            yield part, False
            if self.can_flip:
                yield part, True
