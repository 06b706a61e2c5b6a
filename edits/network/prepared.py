"""A network as the repair of its last layer sees it: what that layer gets from training and from test images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edits.network.training_metric import MetricSample, per_class_metric, training_metric
from edits.options import RepairOptions
from helpers.activations import linear_logits
from helpers.array_cache import Fact, cache_path
from helpers.remembering import remembers
from helpers.stopwatch import Stopwatch
from model_classes.alexnet import AlexNet
from sytorch import AffineOutputs, IdentityMetric, Metric, symbolic_layers
from sytorch.problem.arrays import Indices
from sytorch.problem.outputs import append_one

Batches = Callable[[], Iterable[NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Network:
    """A network with the inputs of its last layer.

    Attributes:
        model: in evaluation mode; nothing here changes it.
        test_source: gives the last layer's inputs for the test images, (`BATCH_SIZE`, n) at a time.
        clock: counts the seconds.
        training: what metrics are taken from, so many images at most, some at a time, for None all; and what decides
            a metric, for the name of its file.
        own_metric: the only metric of a network whose hidden layer was changed; None where there is none.
        planted: the units of that layer that are others than before, ascending; none by default.
        units_on_test: gives what units of that layer that may be others than before are on the test images, (T, U).
    """

    model: AlexNet
    test_source: Batches
    clock: Stopwatch
    training: tuple[Callable[[int | None], Iterable[MetricSample]], Mapping[str, Fact]] | None = None
    own_metric: Metric | None = None
    planted: Indices | None = None
    units_on_test: Callable[[], NDArray[np.float32]] | None = None

    @functools.cached_property
    def last_layer(self) -> str:
        """The name of the last layer."""
        return symbolic_layers(self.model)[0]

    @functools.cached_property
    def test_logits(self) -> torch.Tensor:
        """What the network says of the test images, float32 (T, C)."""
        return self.test_logits_of(self.model.state_dict())

    def test_logits_of(self, state: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the network says of the test images with another last layer.

        Args:
            state: a state dict that differs from the model's in the last layer at most.
        """
        with self.clock.phase("activations"):
            batches = self.test_source()
        with self.clock.phase("evaluate"):
            return torch.cat([self._last_layer(batch, state) for batch in batches])

    def outputs(self, inputs: NDArray[np.float32]) -> AffineOutputs:
        """The logits as functions of the last layer's change, for what it gets from images, (N, n)."""
        logits = self._last_layer(inputs, self.model.state_dict())
        return AffineOutputs(logits.double().numpy(), append_one(inputs))

    def metric(self, options: RepairOptions) -> Metric:
        """The last layer's metric that the options name."""
        if self.own_metric is not None:
            return self.own_metric
        if options.metric == "identity":
            return IdentityMetric()
        with self.clock.phase("metric"):
            per_class, file = options.metric == "per-class", self.metric_file(options)
            return self._training_metric(options.metric_images, options.ridge, per_class, file)

    def metric_file(self, options: RepairOptions) -> Path | None:
        """Where the factor of that metric is kept, if it is."""
        if self.training is None:
            return None
        per_class = options.metric == "per-class"
        return cache_path(
            "factors", **self.training[1], count=options.metric_images, ridge=options.ridge, per_class=per_class
        )

    @remembers(1)
    def _training_metric(self, images: int | None, ridge: float, per_class: bool, cache: Path | None) -> Metric:
        assert self.training is not None
        layer, (source, _) = self.model.get_submodule(self.last_layer), self.training
        compute = per_class_metric if per_class else training_metric
        return compute(layer, lambda: source(images), ridge, cache)

    def _last_layer(self, inputs: NDArray[np.float32], state: dict[str, torch.Tensor]) -> torch.Tensor:
        return linear_logits(inputs, *(state[f"{self.last_layer}.{part}"] for part in ("weight", "bias")))
