"""What was tried to lose less, made anew: other metrics at the last layer, and other ways to prepare a hidden one.

Every variant repairs the same edit sets. The metrics of the last layer are of the same sample of training images; the
rule that ends the steps of stage one where training images suffer is off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.records import as_markdown
from benchmarks.stage_one import OPTIONS, drawdown_of, repaired
from edits.generalization import generalization
from edits.network import Network
from edits.options import AUTO_PREPARE
from edits.prepare import STEPS, Preparation, prepare
from edits.tail import added, parameters_of
from edits.training_metric import weighted_products
from edits.workbench import Workbench, open_workbench
from editset_helpers.building import select
from editset_helpers.edit_set import EditSet
from editset_helpers.regions import Region, with_copies
from editset_helpers.selection import Selection
from helpers.activations import linear_logits
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.evaluation import is_right, predict_logits
from helpers.spaced_lists import SpacedLists
from model_classes.alexnet import AlexNet, blank_alexnet
from model_classes.training import ensure_baseline
from sytorch import AffineOutputs, SecondMomentMetric, linearise, second_moment_metric, symbolic
from sytorch.arrays import Vector
from sytorch.ascent import ascend

SAMPLE = 20_000
ROUNDING = 1e-3
EARLIER = "classifier.1"
ENOUGH, ITERATIONS = 1e-4, 20_000
HEADER = ["edit images", "variant", "edit images right (%)", "drawdown (points)", "generalization (%)"]
Metrics = Callable[[Network], list[SecondMomentMetric]]

app = new_app(__doc__)


@dataclass(frozen=True, eq=False)
class Trial:
    """One edit set to repair."""

    bench: Workbench
    edit_set: EditSet


@dataclass(frozen=True, eq=False)
class Outcome:
    """A repaired network: its weights, what it says of the test images, and the first layer that changed."""

    state: dict[str, torch.Tensor]
    test_logits: torch.Tensor
    first_layer: str


@app.command(cls=SpacedLists)
@tells_failures
def main(
    *,
    sizes: Annotated[list[int] | None, typer.Option(help="Edit images. [default: 100]")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Which edit images; means are shown. [default: 0]")] = None,
    variants: Annotated[list[str] | None, typer.Option(help="Some of them, by their names. [default: all]")] = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
) -> None:
    """Print the table as Markdown."""
    bench = open_workbench(dataset, data_root, ensure_baseline(dataset, data_root, weights))
    lines = []
    for size in sizes or [100]:
        for name in variants or VARIANTS:
            say(f"{size} images: {name}")
            found = np.array([measured(bench, name, size, seed) for seed in seeds or [0]])
            right, _, copies = found.mean(axis=0)
            lost = ", ".join(f"{points + 0.0:.2f}" for points in found[:, 1])
            mean = f"{found[:, 1].mean() + 0.0:.2f}" + (f" ({lost})" if len(found) > 1 else "")
            lines.append([f"{size:,}", name, f"{right:.1f}", mean, f"{copies:.1f}"])
    print(as_markdown(HEADER, lines), end="")


def measured(bench: Workbench, variant: str, size: int, seed: int) -> tuple[float, float, float]:
    """Edit images right in per cent, drawdown in points, and copies right in per cent."""
    edit_set = select(Selection("misclassified", max_samples=size, seed=seed), bench.test, bench.test_logits)
    found = VARIANTS[variant](Trial(bench, edit_set))
    network = blank_alexnet(len(bench.test.class_names))
    network.load_state_dict(found.state, assign=True)
    right = is_right(predict_logits(network.eval(), edit_set.images), edit_set.labels.numpy()).mean()
    _, copies = generalization(bench, found.state, edit_set, found.first_layer)
    return 100 * float(right), drawdown_of(bench, edit_set, found.test_logits), 100 * copies


# Metrics of the last layer


@functools.lru_cache(maxsize=1)
def _sampled(network: Network) -> tuple[NDArray[np.float32], torch.Tensor, Vector]:
    """The last layer's inputs of training images that are right, their softmax's probabilities, and their shares."""
    [sample] = network.metric_source(SAMPLE)
    layer = network.model.get_submodule(OPTIONS.layer)
    logits = linear_logits(sample.inputs, layer.get_parameter("weight"), layer.get_parameter("bias"))
    return sample.inputs, logits.softmax(dim=1), sample.shares


def one_metric(network: Network, *, centred: bool) -> list[SecondMomentMetric]:
    """Of all classes alike: the second moment, or the covariance."""
    inputs, chances, shares = _sampled(network)
    weights = (1 - chances.square().sum(dim=1)).double().numpy() * shares
    moment = weighted_products(inputs, weights) / weights.sum()
    if centred:
        moment = moment - np.outer(moment[-1], moment[-1])
    return [second_moment_metric(moment, OPTIONS.ridge)]


def metric_of_each_class(network: Network) -> list[SecondMomentMetric]:
    """One for each class's logit: images weigh by the softmax's curvature in that logit."""
    inputs, chances, shares = _sampled(network)
    curvature = (chances * (1 - chances)).double().numpy() * shares[:, None]
    total = curvature.sum(axis=0).mean()
    return [
        second_moment_metric(weighted_products(inputs, of_class) / total, OPTIONS.ridge) for of_class in curvature.T
    ]


def last_layer_alone(trial: Trial, metrics: Metrics) -> Outcome:
    """The least change in metrics, one for each class or one for all."""
    return _in_metrics(trial, trial.bench.network, metrics, OPTIONS.layer)


def _in_metrics(trial: Trial, network: Network, metrics: Metrics, first_layer: str) -> Outcome:
    outputs = symbolic(network.model, OPTIONS.layer)(trial.edit_set.images)
    change = least_change(outputs, trial.edit_set.labels, metrics(network), OPTIONS.margin + ROUNDING)
    state = dict(network.model.state_dict())
    for name, part in parameters_of(network.model.get_submodule(OPTIONS.layer), change).items():
        state[f"{OPTIONS.layer}.{name}"] = added(state[f"{OPTIONS.layer}.{name}"], part)
    return Outcome(state, network.test_logits_of(state), first_layer)


def least_change(
    outputs: AffineOutputs, labels: torch.Tensor, metrics: list[SecondMomentMetric], margin: float
) -> torch.Tensor:
    """The change, (C, n + 1), with the least sum over classes of ``d_c M_c d_c`` that gives every lead the margin.

    By the dual: two leads' inner product sums over the classes that both move.
    """
    logits, inputs = torch.from_numpy(outputs.logits), torch.from_numpy(outputs.inputs)
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], False)
    images, rivals = torch.nonzero(others, as_tuple=True)
    classes = torch.eye(logits.shape[1], dtype=logits.dtype)
    moved = classes[labels[images]] - classes[rivals]
    solved = [torch.from_numpy(metric.solve(outputs.inputs.T).T.copy()) for metric in metrics]
    gram = torch.zeros(len(images), len(images), dtype=logits.dtype)
    for number in range(logits.shape[1]):
        kernel = inputs @ solved[number % len(solved)].T
        gram += torch.outer(moved[:, number], moved[:, number]) * kernel[images][:, images]
    needed = margin - (logits[images, labels[images]] - logits[images, rivals])
    multipliers, _ = ascend(gram, needed, ENOUGH * margin, ITERATIONS)
    weights = torch.zeros_like(logits).index_add_(0, images, multipliers[:, None] * moved)
    return torch.stack([weights[:, number] @ solved[number % len(solved)] for number in range(logits.shape[1])])


# Ways of stage one; the last layer after it is the program that every repair has


def prepared(
    trial: Trial,
    model: AlexNet,
    layer: str,
    *,
    steps: int = STEPS,
    margin: float = OPTIONS.margin,
    region: Region | None = None,
) -> Preparation:
    """Stage one in a layer of a model, on the edit images and their copies."""
    seen = trial.edit_set if region is None else with_copies(trial.edit_set, region, trial.bench.test)
    return prepare(
        linearise(model, layer, seen.images, dtype=torch.float32),
        seen.labels,
        trial.bench.layer_metric(layer),
        margin=margin,
        bound=OPTIONS.param_bound,
        training_accuracy=lambda _: 1.0,
        steps=steps,
    )


def one_layer(
    trial: Trial,
    *,
    margin: float = OPTIONS.margin,
    region: Region | None = None,
    metrics: Metrics | None = None,
) -> Outcome:
    """The hidden layer of the default; the last layer's metrics may be others than its own."""
    bench = trial.bench
    change = prepared(trial, bench.model, AUTO_PREPARE, margin=margin, region=region).change
    network = bench.moved(AUTO_PREPARE, change)
    if metrics is not None:
        return _in_metrics(trial, network, metrics, AUTO_PREPARE)
    return _finished(trial, network, AUTO_PREPARE)


