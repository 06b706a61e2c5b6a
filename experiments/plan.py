"""The experiments of a sweep: every combination of what was asked, each with a name that says what it is."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edits.options import KeepWeights, MetricName, NormName, RepairOptions, norm_for
from experiments.experiment import Context, Experiment, SetType, Sizing
from helpers.files.places import link_target
from helpers.images.source import Split

# Of what a name says; a change of what the same words compute makes it another.
FORMAT = 2
FORMER_OPTIONS = {
    *("layer", "param_bound", "margin", "norm", "metric", "solver", "time_limit", "whole_program", "metric_images"),
    *("ridge", "prepare", "keep", "pattern", "region", "prepare_copies"),
}


@dataclass(frozen=True)
class Sweep:
    """What to combine; every combination is one experiment.

    Attributes:
        sizes, types, classes, param_bounds, margins, norms, metrics, layers, seeds: the values to combine. Classes are
            positions, and combined with the types of one class only. Without norms each size has its usual one.
        fixed: the options of all, but for those that are combined.
        sizing, keep_weights: the same for all.
        predicted_class, split: which images qualify, the same for all; see `Experiment`.
        beside: how many images every experiment repairs besides those of its size.
        sequence: how many repairs are made one upon the other, each of images that the last one left wrong; 0 for
            repairs that stand alone.
    """

    sizes: tuple[int, ...]
    types: tuple[SetType, ...]
    classes: tuple[int, ...]
    param_bounds: tuple[float, ...] = (5.0,)
    margins: tuple[float, ...] = (2.0,)
    norms: tuple[NormName, ...] = ()
    metrics: tuple[MetricName, ...] = ("training",)
    layers: tuple[str, ...] = ("classifier.6",)
    seeds: tuple[int, ...] = (0,)
    fixed: RepairOptions = field(default_factory=RepairOptions)
    sizing: Sizing = Sizing.FLEXIBLE
    keep_weights: KeepWeights = "changed-layer"
    sequence: int = 0
    predicted_class: int | None = None
    split: Split = "test"
    beside: int = 0

    def programs(self, size: int) -> list[RepairOptions]:
        """Every combination of options for so many images; raises `UsageError` for a value that can never work."""
        norms = self.norms or (None,)
        listed = itertools.product(self.param_bounds, self.margins, norms, self.metrics, self.layers)
        return [
            replace(
                self.fixed,
                layer=layer,
                param_bound=bound,
                margin=margin,
                norm=norm or self.usual_norm(size, metric, layer),
                metric=metric,
            )
            for bound, margin, norm, metric, layer in listed
        ]

    def usual_norm(self, size: int, metric: MetricName, layer: str) -> NormName:
        """What is minimised for so many images where nobody says."""
        return norm_for((size + self.beside) * (1 + len(self.fixed.region.moves)), metric, layer)

    @property
    def needs_training_images(self) -> bool:
        """Whether they decide any result."""
        return self.split == "train" or any(
            needs_training_images(options) for size in self.sizes for options in self.programs(size)
        )


def plan(sweep: Sweep, context: Context) -> list[Experiment]:
    """Every experiment of a sweep, in the order of the table; a step of a sequence comes after the one before.

    Raises:
        UsageError: a bound, a margin or the time limit can never work.
    """
    images = [
        (kind, target)
        for kind in sweep.types
        for target in ((None,) if kind is SetType.MISCLASSIFIED else sweep.classes)
    ]
    sized = [(size, options) for size in sweep.sizes for options in sweep.programs(size)]
    combined = itertools.product(images, sized, sweep.seeds)
    alone = [
        Experiment(
            "",
            None,
            kind,
            target,
            size,
            seed,
            sweep.sizing,
            sweep.keep_weights,
            options,
            predicted_class=sweep.predicted_class,
            split=sweep.split,
        )
        for (kind, target), (size, options), seed in combined
    ]
    if not sweep.sequence:
        return [_named(experiment, context) for experiment in alone]
    return [step for first in alone for step in _steps(first, sweep, context)]


def _steps(first: Experiment, sweep: Sweep, context: Context) -> list[Experiment]:
    steps: list[Experiment] = []
    for iteration in range(1, sweep.sequence + 1):
        before, options = steps[-1].id if steps else None, first.options
        if not sweep.norms:
            norm = sweep.usual_norm(iteration * first.size, options.metric, options.layer)
            options = replace(options, norm=norm)
        steps.append(_named(replace(first, iteration=iteration, upon=before, options=options), context))
    return steps


def results_folder(table: Path) -> Path:
    """Where the weights and reports of a table go: a folder of its own, also among tables of one name.

    ``results/sweep.csv`` -> ``artifacts/experiments/sweep``; for a table that lies elsewhere the folder's name has
    eight digits of the place.
    """
    table = link_target(table).absolute()
    place = table.parent.resolve()
    here = Path.cwd().resolve()
    told = place.relative_to(here) if place.is_relative_to(here) else place
    name = table.stem if told == Path("results") else f"{table.stem}-{_digest(str(told))[:8]}"
    return Path("artifacts/experiments") / name


def needs_training_images(options: RepairOptions) -> bool:
    """Whether training images decide the result: by the metric, and by what is planted first."""
    return options.metric != "identity" or options.is_hidden


def _named(unnamed: Experiment, context: Context) -> Experiment:
    needs_training = unnamed.split == "train" or needs_training_images(unnamed.options)
    facts = {
        "format": FORMAT,
        "weights": context.weights_hash,
        "test images": context.images_hash,
        "training images": context.training_hash if needs_training else None,
        "asked": _asked(unnamed),
    }
    facts |= {"disputed": context.disputed} if context.disputed else {}
    facts |= {"also": [digest for _, digest in context.also]} if context.also else {}
    name = f"{unnamed.set_name}_{_digest(facts)[:12]}"
    return replace(unnamed, id=name, former_id=_former_id(unnamed, context))


def _asked(unnamed: Experiment) -> dict[str, Any]:
    """What decides the result, spelled as it once was (``keep``, ``held``, ...), so that older tables go on."""
    asked = asdict(unnamed)
    del asked["id"], asked["former_id"]
    if not unnamed.iteration:
        del asked["iteration"], asked["upon"]
    for name, usual in (("predicted_class", None), ("split", "test")):
        if asked[name] == usual:
            del asked[name]
    asked["keep"] = asked.pop("kept_weights")
    options = asked["options"]
    options |= {"keep": 0, "pattern": {"fixed": "held"}.get(unnamed.options.pattern, unnamed.options.pattern)}
    options |= {"prepare_copies": "none", "prepare": unnamed.options.preparation}
    if not unnamed.options.plants:
        del options["reach"]
    if unnamed.options.max_drawdown is None:
        del options["max_drawdown"]
    return asked


def _former_id(unnamed: Experiment, context: Context) -> str | None:
    """The name in format 1, which says nothing of training images: it holds where a data set has but one such split."""
    if (
        unnamed.iteration
        or unnamed.options.plants
        or context.disputed
        or context.also
        or unnamed.predicted_class is not None
        or unnamed.split != "test"
        or (context.data_root is not None and needs_training_images(unnamed.options))
    ):
        return None
    asked, usual = {**_asked(unnamed), "id": unnamed.id}, asdict(RepairOptions())
    for name in asked["options"].keys() - FORMER_OPTIONS:
        if asked["options"].pop(name) != usual[name]:
            return None
    del asked["options"]["prepare_copies"]
    return f"{unnamed.set_name}_{_digest([asked, context.weights_hash, context.images_hash])[:8]}"


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
