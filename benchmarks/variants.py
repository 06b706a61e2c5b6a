"""What was tried to lose less, made anew: other metrics at the last layer, and other ways to prepare a hidden one.

Every variant repairs the same edit sets. The metrics of the last layer are of the same sample of training images; the
rule that ends the steps of stage one where training images suffer is off.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.records import as_markdown
from benchmarks.stage_one import OPTIONS, drawdown_of
from edits.generalization import generalization
from edits.layer_change import LayerChange
from edits.network import Network
from edits.options import AUTO_PREPARE, MetricName
from edits.prepare import STEPS, Preparation, prepare
from edits.repair import apply_changes, compute_repair, margins_asked, rounding_allowance
from edits.tail import added, parameters_of
from edits.workbench import Workbench, open_workbench
from editset_helpers.building import select
from editset_helpers.copies import with_copies
from editset_helpers.edit_set import EditSet
from editset_helpers.regions import Region
from editset_helpers.selection import Selection
from helpers.cli import DataRootOption, DatasetName, DatasetOption, WeightsOption, new_app, say, tells_failures
from helpers.evaluation import is_right, predict_logits
from helpers.spaced_lists import SpacedLists
from model_classes.alexnet import AlexNet, blank_alexnet
from model_classes.training import ensure_baseline
from sytorch import Metric, SecondMomentMetric, linearise, second_moment_metric, solver_named, symbolic

SAMPLE = 20_000
EARLIER = "classifier.1"
HEADER = ["edit images", "variant", "edit images right (%)", "drawdown (points)", "generalization (%)"]

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


# The last layer


def sampled(network: Network, *, metric: MetricName) -> Metric:
    """One of the toolkit's metrics from the same sample; it is not worth keeping."""
    return replace(network, cache=None).metric(replace(OPTIONS, metric=metric, metric_images=SAMPLE))


def covariance(network: Network) -> SecondMomentMetric:
    """The metric with its moment centred."""
    metric = sampled(network, metric="training")
    assert isinstance(metric, SecondMomentMetric)
    return centred(metric, OPTIONS.ridge)


def centred(metric: SecondMomentMetric, ridge: float) -> SecondMomentMetric:
    """The same of the inputs' covariance; the mean is the moment's last row, for the last input is the bias's 1.

    Args:
        metric: with its ridge.
        ridge: relative to the mean diagonal of either moment.
    """
    factor = np.tril(metric.factor)
    moment = factor @ factor.T
    moment[np.diag_indices_from(moment)] -= ridge / (1 + ridge) * moment.diagonal().mean()
    return second_moment_metric(moment - np.outer(moment[-1], moment[-1]), ridge)


def last_layer(trial: Trial, network: Network, metric: Metric, first_layer: str) -> Outcome:
    """The repair at the last layer of a network."""
    outputs = symbolic(network.model, OPTIONS.layer)(trial.edit_set.images)
    margins = margins_asked(outputs, trial.edit_set.labels, OPTIONS.margin, rounding_allowance(outputs))
    repair = compute_repair(margins, OPTIONS, metric, solver=solver_named(OPTIONS.solver))
    state = apply_changes(network.model, repair.changes, OPTIONS.param_bound)
    return Outcome(state, network.test_logits_of(state), first_layer)


def last_layer_alone(trial: Trial, metric_of: Callable[[Network], Metric]) -> Outcome:
    """Without stage one."""
    network = trial.bench.network
    return last_layer(trial, network, metric_of(network), OPTIONS.layer)


# Ways of stage one


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
    metric: MetricName = "training",
) -> Outcome:
    """The hidden layer of the default, and then the last."""
    bench = trial.bench
    change = prepared(trial, bench.model, AUTO_PREPARE, margin=margin, region=region).change
    network = bench.moved(AUTO_PREPARE, change)
    return last_layer(trial, network, sampled(network, metric=metric), AUTO_PREPARE)


def growing_margin(trial: Trial, *, first: float) -> Outcome:
    """Each step goes for a larger margin than the one before, the last for the whole."""
    bench = trial.bench
    network, total = bench.network, torch.zeros(())
    for margin in np.linspace(first, OPTIONS.margin, STEPS):
        total = total + prepared(trial, network.model, AUTO_PREPARE, steps=1, margin=float(margin)).change.whole
        network = bench.moved(AUTO_PREPARE, LayerChange(total))
    return last_layer(trial, network, sampled(network, metric="training"), AUTO_PREPARE)


def two_layers(trial: Trial, *, steps: int) -> Outcome:
    """Some steps in an earlier hidden layer, then those of the default."""
    bench = trial.bench
    network = bench.moved(EARLIER, prepared(trial, bench.model, EARLIER, steps=steps).change)
    change = prepared(trial, network.model, AUTO_PREPARE).change.whole
    layer = network.model.get_submodule(AUTO_PREPARE)
    parts = parameters_of(layer, change)
    layer.load_state_dict({name: added(layer.get_parameter(name), part) for name, part in parts.items()}, assign=True)
    layer.requires_grad_(False)
    return last_layer(trial, network, sampled(network, metric="training"), EARLIER)


VARIANTS: dict[str, Callable[[Trial], Outcome]] = {
    "last layer alone: second moment": functools.partial(
        last_layer_alone, metric_of=functools.partial(sampled, metric="training")
    ),
    "last layer alone: covariance": functools.partial(last_layer_alone, metric_of=covariance),
    "last layer alone: one metric for each class": functools.partial(
        last_layer_alone, metric_of=functools.partial(sampled, metric="per-class")
    ),
    "stage one: as it is": one_layer,
    "stage one, then one metric for each class": functools.partial(one_layer, metric="per-class"),
    "stage one goes for a margin of 1": functools.partial(one_layer, margin=1.0),
    "stage one goes for a margin of 3": functools.partial(one_layer, margin=3.0),
    "stage one goes for margins from 0.5 to 2": functools.partial(growing_margin, first=0.5),
    "two steps in classifier.1 before": functools.partial(two_layers, steps=2),
    "six steps in classifier.1 before": functools.partial(two_layers, steps=6),
    "stage one with mirrored copies": functools.partial(one_layer, region=Region(flip=True)),
    "stage one with shifted copies": functools.partial(one_layer, region=Region(shifts=1)),
}


if __name__ == "__main__":
    app()
