"""Everything about one network and its images that repairs share: loaded once, however many repairs follow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edits.options import RepairOptions
from edits.training_metric import training_metric
from helpers.activations import layer_activations, linear_logits
from helpers.cli import DatasetName
from helpers.datasets import ImageDataset, load_dataset
from helpers.errors import UsageError
from helpers.stopwatch import Stopwatch
from model_classes.alexnet import AlexNet, load_alexnet
from model_classes.weights import weights_hash
from sytorch import IdentityMetric, Metric, symbolic_layers


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
    def test_logits(self) -> torch.Tensor:
        """What the network says of the test images, float32 (T, C)."""
        return self.test_logits_of(self.model.state_dict())

    @functools.cached_property
    def last_layer(self) -> str:
        """The name of the last layer."""
        return symbolic_layers(self.model)[0]

    def test_logits_of(self, state: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the network says of the test images with another last layer, from cached activations.

        Args:
            state: a state dict that differs from the model's in the last layer at most.
        """
        with self.clock.phase("activations"):
            seen = layer_activations(self.model, self.weights_hash, self.last_layer, self.test)
        with self.clock.phase("evaluate"):
            return linear_logits(seen.inputs, *(state[f"{self.last_layer}.{part}"] for part in ("weight", "bias")))

    def metric(self, options: RepairOptions) -> Metric:
        """The metric that the options name, for the layer that they name."""
        if options.metric == "identity":
            return IdentityMetric()
        with self.clock.phase("metric"):
            return self._training_metric(options.layer, options.metric_images, options.ridge)

    def check_layer(self, layer: str) -> None:
        """Raise `UsageError` unless that layer can be repaired."""
        possible = symbolic_layers(self.model)
        if layer not in possible:
            raise UsageError(f"--layer {layer} cannot be repaired; what can be is: {', '.join(possible)}.")

    @functools.lru_cache(maxsize=1)  # noqa: B019  a workbench lives as long as its process
    def _training_metric(self, layer: str, images: int, ridge: float) -> Metric:
        training = load_dataset(self.dataset, "train", self.data_root)
        options = RepairOptions(layer=layer, metric_images=images, ridge=ridge)
        return training_metric(self.model, self.weights_hash, training, options)


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


def is_right(logits: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """Which images are classified right, bool (N,)."""
    return np.asarray(logits.argmax(dim=1).numpy() == labels)
