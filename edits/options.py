"""What a repair is asked for. Scripts read their options from here, so torch is not imported."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from editset_helpers.regions import Region
from helpers.errors import UsageError

LAST_LAYER = "classifier.6"
PLANTED_LAYER = "classifier.4"
MANY_IMAGES = 200  # above, the default norm is l2: with 400 images l1 takes five seconds, and l2 half of one
RIDGE = 1e-3
HIDDEN_METRIC_IMAGES = 10_000  # more make the metric of another layer no better
NormName = Literal["l1", "linf", "linf+l1", "l2"]
SolverName = Literal["auto", "gurobi", "highs"]
MetricName = Literal["training", "per-class", "identity"]
KeepWeights = Literal["none", "changed-layer", "full"]
KeptWeights = Literal["changed-layer", "full"]
PrepareName = Literal["auto", "none", "spare-units"]
ReachName = Literal["exact", "near", "wide"]
PatternName = Literal["fixed", "relinearise"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)
NORMS: tuple[NormName, ...] = get_args(NormName)
SOLVERS: tuple[SolverName, ...] = get_args(SolverName)
T = TypeVar("T", bound=str)


@dataclass(frozen=True)
class Reach:
    """How far detectors of edit images reach: to the image alone, or to images like it.

    Attributes:
        name: what the command line calls it.
        copies: whether mirrored and shifted copies are to be detected, too.
        threshold: from 0 to below 1, how far between the largest response of others and that of the image.
        tolerated: where others respond with more than so much of the image's own response, copies are left out.
    """

    name: str
    copies: bool
    threshold: float
    tolerated: float = 0.75


# Chosen on training images: docs/layers.md, "Spare units", has the rule, and `benchmarks.reach` the table.
REACHES: dict[ReachName, Reach] = {
    "exact": Reach("exact", copies=False, threshold=0.3),
    "near": Reach("near", copies=True, threshold=0.2, tolerated=0.85),
    "wide": Reach("wide", copies=True, threshold=0.0, tolerated=0.85),
}


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
        time_limit: seconds for the whole repair; None for no limit.
        whole_program: write the program out at once instead of generating rows and columns; ``linf`` and ``linf+l1``
            always do.
        metric_images: from how many training images, all right, the training metric is taken, half of them those most
            in doubt; None for all, and for 20,000 of a network whose hidden layer was prepared. Of other layers
            than the last it is from 10,000 at most.
        ridge: added to the metric's diagonal, relative to its mean.
        prepare: ``spare-units``, units of `PLANTED_LAYER` that ordinary images do not need become detectors of the edit
            images first; ``none``; or ``auto``: ``spare-units`` for the training metric, else ``none``.
        reach: of the detectors, see `REACHES`.
        pattern: for a layer other than the last: ``fixed``, the activation patterns behind it are constraints, and the
            result is proved; ``relinearise``, they may change, and the forward pass judges.
        region: which copies of every edit image have to be right by the margin, too.
        max_drawdown: a repair that costs more points of accuracy is none; None where any cost is accepted.
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
    ridge: float = RIDGE
    prepare: PrepareName = "auto"
    pattern: PatternName = "fixed"
    region: Region = field(default_factory=Region)
    reach: Reach = REACHES["near"]
    max_drawdown: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that can never work.

        Raises:
            UsageError: a bound, margin, ridge, time limit, number of images or points is no such number, or there is
                no such layer, metric, preparation or pattern.
        """
        limit = math.inf if self.time_limit is None else self.time_limit
        _positive("--param-bound", self.param_bound)
        _positive("--margin", self.margin)
        _positive("--ridge", self.ridge)
        if self.metric_images is not None:
            _positive("--metric-images", self.metric_images)
        if not limit > 0:
            raise UsageError(f"--time-limit is a number of seconds above 0, not {limit:g}.")
        if self.max_drawdown is not None and not (math.isfinite(self.max_drawdown) and self.max_drawdown >= 0):
            raise UsageError(f"--max-drawdown is a number of points, 0 or more, not {self.max_drawdown:g}.")
        read_metric(self.metric)
        if self.metric == "per-class" and (self.norm != "l2" or self.whole_program or self.is_hidden):
            raise UsageError(
                f"--metric per-class is for --norm l2 of {LAST_LAYER}, and not for the program written out at once."
            )
        if self.prepare not in get_args(PrepareName):
            raise UsageError(f"--prepare is one of {', '.join(get_args(PrepareName))}, not {self.prepare!r}.")
        if self.prepare == "spare-units" and self.metric != "training":
            raise UsageError(f"--prepare spare-units is for --metric training, not {self.metric}.")
        if self.pattern not in get_args(PatternName):
            raise UsageError(f"--pattern is one of {', '.join(get_args(PatternName))}, not {self.pattern!r}.")
        if self.is_hidden and self.prepare not in ("auto", "none"):
            raise UsageError(f"--prepare belongs to repairs of {LAST_LAYER}; --layer {self.layer} is repaired alone.")
        if self.is_hidden and (idle := self._idle):
            raise UsageError(
                f"{', '.join(idle)} would change nothing: --layer {self.layer} is repaired without. Leave it out, or "
                f"repair {LAST_LAYER}."
            )

    @property
    def _idle(self) -> list[str]:
        """What is asked for, as it would be typed, that only repairs of the last layer heed."""
        told = [f"--ridge {self.ridge:g}"] * (self.ridge != RIDGE) + ["--whole-program"] * self.whole_program
        told += [f"--solver {self.solver}"] * (self.solver != "auto")
        many = self.metric_images is not None and self.metric_images > HIDDEN_METRIC_IMAGES
        return told + [f"--metric-images above {HIDDEN_METRIC_IMAGES}"] * many

    @property
    def is_hidden(self) -> bool:
        """Whether what changes is another part than the whole last layer."""
        return self.layer != LAST_LAYER

    @property
    def plants(self) -> bool:
        """Whether spare units of `PLANTED_LAYER` become detectors first."""
        return not self.is_hidden and self.prepare != "none" and self.metric == "training"

    @property
    def more(self) -> str:
        """What tables have no column for, as it would be typed; ``none`` where that is as usual."""
        told = [f"--pattern {self.pattern}"] * (self.is_hidden and self.pattern != "fixed")
        told += [f"--shifts {self.region.shifts}"] * bool(self.region.shifts) + ["--flip"] * self.region.flip
        told += [f"--ridge {self.ridge:g}"] * (self.ridge != RIDGE) + ["--whole-program"] * self.whole_program
        for name, value in (("metric-images", self.metric_images), ("max-drawdown", self.max_drawdown)):
            told += [] if value is None else [f"--{name} {value:g}"]
        return " ".join(told) or "none"

    @property
    def preparation(self) -> str:
        """What is done first, as reports and tables name it: ``spare-units`` or ``none``."""
        return "spare-units" if self.plants else "none"


def norm_for(images: int, metric: MetricName, layer: str = LAST_LAYER) -> NormName:
    """What is minimised where nobody says: ``l1``, a linear program, as far as there is one and it takes seconds."""
    return "l1" if images <= MANY_IMAGES and metric != "per-class" and layer == LAST_LAYER else "l2"


def read_reach(name: str) -> Reach:
    """The reach of that name; raises `UsageError` where there is none."""
    known: tuple[ReachName, ...] = get_args(ReachName)
    return REACHES[_named(name, known, "reach")]


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
