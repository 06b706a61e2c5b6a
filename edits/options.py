"""What a repair is asked for. Scripts read their options from here, so torch is not imported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from editset_helpers.regions import Region
from helpers.errors import UsageError

LAST_LAYER = "classifier.6"
AUTO_PREPARE = "classifier.4"
PLANTED_LAYER = "classifier.4"
MANY_IMAGES = 400  # as in `sytorch.last_layer.program`: above, l1 takes minutes and l2 seconds
NormName = Literal["l1", "linf", "linf+l1", "l2"]
SolverName = Literal["auto", "gurobi", "highs"]
MetricName = Literal["training", "per-class", "identity"]
KeepWeights = Literal["none", "changed-layer", "full"]
PrepareName = Literal["auto", "none", "classifier.4", "classifier.1", "spare-units"]
PREPARE_NAMES: tuple[PrepareName, ...] = get_args(PrepareName)
PatternName = Literal["fixed", "relinearise"]
PrepareCopies = Literal["none", "mirrored", "shifted"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
NORMS: tuple[NormName, ...] = get_args(NormName)
SOLVERS: tuple[SolverName, ...] = get_args(SolverName)
T = TypeVar("T", bound=str)


@dataclass(frozen=True)
class RepairOptions:
    """The program and how to solve it; `ARCHITECTURE.md` says what each choice costs.

    Attributes:
        layer: the name of the layer that changes.
        param_bound: the largest change of any weight or bias.
        margin: the required margin of every edit image: its own logit minus the largest other.
        norm: what is minimised.
        metric: ``training``, ``per-class`` or ``identity``, in which the norm is taken; ``per-class`` is for ``l2`` of
            the last layer.
        solver: ``auto``, ``gurobi`` or ``highs``.
        time_limit: seconds for solving; None for no limit.
        whole_program: write the program out at once instead of generating rows and columns; ``linf`` and ``linf+l1``
            always do.
        metric_images: from how many training images, all right, the training metric is taken, half of them those most
            in doubt; None for all, and for 20,000 of a network whose hidden layer was prepared.
        ridge: added to the metric's diagonal, relative to its mean.
        prepare: the hidden layer that is moved toward the margins first, ``none``, or ``auto``: `AUTO_PREPARE`, but
            ``none`` where the metric is ``identity``; ``spare-units``, units of `PLANTED_LAYER` that ordinary images do
            not need become detectors of the edit images.
        pattern: for a layer other than the last: ``fixed``, the activation patterns behind it are constraints, and the
            result is proved; ``relinearise``, they may change, and the forward pass judges.
        region: which copies of every edit image have to be right by the margin, too.
        prepare_copies: which other copies the preparation goes for, without any promise: mirrored ones, or those
            shifted by one of the image's 32 x 32 pixels.
    """

    layer: str = LAST_LAYER
    param_bound: float = 5.0
    margin: float = 2.0
    norm: NormName = "l1"
    metric: MetricName = "training"
    solver: SolverName = "auto"
    time_limit: float | None = None
    whole_program: bool = False
    metric_images: int | None = None
    ridge: float = 1e-3
    prepare: PrepareName = "auto"
    pattern: PatternName = "fixed"
    region: Region = field(default_factory=Region)
    prepare_copies: PrepareCopies = "none"

    def __post_init__(self) -> None:
        """Refuse values that can never work.

        Raises:
            UsageError: a bound, margin, ridge, time limit or number of images is not a positive number, or there is
                no such layer, metric, preparation or pattern.
        """
        limit = math.inf if self.time_limit is None else self.time_limit
        _positive("--param-bound", self.param_bound)
        _positive("--margin", self.margin)
        _positive("--ridge", self.ridge)
        if self.metric_images is not None:
            _positive("--metric-images", self.metric_images)
        if self.layer == "auto":
            raise UsageError(
                f"--layer auto is not a layer; leave the option out: what is repaired then, {LAST_LAYER} after "
                f"{AUTO_PREPARE} is prepared, is what it always chose."
            )
        if not limit > 0:
            raise UsageError(f"--time-limit is a number of seconds above 0, not {limit:g}.")
        read_metric(self.metric)
        if self.metric == "per-class" and (self.norm != "l2" or self.whole_program or self.is_hidden):
            raise UsageError(
                f"--metric per-class is for --norm l2 of {LAST_LAYER}, and not for the program written out at once."
            )
        if self.prepare not in PREPARE_NAMES:
            raise UsageError(f"--prepare is one of {', '.join(PREPARE_NAMES)}, not {self.prepare!r}.")
        if self.prepare_copies not in get_args(PrepareCopies):
            raise UsageError(
                f"--prepare-copies is one of {', '.join(get_args(PrepareCopies))}, not {self.prepare_copies!r}."
            )
        if self.pattern not in get_args(PatternName):
            raise UsageError(f"--pattern is one of {', '.join(get_args(PatternName))}, not {self.pattern!r}.")
        if self.is_hidden and self.prepare not in ("auto", "none"):
            raise UsageError(f"--prepare belongs to repairs of {LAST_LAYER}; --layer {self.layer} is repaired alone.")
        if self.prepare_copies != "none" and self.prepared_layer is None:
            raise UsageError("--prepare-copies is of the preparation, and here no hidden layer is prepared.")

    @property
    def is_hidden(self) -> bool:
        """Whether what changes is another part than the whole last layer."""
        return self.layer != LAST_LAYER

    @property
    def prepared_layer(self) -> str | None:
        """The hidden layer that is changed first, or None."""
        if self.is_hidden:
            return None
        if self.plants:
            return PLANTED_LAYER
        if self.prepare == "auto":
            return None if self.metric == "identity" else AUTO_PREPARE
        return None if self.prepare == "none" else self.prepare

    @property
    def plants(self) -> bool:
        """Whether that layer's spare units are planted anew; otherwise all of it is moved."""
        return self.prepare == "spare-units"

    @property
    def preparation(self) -> str:
        """What is done first, as reports and tables name it: ``none``, the layer that is moved, or ``spare-units``."""
        return self.prepare if self.plants else self.prepared_layer or "none"

    @property
    def prepare_region(self) -> Region:
        """The copies that the preparation goes for, those that have to be right among them."""
        shifts, mirrored = int(self.prepare_copies == "shifted"), self.prepare_copies == "mirrored"
        return Region(max(self.region.shifts, shifts), self.region.flip or mirrored)


def norm_for(images: int, metric: MetricName, prepare: PrepareName = "auto") -> NormName:
    """What is minimised where nobody says: ``l1``, a linear program, as far as there is one and it takes seconds."""
    is_quick = images <= MANY_IMAGES and metric != "per-class" and prepare != "spare-units"
    return "l1" if is_quick else "l2"


def read_metric(name: str) -> MetricName:
    """The metric of that name; raises `UsageError` where there is none."""
    return _named(name, METRICS, "metric")


def read_norm(name: str) -> NormName:
    """The norm of that name; raises `UsageError` where there is none."""
    return _named(name, NORMS, "norm")


def _named(name: str, known: tuple[T, ...], what: str) -> T:
    for value in known:
        if name == value:
            return value
    raise UsageError(f"The {what} is one of {', '.join(known)}, not {name!r}.")


def _positive(option: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{option} is a finite number above 0, not {value:g}.")