def two_layers(trial: Trial, *, steps: int) -> Outcome:
    """Some steps in an earlier hidden layer, then those of the default."""
    bench = trial.bench
    network = bench.moved(EARLIER, prepared(trial, bench.model, EARLIER, steps=steps).change)
    change = prepared(trial, network.model, AUTO_PREPARE).change
    layer = network.model.get_submodule(AUTO_PREPARE)
    parts = parameters_of(layer, change)
    layer.load_state_dict({name: added(layer.get_parameter(name), part) for name, part in parts.items()}, assign=True)
    layer.requires_grad_(False)
    return _finished(trial, network, EARLIER)


def _finished(trial: Trial, network: Network, first_layer: str) -> Outcome:
    state = repaired(trial.bench, trial.edit_set, network)
    return Outcome(state, network.test_logits_of(state), first_layer)


VARIANTS: dict[str, Callable[[Trial], Outcome]] = {
    "last layer alone: second moment": functools.partial(
        last_layer_alone, metrics=functools.partial(one_metric, centred=False)
    ),
    "last layer alone: covariance": functools.partial(
        last_layer_alone, metrics=functools.partial(one_metric, centred=True)
    ),
    "last layer alone: one metric for each class": functools.partial(last_layer_alone, metrics=metric_of_each_class),
    "stage one: as it is": one_layer,
    "stage one, then one metric for each class": functools.partial(one_layer, metrics=metric_of_each_class),
    "stage one goes for a margin of 1": functools.partial(one_layer, margin=1.0),
    "stage one goes for a margin of 3": functools.partial(one_layer, margin=3.0),
    "two steps in classifier.1 before": functools.partial(two_layers, steps=2),
    "six steps in classifier.1 before": functools.partial(two_layers, steps=6),
    "stage one with mirrored copies": functools.partial(one_layer, region=Region(flip=True)),
    "stage one with shifted copies": functools.partial(one_layer, region=Region(shifts=1)),
}


if __name__ == "__main__":
    app()
