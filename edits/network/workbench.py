"""Everything about one network and its images that repairs share: loaded once, however many repairs follow."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edits.network.applying import added
from edits.network.hidden_units import CACHE_BYTES, NO_IMAGES, HiddenUnits, behind_relu
from edits.network.prepared import Network
from edits.network.training_images import TrainingImages
from edits.network.training_metric import MetricSample, cached_metric
from edits.options import LAST_LAYER, PLANTED_LAYER, RepairOptions
from helpers.activations import batches, layer_activations
from helpers.array_cache import cache_path
from helpers.cli import DatasetName
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import spec_of
from helpers.remembering import Grid, Rows, remembers
from helpers.stopwatch import Stopwatch
from model_classes.alexnet import AlexNet, alexnet_of, load_alexnet
from model_classes.weights import weights_hash
from sytorch import KroneckerMetric, Metric, symbolic_layers
from sytorch.metrics.kronecker import INPUT_RIDGE, OUTPUT_RIDGE
from sytorch.problem.arrays import Indices
from sytorch.spare_units.planting import Planting

ROOM_OF_INPUTS = 256 * 2**20  # bytes, for what the last layer gets from images that were asked for; 16,000


@dataclass(frozen=True, eq=False)
class Workbench:
    """A network, its test images, and what is computed from them on first use.

    Nothing that it keeps refers to it: a cycle would keep hundreds of megabytes until the garbage is collected.

    Attributes:
        dataset, data_root: where the images come from.
        weights_path: the network's file.
        model: in evaluation mode; nothing here changes it.
        weights_hash: names the model.
        test: the test split.
        clock: counts the seconds of what is computed here.
        repeats: whether other repairs follow, for which half a gigabyte is kept of what one has looked at.
    """

    dataset: DatasetName
    data_root: Path | None
    weights_path: Path
    model: AlexNet
    weights_hash: str
    test: ImageDataset
    clock: Stopwatch
    repeats: bool = field(default=True, kw_only=True)

    @functools.cached_property
    def training(self) -> ImageDataset:
        """The training split."""
        return load_dataset(self.dataset, "train", self.data_root, self.test.spec)

    @functools.cached_property
    def training_images(self) -> TrainingImages:
        """The training split as the network sees it."""
        return TrainingImages(self.model, self.weights_hash, self.training, self.dataset is not DatasetName.DIGITS)

    @functools.cached_property
    def network(self) -> Network:
        """The network as it is."""
        last, seen = symbolic_layers(self.model)[0], self.training_images
        model, digest, test = self.model, self.weights_hash, self.test

        def source(count: int | None) -> Iterator[MetricSample]:
            return seen.all_right(last) if count is None else seen.some_right(last, count)

        return Network(
            model,
            lambda: batches(layer_activations(model, digest, last, test, also=[PLANTED_LAYER])),
            self.clock,
            training=(source, {**seen.facts, "layer": last}),
        )

    def hidden_units(self, layer: str, count: int) -> HiddenUnits:
        """The units of the last hidden layer on so many training images."""
        return self._same_units(layer, count) if self.repeats else self._units(layer, count)

    @remembers(1)
    def _same_units(self, layer: str, count: int) -> HiddenUnits:
        return self._units(layer, count)

    def _units(self, layer: str, count: int) -> HiddenUnits:
        return HiddenUnits(self.training_images, layer, self.linear(layer), self.linear(self.network.last_layer), count)

    @property
    def test_logits(self) -> torch.Tensor:
        """What the network says of the test images, float32 (T, C)."""
        return self.network.test_logits

    def metric(self, options: RepairOptions) -> Metric:
        """See `Network.metric`."""
        return self.network.metric(options)

    def layer_metric(self, layer: str, count: int) -> KroneckerMetric:
        """The metric of a layer from the training images that the network gets right, and their mirror images.

        Args:
            layer: its name.
            count: of how many images.
        """
        with self.clock.phase("metric"):
            return self._layer_metric(layer, count)

    def layer_metric_files(self, layer: str, count: int) -> tuple[Path, Path]:
        """Where the factors of that metric's inputs and outputs are kept, if they are."""
        facts = {**self.training_images.facts, "count": count, "ridge": INPUT_RIDGE, "output_ridge": OUTPUT_RIDGE}
        kind = f"metric-{layer}"
        return cache_path(kind, **facts, factor="inputs"), cache_path(kind, **facts, factor="outputs")

    def planted(
        self, units: HiddenUnits, planting: Planting, ridge: float, edited: NDArray[np.int64] = NO_IMAGES
    ) -> Network:
        """The network with some units of the last hidden layer planted anew.

        What comes before the layer is as it was, and so are its other units.

        Args:
            units: of the layer.
            planting: which units, and how they change.
            ridge: of the last layer's metric, see `HiddenUnits.metric_with`.
            edited: training images that are in the edit set.
        """
        places, layer = planting.units, units.layer
        state = dict(self.model.state_dict())
        change = torch.from_numpy(planting.change)
        for name, part in (("weight", change[:, :-1]), ("bias", change[:, -1])):
            entry = f"{layer}.{name}"
            rows = added(state[entry][places], part)
            state[entry] = state[entry].index_copy(0, torch.from_numpy(places), rows)
        network = self.with_units(state, layer, places)
        with self.clock.phase("metric"):
            metric = units.metric_with(places, units.values_of(unit_rows(state, layer, places)), ridge, edited)
        return replace(network, own_metric=metric, planted=np.sort(places))

    def with_units(self, state: dict[str, torch.Tensor], layer: str, places: Indices) -> Network:
        """Another network, which differs in the last layer and in some units of the last hidden one at most.

        Args:
            state: its weights.
            layer: the hidden layer.
            places: the positions of these units.
        """

        @functools.cache
        def units() -> NDArray[np.float32]:
            if not len(places):
                return np.zeros((len(self.test), 0), dtype=np.float32)
            return np.asarray(self._on_test_images(layer).of(unit_rows(state, layer, places)).numpy().T)

        def test_inputs() -> Iterator[NDArray[np.float32]]:
            seen = self.layer_inputs_of_test_images(self.network.last_layer)
            return (with_columns(*parts, places) for parts in zip(batches(seen), batches(units()), strict=True))

        return Network(alexnet_of(state), test_inputs, self.clock, units_on_test=units)

    def last_inputs(
        self,
        channels: torch.Tensor,
        state: dict[str, torch.Tensor] | None = None,
        units: Indices = NO_IMAGES,
        *,
        known: bool = False,
    ) -> NDArray[np.float32]:
        """What the last layer gets from images, whose channels are (N, k): (N, n).

        Args:
            channels: of the images.
            state: the weights of a network with other units of the last hidden layer; None for this one.
            units: the positions of these units, (U,).
            known: take what is known of images from before. Their last digits then depend on what was asked before, so
                this is for counting alone: a sweep that was stopped and goes on has to give the same weights.
        """
        behind = self.training_images.channels.behind
        seen = (self._last_inputs.of(channels) if known else behind(self.network.last_layer, channels)).numpy()
        if state is not None and len(units):
            rows = unit_rows(state, PLANTED_LAYER, units)
            values = self._unit_values.of if known else self._make_unit_values
            seen[:, units] = values(channels, rows).numpy()
        return seen

    def _make_unit_values(self, channels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return behind_relu(rows, self.training_images.channels.behind(PLANTED_LAYER, channels).numpy())

    # What functions of rows capture is never this object, see `Channels`.

    @functools.cached_property
    def _last_inputs(self) -> Rows:
        channels, last = self.training_images.channels, self.network.last_layer
        return Rows(lambda images: channels.behind(last, images), ROOM_OF_INPUTS)

    @functools.cached_property
    def _unit_values(self) -> Grid:
        channels = self.training_images.channels
        return Grid(lambda images, rows: behind_relu(rows, channels.behind(PLANTED_LAYER, images).numpy()), CACHE_BYTES)

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
        also = [PLANTED_LAYER] if layer == self.network.last_layer else []
        return layer_activations(self.model, self.weights_hash, layer, self.test, also=also)

    @remembers(1)
    def _on_test_images(self, layer: str) -> Rows:
        """What units of a hidden layer are on the test images, by their rows: earlier detectors stay as they are."""
        inputs = self.layer_inputs_of_test_images(layer)
        return Rows(lambda rows: behind_relu(rows, inputs).T, CACHE_BYTES)

    @remembers(2)
    def _layer_metric(self, layer: str, count: int) -> KroneckerMetric:
        seen = self.training_images
        width = len(self.model.get_parameter(f"{layer}.weight"))
        paths = self.layer_metric_files(layer, count)
        return cached_metric(lambda: seen.metric(layer, seen.right(count), (INPUT_RIDGE, OUTPUT_RIDGE)), paths, width)


def with_columns(rows: NDArray[np.float32], columns: NDArray[np.float32], places: Indices) -> NDArray[np.float32]:
    """A copy of a matrix, (N, n), with other columns, (N, U), at some places, (U,)."""
    copy = np.array(rows)
    copy[:, places] = columns
    return copy


def last_layer_of(state: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Its weight, (C, n), and its bias, (C,)."""
    return state[f"{LAST_LAYER}.weight"], state[f"{LAST_LAYER}.bias"]


def changed_units(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> Indices:
    """The positions of units of the last hidden layer whose weights differ, (U,)."""
    weights, biases = (after[name] != before[name] for name in (f"{PLANTED_LAYER}.weight", f"{PLANTED_LAYER}.bias"))
    return np.flatnonzero((weights.any(dim=1) | biases).numpy())


def unit_rows(state: dict[str, torch.Tensor], layer: str, places: Indices) -> torch.Tensor:
    """The weights of some units of a layer, the bias last, (U, k + 1)."""
    weight, bias = (state[f"{layer}.{name}"][places] for name in ("weight", "bias"))
    return torch.cat([weight, bias[:, None]], dim=1)


def open_workbench(dataset: DatasetName, data_root: Path | None, weights_path: Path) -> Workbench:
    """Load a network and its test images.

    Raises:
        ToolError: images or weights are missing or damaged.
    """
    clock = Stopwatch()
    with clock.phase("load"):
        test = load_dataset(dataset, "test", data_root, spec_of(weights_path))
        model = load_alexnet(weights_path, len(test.class_names))
        return Workbench(dataset, data_root, weights_path, model, weights_hash(model), test, clock)


def untrained_workbench(dataset: DatasetName, data_root: Path | None, weights_path: Path) -> Workbench:
    """The same for weights that are not there yet: what is asked can be looked at before they are trained."""
    test = load_dataset(dataset, "test", data_root, spec_of(weights_path))
    model = AlexNet(len(test.class_names)).eval().requires_grad_(False)
    return Workbench(dataset, data_root, weights_path, model, "", test, Stopwatch())
