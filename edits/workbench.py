"""Everything about one network and its images that repairs share: loaded once, however many repairs follow."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from edits.layer_metric import layer_metric
from edits.network import Network
from edits.options import RepairOptions
from edits.tail import added, from_layer, moved_layer, parameters_of, run_modules
from edits.training_metric import MetricSample, check_some_right
from editset_helpers.choice import choose
from helpers.activations import layer_activations, read_array, write_array
from helpers.cli import DatasetName
from helpers.datasets import ImageDataset, load_dataset
from helpers.errors import UsageError
from helpers.evaluation import margins, predict_logits
from helpers.paths import CACHE
from helpers.preprocessing import to_inputs
from helpers.stopwatch import Stopwatch
from model_classes.alexnet import AlexNet, blank_alexnet, load_alexnet
from model_classes.weights import weights_hash
from sytorch import KroneckerMetric, Metric, symbolic_layers
from sytorch.kronecker_metric import INPUT_RIDGE, softmax_curvature

SAMPLE_SEED = 0
HIDDEN_SAMPLE = 10_000
DOUBTFUL = 2_500
MOVED_METRIC_IMAGES = 20_000
BATCH = 500
MOMENT_BATCH = 4_000
RIDGE_OF_ALL = 5e-4


@dataclass(frozen=True, eq=False)
class Workbench:
    """A network, its test images, and what is computed from them on first use.

    Attributes:
        dataset, data_root: where the images come from.
        weights_path: the network's file.
        model: in evaluation mode; nothing here changes it.
        weights_hash: names the model.
        test: the test split.
        clock: counts the seconds of what is computed here.
    """

    dataset: DatasetName
    data_root: Path | None
    weights_path: Path
    model: AlexNet
    weights_hash: str
    test: ImageDataset
    clock: Stopwatch

    @functools.cached_property
    def training(self) -> ImageDataset:
        """The training split."""
        return load_dataset(self.dataset, "train", self.data_root)

    @functools.cached_property
    def network(self) -> Network:
        """The network as it is."""
        last = symbolic_layers(self.model)[0]
        cache = CACHE / f"metric-{self._key}-{last}"
        return Network(
            self.model,
            lambda: self._test_inputs(last),
            lambda count: self._sample(last, count),
            lambda count: self._all_right(last) if count is None else [self._metric_sample(last, count)],
            self.clock,
            cache,
        )

    @property
    def test_logits(self) -> torch.Tensor:
        """What the network says of the test images, float32 (T, C)."""
        return self.network.test_logits

    def test_logits_of(self, state: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `Network.test_logits_of`."""
        return self.network.test_logits_of(state)

    def training_labels(self, count: int) -> NDArray[np.int64]:
        """The labels of the sample of so many training images that `Network.training_inputs` gives."""
        return self.training.labels[choose(len(self.training), count, SAMPLE_SEED)]

    def metric(self, options: RepairOptions) -> Metric:
        """See `Network.metric`."""
        return self.network.metric(options)

    def layer_metric(self, layer: str, count: int | None = None) -> KroneckerMetric:
        """The metric of a layer from the training images that the network gets right, and their mirror images.

        Args:
            layer: its name.
            count: of how many images, with a larger ridge for these fit themselves; None for all.
        """
        with self.clock.phase("metric"):
            return self._layer_metric(layer, count)

    def moved(self, layer: str, change: torch.Tensor) -> Network:
        """The network with a change, (outputs, n + 1), added to the weight and bias of a hidden layer.

        What comes before the layer is as it was, so its cached inputs serve the new network.
        """
        state = dict(self.model.state_dict())
        for name, part in parameters_of(self.model.get_submodule(layer), change).items():
            state[f"{layer}.{name}"] = added(state[f"{layer}.{name}"], part)
        model = blank_alexnet(len(self.test.class_names))
        model.load_state_dict(state, assign=True)
        model.eval().requires_grad_(False)
        modules = from_layer(model, layer)[:-1]

        def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            return run_modules(modules, torch.from_numpy(np.array(inputs))).numpy()

        def metric_source(count: int | None) -> list[MetricSample]:
            sample = self._metric_sample(layer, MOVED_METRIC_IMAGES if count is None else count)
            return [replace(sample, inputs=run(sample.inputs))]

        return Network(
            model,
            lambda: run(self._test_inputs(layer)),
            lambda count: run(self._sample(layer, count)),
            metric_source,
            self.clock,
        )

    def training_accuracy(self, layer: str, change: torch.Tensor) -> float:
        """The accuracy on a sample of training images with a change, (outputs, n + 1), of a hidden layer.

        Only the images nearest to another answer are run; the others keep theirs.
        """
        doubtful, sure = self._doubtful
        inputs = torch.from_numpy(np.asarray(self._sample(layer, HIDDEN_SAMPLE)[doubtful]))
        module, *behind = from_layer(self.model, layer)
        logits = run_modules([moved_layer(module, change), *behind], inputs)
        right = is_right(logits, self.training_labels(HIDDEN_SAMPLE)[doubtful])
        return float(right.sum() + sure) / len(self.training_labels(HIDDEN_SAMPLE))

    @functools.cached_property
    def _doubtful(self) -> tuple[NDArray[np.int64], int]:
        """Positions in the sample of the images whose leads are nearest to zero; how many of the others are right."""
        logits = self._training_logits[choose(len(self.training), HIDDEN_SAMPLE, SAMPLE_SEED)]
        labels = self.training_labels(HIDDEN_SAMPLE)
        nearness = margins(logits, torch.from_numpy(labels)).abs().numpy()
        doubtful = np.sort(np.argsort(nearness, kind="stable")[:DOUBTFUL])
        right = is_right(logits, labels)
        return doubtful, int(right.sum() - right[doubtful].sum())

    def sample_inputs(self, layer: str) -> torch.Tensor:
        """What a layer of the classifier gets from the training images of `training_accuracy`, (R, n)."""
        return torch.from_numpy(np.array(self._sample(layer, HIDDEN_SAMPLE)))

    def sample_images(self) -> NDArray[np.uint8]:
        """Those training images, (R, 32, 32, 3)."""
        return self.training.images[choose(len(self.training), HIDDEN_SAMPLE, SAMPLE_SEED)]

    def linear(self, layer: str) -> nn.Linear:
        """A layer of the classifier."""
        found = self.model.get_submodule(layer)
        assert isinstance(found, nn.Linear)
        return found

    def layer_inputs(self, layer: str, images: torch.Tensor) -> torch.Tensor:
        """What a layer of the classifier gets from float32 images, (N, 3, 64, 64)."""
        seen: list[torch.Tensor] = []
        handle = self.model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            predict_logits(self.model, images)
        finally:
            handle.remove()
        return torch.cat(seen).clone()

    def check_layer(self, layer: str) -> None:
        """Raise `UsageError` unless that layer can be repaired."""
        possible = symbolic_layers(self.model)
        if layer not in possible:
            raise UsageError(f"--layer {layer} cannot be repaired; what can be is: {', '.join(possible)}.")

    @property
    def _key(self) -> str:
        return f"shared-{self.weights_hash[:16]}-{self.training.content_hash[:16]}"

    def _test_inputs(self, layer: str) -> NDArray[np.float32]:
        return layer_activations(self.model, self.weights_hash, layer, self.test).inputs

    def _sample(self, layer: str, count: int) -> NDArray[np.float32]:
        """What a layer gets from a fixed sample of training images, (R, n)."""
        chosen = choose(len(self.training), count, SAMPLE_SEED)
        return layer_activations(self.model, self.weights_hash, layer, self.training, chosen).inputs

    @functools.lru_cache(maxsize=2)  # noqa: B019  a workbench lives as long as its process
    def _layer_metric(self, layer: str, count: int | None) -> KroneckerMetric:
        ridge = RIDGE_OF_ALL if count is None else INPUT_RIDGE
        seen = functools.partial(self._right, layer, count, BATCH)
        cache = CACHE / f"layer-metric-{self._key}-{layer}-{count or 'all'}-{ridge:g}"
        return layer_metric(self.model, layer, lambda: (images for images, _ in seen()), ridge, cache)

    def _all_right(self, layer: str) -> Iterator[MetricSample]:
        """What a layer gets from all training images that the network gets right, and from their mirror images."""
        for images, labels in self._right(layer, None, MOMENT_BATCH):
            yield MetricSample(self.layer_inputs(layer, images).numpy(), labels, np.ones(len(labels)))

    def _right(self, layer: str, count: int | None, batch: int) -> Iterator[tuple[torch.Tensor, NDArray[np.int64]]]:
        """Up to ``count`` training images that the network gets right, in random order, float32; their labels.

        Each batch is followed by its mirror images. A mirrored digit is another sign.
        """
        order = self.right_training_images(len(self.training) if count is None else count)
        parts = np.array_split(order, -(-len(order) // batch))
        for chosen in tqdm(parts, desc=f"metric of {layer}", unit="batch", disable=None):
            images, labels = to_inputs(self.training.images[chosen]), self.training.labels[chosen]
            yield images, labels
            if self.dataset is not DatasetName.DIGITS:
                yield images.flip(3), labels

    def right_training_images(self, count: int) -> NDArray[np.int64]:
        """Positions of up to ``count`` training images that the network gets right, in random order."""
        right = np.flatnonzero(is_right(self._training_logits, self.training.labels))
        check_some_right(len(right))
        return np.random.default_rng(SAMPLE_SEED).permutation(right)[:count]

    def _metric_sample(self, layer: str, count: int) -> MetricSample:
        """What a layer gets from up to ``count`` of the training images that the network gets right.

        Half of them are those most in doubt, which count most; the others are drawn from the rest and stand for it.
        """
        labels = self.training.labels
        doubt = softmax_curvature(self._training_logits).numpy() * is_right(self._training_logits, labels)
        order = np.argsort(-doubt, kind="stable")[: np.count_nonzero(doubt)]
        check_some_right(len(order))
        first, rest = np.split(order, [count // 2])
        drawn = rest[choose(len(rest), count - count // 2, SAMPLE_SEED)] if len(rest) else rest
        shares = np.concatenate([np.ones(len(first)), np.full(len(drawn), len(rest) / max(len(drawn), 1))])
        chosen = np.concatenate([first, drawn])
        places = np.argsort(chosen)
        found = layer_activations(self.model, self.weights_hash, layer, self.training, chosen[places])
        return MetricSample(found.inputs, found.labels, shares[places])

    @functools.cached_property
    def _training_logits(self) -> torch.Tensor:
        """What the network says of all training images, float32 (R, C)."""
        path = CACHE / f"logits-{self.weights_hash[:16]}-{self.training.content_hash[:16]}-train.npy"
        logits = read_array(path)
        if logits is None or len(logits) != len(self.training):
            logits = predict_logits(self.model, self.training.images, progress="training images").numpy()
            write_array(path, logits)
        return torch.from_numpy(np.array(logits))


def open_workbench(
    dataset: DatasetName, data_root: Path | None, weights_path: Path, clock: Stopwatch | None = None
) -> Workbench:
    """Load a network and its test images.

    Raises:
        ToolError: images or weights are missing or damaged.
    """
    clock = clock or Stopwatch()
    with clock.phase("load"):
        test = load_dataset(dataset, "test", data_root)
        model = load_alexnet(weights_path, len(test.class_names))
        return Workbench(dataset, data_root, weights_path, model, weights_hash(model), test, clock)


def is_right(logits: torch.Tensor, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images are classified right, bool (N,)."""
    return np.asarray(logits.argmax(dim=1).numpy() == labels)
