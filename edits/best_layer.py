"""``--layer auto``: repair one layer after the other while time is left, and keep what costs training images least."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edits.attempt import Attempt, asked, attempt
from edits.options import HIDDEN_LAYERS, RepairOptions
from edits.pipeline import check_layer, conclude, publish
from edits.report import RepairReport
from edits.task import Task
from edits.training_drawdown import TrainingDrawdown
from helpers.cli import say
from helpers.errors import ToolError
from helpers.evaluation import is_right
from helpers.publishing import publication
from sytorch import Deadline


@dataclass(frozen=True)
class LayerOutcome:
    """What came of one layer, as the report lists it.

    Attributes:
        layer, pattern: what was tried; the last layer has no pattern behind it.
        status: as of a repair; ``failed`` where there was an error, ``not_tried`` where no time was left.
        message: the reason, where it is not repaired.
        training_drawdown_points: accuracy lost on training images, in percentage points; negative is a gain.
        edit_accuracy: of the edit images, a fraction.
        seconds: wall clock.
    """

    layer: str
    pattern: str | None
    status: str = "not_tried"
    message: str | None = "the budget was used up."
    training_drawdown_points: float | None = None
    edit_accuracy: float | None = None
    seconds: float = 0.0

    @property
    def lost(self) -> float:
        """The training drawdown; nothing costs more than what is no repair."""
        return math.inf if self.training_drawdown_points is None else self.training_drawdown_points

    def __str__(self) -> str:
        """One line for people."""
        told = f"{self.layer}: {self.status.replace('_', ' ')}, {self.seconds:.1f} s"
        if self.training_drawdown_points is None:
            return f"{told}: {self.message}"
        return f"{told}, training drawdown {self.training_drawdown_points:.2f} points"


@dataclass(frozen=True, eq=False)
class _Repaired:
    """An attempt that is a repair, its weights at ``task.written``."""

    task: Task
    attempt: Attempt
    outcome: LayerOutcome


def repair_best_layer(task: Task, budget: float) -> RepairReport:
    """Repair the layer that loses the least accuracy on training images; test images decide nothing.

    Args:
        task: what to repair; its options are those of the last layer, and its ``pattern`` is that of the others.
        budget: seconds. A layer is begun while some are left, and solving ends with them.

    Returns:
        The report of the best repair, whose ``layers`` tell of all; with status ``no_layer`` where there is none.

    Raises:
        UsageError: ``--keep`` leaves no training image to judge by.
        ToolError: a file cannot be written.
    """
    check_layer(task.bench, task.options)
    training = TrainingDrawdown(task.bench, task.options.keep)
    _ = training.judges  # there are some
    outcomes: list[LayerOutcome] = []
    with publication(task.output) as publishing:
        task = replace(task, folder=publishing.folder, deadline=Deadline(budget))
        with tempfile.TemporaryDirectory(dir=publishing.folder) as folder:
            best = _best(task, Path(folder), outcomes, training)
            if best is not None:
                best.task.written.replace(task.written)
        report = asked(task) if best is None else best.attempt.report
        report.layer_budget, report.layers = budget, [asdict(outcome) for outcome in outcomes]
        if best is not None:
            return conclude(replace(task, options=best.task.options), best.attempt, publishing)
        told = ", ".join(f"{outcome.layer} {outcome.status.replace('_', ' ')}" for outcome in outcomes)
        report.status, report.message = "no_layer", f"no layer was repaired within {budget:g} seconds: {told}."
        return publish(task, report, publishing)


def layers_to_try(options: RepairOptions) -> Iterator[RepairOptions]:
    """The last layer as asked, then every other alone: with ``l2``, which is all there is, and no keep set."""
    yield options
    for layer in HIDDEN_LAYERS:
        yield replace(options, layer=layer, norm="l2", prepare="none", prepare_copies="none", keep=0)


def _best(task: Task, folder: Path, outcomes: list[LayerOutcome], training: TrainingDrawdown) -> _Repaired | None:
    """Try the layers, tell of each, and return the best; the files of the others are removed."""
    best = None
    for options in layers_to_try(task.options):
        place = folder / options.layer
        place.mkdir()
        found, outcome = _try(replace(task, options=options, folder=place), training)
        say(str(outcome))
        outcomes.append(outcome)
        if found is None:
            continue
        better = best is None or outcome.lost < best.outcome.lost
        best, other = (found, best) if better else (best, found)
        if other is not None:
            other.task.written.unlink()
    return best


def _try(task: Task, training: TrainingDrawdown) -> tuple[_Repaired | None, LayerOutcome]:
    options, started, left = task.options, time.monotonic(), task.deadline.left
    outcome = LayerOutcome(options.layer, options.pattern if options.is_hidden else None)
    if not left:
        return None, outcome
    limit = round(min(left, math.inf if options.time_limit is None else options.time_limit), 1)
    try:
        tried = attempt(replace(task, options=replace(options, time_limit=limit), deadline=Deadline(limit)))
    except ToolError as error:
        outcome = replace(outcome, status="failed", message=str(error))
        return None, replace(outcome, seconds=round(time.monotonic() - started, 2))
    outcome = replace(outcome, status=tried.report.status, message=tried.report.message)
    if (repaired := tried.repaired) is None:
        return None, replace(outcome, seconds=round(time.monotonic() - started, 2))
    labels = task.edit_set.labels.numpy()
    outcome = replace(
        outcome,
        training_drawdown_points=training.points(repaired.state, options.prepared_layer or options.layer),
        edit_accuracy=float(is_right(repaired.logits[: len(labels)], labels).mean()),
        seconds=round(time.monotonic() - started, 2),
    )
    return _Repaired(task, tried, outcome), outcome
