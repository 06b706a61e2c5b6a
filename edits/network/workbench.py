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

from edits.network.layer_metric import cached_metric
from edits.network.prepared import Network
from edits.network.tail import added, from_layer, parameters_of, run_modules
from edits.network.training_images import MOMENT_BATCH, TrainingImages
from edits.network.training_metric import MetricSample
from edits.options import RepairOptions
from helpers.activations import layer_activations
from helpers.cli import DatasetName
from helpers.errors import UsageError
from helpers.files.array_cache import cache_path
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.remembering import remembers
from helpers.stopwatch import Stopwatch
from model_classes.alexnet import AlexNet, blank_alexnet, load_alexnet
from model_classes.weights import weights_hash
from sytorch import KroneckerMetric, Metric, symbolic_layers
from sytorch.metrics.kronecker import INPUT_RIDGE, OUTPUT_RIDGE
from sytorch.network.layer_change import LayerChange

MOVED_METRIC_IMAGES = 20_000
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
    def training_images(self) -> TrainingImages:
        """The training split as the network sees it."""
        return TrainingImages(self.model, self.weights_hash, self.training, self.dataset is not DatasetName.DIGITS)

    @functools.cached_property
    def network(self) -> Network:
        """The network as it is."""
        last, seen = symbolic_layers(self.model)[0], self.training_images
        return Network(
            self.model,
            lambda: self.layer_inputs_of_test_images(last),
            lambda count: seen.all_right(last) if count is None else seen.some_right(last, count),
            self.clock,
            {**seen.facts, "layer": last},
        )

    @property
    def test_logits(self) -> torch.Tensor:
        """What the network says of the test images, float32 (T, C)."""
        return self.network.test_logits

    def test_logits_of(self, state: dict[str, torch.Tensor]) -> torch.Tensor:
        """See `Network.test_logits_of`."""
        return self.network.test_logits_of(state)

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

    def layer_metric_files(self, layer: str, count: int | None = None) -> tuple[Path, Path]:
        """Where the factors of that metric's inputs and outputs are kept, if they are."""
        ridge = RIDGE_OF_ALL if count is None else INPUT_RIDGE
        facts = {**self.training_images.facts, "count": count, "ridge": ridge, "output_ridge": OUTPUT_RIDGE}
        kind = f"metric-{layer}"
        return cache_path(kind, **facts, factor="inputs"), cache_path(kind, **facts, factor="outputs")

    def fill_cache(self, layer: str) -> None:
        """Compute what every preparation in a hidden layer looks up in the cache."""
        self.layer_metric(layer)
        self.training_images.fill_cache(layer, MOVED_METRIC_IMAGES)

    def moved(self, layer: str, change: LayerChange) -> Network:
        """The network with a change added to the weight and bias of a hidden linear layer.

        What comes before the layer is as it was, so its cached inputs serve the new network.
        """
        state = dict(self.model.state_dict())
        for name, part in parameters_of(self.model.get_submodule(layer), change.whole).items():
            state[f"{layer}.{name}"] = added(state[f"{layer}.{name}"], part)
        model = blank_alexnet(len(self.test.class_names))
        model.load_state_dict(state, assign=True)
        model.eval().requires_grad_(False)
        modules = from_layer(model, layer)[:-1]

        def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            return run_modules(modules, torch.from_numpy(inputs)).numpy()

        def metric_source(count: int | None) -> Iterator[MetricSample]:
            seen, count = self.training_images, MOVED_METRIC_IMAGES if count is None else count
            if not change.is_thin:
                yield from (replace(sample, inputs=run(sample.inputs)) for sample in seen.some_right(layer, count))
                return
            unmoved = torch.split(torch.from_numpy(seen.outputs_of_some_right(layer, count)), MOMENT_BATCH)
            for sample, before in zip(seen.some_right(layer, count), unmoved, strict=True):
                moves = change.moves(torch.from_numpy(sample.inputs))
                yield replace(sample, inputs=run_modules(modules[1:], before + moves).numpy())

        return Network(
            model,
            lambda: run(self.layer_inputs_of_test_images(layer)),
            metric_source,
            self.clock,
        )

    def linear(self, layer: str) -> nn.Linear:
        """A layer of the classifier."""
        found = self.model.get_submodule(layer)
        assert isinstance(found, nn.Linear)
        return found

    def check_layer(self, layer: str) -> None:
        """Raise `UsageError` unless that layer can be repaired."""
        possible = symbolic_layers(self.model)
        if layer not in possible:
            raise UsageError(f"--layer {layer} cannot be repaired; what can be is: {', '.join(possible)}.")

    def layer_inputs_of_test_images(self, layer: str) -> NDArray[np.float32]:
        """What a linear layer gets from the test images, (T, n)."""
        return layer_activations(self.model, self.weights_hash, layer, self.test).inputs

    @remembers(2)
    def _layer_metric(self, layer: str, count: int | None) -> KroneckerMetric:
        seen = self.training_images
        ridge = RIDGE_OF_ALL if count is None else INPUT_RIDGE
        width = len(self.model.get_parameter(f"{layer}.weight"))
        paths = self.layer_metric_files(layer, count)
        return cached_metric(lambda: seen.metric(layer, seen.right(count), (ridge, OUTPUT_RIDGE)), paths, width)


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
