"""The experiments of a sweep: every combination of what was asked, each with a name that says what it is."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from edits.options import KeepWeights, MetricName, PrepareCopies, PrepareName, RepairOptions
from editset_helpers.selection import Correctness, Selection
from helpers.cli import DatasetName
from sytorch import NormName, SolverName


class SetType(StrEnum):
    """Which images an experiment repairs."""

    MISCLASSIFIED = "misclassified"
    CLASS_CORRECT = "class_homogeneous_correct"
    CLASS_INCORRECT = "class_homogeneous_incorrect"

    @property
    def focus(self) -> Correctness:
        """Whether the network was right about the images."""
        return "correct" if self is SetType.CLASS_CORRECT else "incorrect"


class Sizing(StrEnum):
    """What happens where fewer images qualify than were asked for."""

    FLEXIBLE = "flexible"
    STRICT = "strict"


@dataclass(frozen=True)
class Sweep:
    """What to combine; every combination is one experiment.

    Attributes:
        sizes, types, classes, param_bounds, margins, norms, metrics, layers, seeds: the values to combine. Classes are
            positions, and combined with the types of one class only.
        sizing, solver, time_limit, prepare, prepare_copies, keep_weights: the same for all.
        keep: how many training images are watched, see `edits.options.RepairOptions`; the same for all.
    """

    sizes: tuple[int, ...]
    types: tuple[SetType, ...]
    classes: tuple[int, ...]
    param_bounds: tuple[float, ...] = (5.0,)
    margins: tuple[float, ...] = (2.0,)
    norms: tuple[NormName, ...] = (NormName.L1,)
    metrics: tuple[MetricName, ...] = ("training",)
    layers: tuple[str, ...] = ("classifier.6",)
    seeds: tuple[int, ...] = (0,)
    sizing: Sizing = Sizing.FLEXIBLE
    solver: SolverName = SolverName.AUTO
    time_limit: float | None = None
    prepare: PrepareName = "none"
    prepare_copies: PrepareCopies = "none"
    keep: int = 0
    keep_weights: KeepWeights = "changed-layer"


@dataclass(frozen=True)
class Ground:
    """What all experiments of a sweep stand on: the network, its images, and where files go. It travels to workers.

    Attributes:
        dataset, data_root, weights: the network and its images.
        weights_hash, images_hash: of their contents, so that a name means one thing for ever.
        folder: for weights and reports.
        command: what was typed.
    """

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    weights_hash: str
    images_hash: str
    folder: Path
    command: str


@dataclass(frozen=True)
class Experiment:
    """One combination."""

    id: str
    set_type: SetType
    target_class: int | None
    size: int
    seed: int
    sizing: Sizing
    keep: KeepWeights
    options: RepairOptions

    @property
    def selection(self) -> Selection:
        """Which images."""
        if self.target_class is None:
            return Selection("misclassified", max_samples=self.size, seed=self.seed)
        return Selection("by-class", str(self.target_class), self.set_type.focus, self.size, self.seed)

    @property
    def set_name(self) -> str:
        """``misclassified_n100_s0``, ``class3_incorrect_n25_s1``: the images, whatever is done with them."""
        kind = "misclassified" if self.target_class is None else f"class{self.target_class}_{self.set_type.focus}"
        return f"{kind}_n{self.size}_s{self.seed}"


def plan(sweep: Sweep, ground: Ground) -> list[Experiment]:
    """Every experiment of a sweep, in the order of the table.

    Raises:
        UsageError: a bound, a margin or the time limit can never work.
    """
    images = [
        (kind, target)
        for kind in sweep.types
        for target in ((None,) if kind is SetType.MISCLASSIFIED else sweep.classes)
    ]
    programs = itertools.product(sweep.param_bounds, sweep.margins, sweep.norms, sweep.metrics, sweep.layers)
    asked = [
        RepairOptions(
            layer=layer,
            param_bound=bound,
            margin=margin,
            norm=norm,
            metric=metric,
            solver=sweep.solver,
            time_limit=sweep.time_limit,
            prepare=sweep.prepare,
            prepare_copies=sweep.prepare_copies,
            keep=sweep.keep,
        )
        for bound, margin, norm, metric, layer in programs
    ]
    combined = itertools.product(images, sweep.sizes, asked, sweep.seeds)
    return [
        _named(Experiment("", kind, target, size, seed, sweep.sizing, sweep.keep_weights, options), ground)
        for (kind, target), size, options, seed in combined
    ]


def _named(unnamed: Experiment, ground: Ground) -> Experiment:
    asked = asdict(unnamed)
    if unnamed.options.prepare_copies == "none":
        del asked["options"]["prepare_copies"]  # younger than tables that are to be gone on with
    facts = [asked, ground.weights_hash, ground.images_hash]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return replace(unnamed, id=f"{unnamed.set_name}_{digest}")
