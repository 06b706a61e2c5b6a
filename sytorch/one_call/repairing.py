"""``repair(model, points, labels, ordinary=...)``: choose a way on ordinary points, repair, check by a forward pass."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import nn

from sytorch.hidden_layer.polytopes import Polytopes
from sytorch.numerics.threads import threads_for
from sytorch.one_call.regions import ways_of_regions
from sytorch.one_call.task import (
    Choosing,
    Margin,
    Points,
    Task,
    Wanted,
    as_points,
    at_vertices,
    check_count,
    choosing,
    margin_of,
    outputs_of,
)
from sytorch.one_call.ways import Attempt, Way, ways_for
from sytorch.one_call.writing import Proof, write_certificate
from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.problem.checks import check_model, checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import (
    ContradictionError,
    InvalidInputError,
    SolverTimeLimitError,
    SytorchError,
    gave_up,
)
from sytorch.problem.outputs import AffineOutputs
from sytorch.problem.properties import Property
from sytorch.solvers import SolverName, solver_named
from sytorch.solvers.linear_program import Solver

TRIED_POINTS = 25  # for which each way is tried
FIRST_POINTS = 100  # for which it is repaired at first; others enter when they lack something
ROUNDS = 20
TURNS = 20  # of a choice that cannot be had


@dataclass(frozen=True)
class Tried:
    """What a way came to.

    Attributes:
        way: its name.
        points: how many it was tried for.
        lost: which share of the ordinary points said something else afterwards; None where it failed.
        why: it failed; empty where it did not.
    """

    way: str
    points: int
    lost: float | None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repaired copy of a network, and what is known of it.

    Attributes:
        model: in which every point has what is required, as its own forward pass says.
        way: how it was repaired.
        layers: that changed.
        margin: by which comparisons are strict.
        least_slack: by how much the point that is nearest to failing has more than is required.
        lost: which share of the ordinary points no longer says what it said; None without ordinary points.
        proof: that no change of the last layer is smaller; None where nothing is proved.
        tried: what each way came to on a few points, and the chosen one on all.
        seconds: it took.
        task: what was asked.
    """

    model: nn.Module
    way: str
    layers: tuple[str, ...]
    margin: float
    least_slack: float
    lost: float | None
    proof: Proof | None = field(repr=False)
    tried: tuple[Tried, ...]
    seconds: float
    task: Task = field(repr=False)

    def certify(self, path: str | Path) -> None:
        """Write what is claimed, and what proves it, for ``verify.py PATH``: points, both networks, multipliers.

        Raises:
            FileError: it cannot be written; or more than the last layer changed of a network that is no chain of layers
                that the checker knows.
        """
        write_certificate(Path(path), self.task, self.model, self.layers, self.proof)

    @property
    def gap(self) -> float | None:
        """How far the change of the last layer may be from the smallest one, relative; None where nothing is proved."""
        return None if self.proof is None else self.proof.solution.gap


def repair(
    model: nn.Module,
    points: Points | Polytopes,
    wanted: Wanted,
    *,
    ordinary: Points | None = None,
    margin: Margin = "auto",
    bound: float = np.inf,
    layer: str = "auto",
    solver: Solver | SolverName | str = "auto",
    time_limit: float | Deadline | None = None,
) -> Repaired:
    """Repair a copy of a network for points; the network itself is left as it was.

    With ``auto`` each way is tried for a few points: the last layer alone, its spare units, every hidden layer. Taken
    is the one after which fewest ordinary points say something else. Points enter the program when they lack something.

    Args:
        model: in evaluation mode. Its last layer can be repaired where that is linear with a bias, whatever is before
            it; hidden layers where it is a chain (see `sytorch.chain_of`).
        points: (N, ...), a tensor or an array of floats; or `Polytopes`, of which every point inside is repaired.
        wanted: of their outputs: labels, (N,), a property of all points, or one for each. Of polytopes likewise.
        ordinary: (R, ...), points that are to go on saying what they say. Without them the least change of the last
            layer's weights is made, which usually costs more.
        margin: by how much comparisons are to be strict; ``auto`` is 0.05 of the median margin of ordinary points.
        bound: on every entry of every change.
        layer: ``auto``, or a name.
        solver: of linear and quadratic programs: ``auto``, ``gurobi``, ``highs``.
        time_limit: seconds for everything, or a deadline, or None.

    Raises:
        InvalidInputError: the model is in training mode, or anything given does not fit; the message says what.
        UnsupportedLayerError: there is no such layer, or none that can be repaired.
        ContradictionError: no change of the last layer within the bound does it, with the proof; `images` are positions
            of points.
        SolverFailedError: no way came to an end.
        SolverTimeLimitError: nor did one in time; the message says at what, and ``model`` is the best copy so far.
    """
    began = time.perf_counter()
    task, choice = _asked(
        model, points, wanted, ordinary=ordinary, margin=margin, bound=bound, solver=solver, time_limit=time_limit
    )
    with threads_for(task.largest_side):
        return _repaired(task, choice, layer, began)


def _repaired(task: Task, choice: Choosing, layer: str, began: float) -> Repaired:
    """See `repair`."""
    so_far = _SoFar(len(task.points))
    for _ in range(TURNS):
        try:
            way, attempt, tried = _best(task, layer, so_far)
        except SolverTimeLimitError as error:
            so_far.tell(error)
            raise
        except ContradictionError as error:
            if not choice.turn(error.contradiction.images):
                raise
            task = replace(task, required=choice.posed(_nothing(task.outputs)))
        else:
            slack, lost = -float(task.missing(attempt.model).max()), task.lost(attempt.model)
            if not slack >= 0.0:
                raise gave_up(f"the repaired network misses what is required by {-slack:.2g}")
            seconds = time.perf_counter() - began
            return Repaired(
                attempt.model,
                way.name,
                attempt.layers,
                task.margin,
                slack,
                lost,
                attempt.proof,
                tuple(tried),
                seconds,
                task,
            )
    raise gave_up(f"no choice among the branches of the properties was had in {TURNS} tries")


def _asked(
    model: nn.Module,
    points: Points | Polytopes,
    wanted: Wanted,
    *,
    ordinary: Points | None,
    margin: Margin,
    bound: float,
    solver: Solver | SolverName | str,
    time_limit: float | Deadline | None,
) -> tuple[Task, Choosing]:
    """What `repair` is given, checked; and where properties leave a choice, that."""
    deadline = as_deadline(time_limit)
    check_model(model)
    regions = points if isinstance(points, Polytopes) else None
    given = as_points(points.vertices if isinstance(points, Polytopes) else points, model)
    if regions is not None:
        wanted, regions = at_vertices(wanted, regions), replace(regions, vertices=given)
    usual = None if ordinary is None else as_points(ordinary, model)
    outputs = outputs_of(model, given)
    check_count(wanted, len(given))
    size = margin_of(wanted, outputs if usual is None else outputs_of(model, usual), margin)
    choice = choosing(wanted, outputs, size, regions)
    task = Task(
        model,
        given,
        choice.posed(_nothing(outputs)),
        size,
        usual,
        wanted if isinstance(wanted, Property) else None,
        checked_bound(bound),
        solver_named(solver) if isinstance(solver, str) else solver,
        deadline,
        regions,
    )
    return task, choice


def _nothing(outputs: Matrix) -> AffineOutputs:
    """Outputs of zeros on which requirements are posed as they are said."""
    return AffineOutputs(np.zeros_like(outputs), np.zeros((len(outputs), 1)))


class _SoFar:
    """What a repair is at, and the copy of the network in which most of so many points have what is required."""

    def __init__(self, count: int) -> None:
        self.doing, self.count, self.right = "looking at the network", count, 0
        self.model: nn.Module | None = None

    def keep(self, attempt: Attempt, missing: Vector) -> None:
        """Keep an attempt, in which points miss so much, (N,), where more of them are right than ever."""
        right = int((missing <= 0.0).sum())
        if right > self.right:
            self.right, self.model = right, attempt.model

    def tell(self, error: SolverTimeLimitError) -> None:
        """Say it with the error."""
        best = f"; `model` is a copy in which {self.right} of {self.count} points have what is required"
        error.args = (f"{error} It was {self.doing}{best if self.model else ''}.",)
        error.model = self.model


def _best(task: Task, layer: str, so_far: _SoFar) -> tuple[Way, Attempt, list[Tried]]:
    """The way that costs ordinary points least, and what it made; see `repair` for what is raised.

    In the order of what they cost for a few points, until none that is left cost less than the best does for all.
    """
    ways = ways_for(task, layer) if task.regions is None else ways_of_regions(task, layer)
    if not ways:
        raise InvalidInputError("Without ordinary points only the last layer can be repaired, and there is none.")
    tried: list[Tried] = []
    ranked = [(0.0, way) for way in ways]  # of polytopes, which share few vertices, none is tried for some
    if len(ways) > 1 and task.regions is None:
        ranked = _ranked(task, ways, tried, so_far)
    best: tuple[float, Way, Attempt] | None = None
    first: SytorchError | None = None
    for expected, way in ranked:
        if best is not None and best[0] <= expected:
            break
        try:
            attempt = _for_all(task, way, so_far)
        except SolverTimeLimitError:
            if best is None:
                raise
            break
        except SytorchError as error:
            first = first or error
            tried.append(Tried(way.name, len(task.points), None, str(error)))
            continue
        lost = task.lost(attempt.model)
        tried.append(Tried(way.name, len(task.points), lost))
        if best is None or (lost or 0.0) < best[0]:
            best = lost or 0.0, way, attempt
    if best is None:
        assert first is not None
        raise first
    return best[1], best[2], tried


def _ranked(task: Task, ways: list[Way], tried: list[Tried], so_far: _SoFar) -> list[tuple[float, Way]]:
    """What the ways cost for a few points, the least first, until one costs nothing; infinite where they fail."""
    few = _spread(len(task.points), TRIED_POINTS)
    for way in ways:
        so_far.doing = f"trying {len(few)} points ({way.name})"
        task.deadline.check()
        try:
            attempt = way.attempt(few)
            so_far.keep(attempt, task.missing(attempt.model))
            lost = task.lost(attempt.model)
            tried.append(Tried(way.name, len(few), lost))
            if lost == 0.0:
                break
        except SolverTimeLimitError:
            raise
        except SytorchError as error:
            tried.append(Tried(way.name, len(few), None, str(error)))
    costs = [np.inf if one.lost is None else one.lost for one in tried] + [np.inf] * (len(ways) - len(tried))
    return [(costs[int(place)], ways[int(place)]) for place in np.argsort(costs, kind="stable")]


def _for_all(task: Task, way: Way, so_far: _SoFar) -> Attempt:
    """Repair for the points that lack something, until none does; of polytopes for all vertices."""
    so_far.doing = f"repairing all {len(task.points)} points ({way.name})"
    if task.regions is not None:
        return way.attempt(np.arange(len(task.points)))
    working, lacking = _first(task), np.zeros(len(task.points))
    for _ in range(ROUNDS):
        attempt = way.attempt(working)
        lacking = task.missing(attempt.model)
        so_far.keep(attempt, lacking)
        lacking[working] = 0.0
        if lacking.max() <= 0.0:
            return attempt
        more = np.argsort(-lacking, kind="stable")[:FIRST_POINTS]
        working = np.union1d(working, more[lacking[more] > 0.0])
    return way.attempt(np.arange(len(task.points)))


def _first(task: Task) -> Indices:
    lacking = np.flatnonzero(task.missing(task.model) > 0.0)
    lacking = lacking if lacking.size else np.arange(len(task.points))
    return np.asarray(lacking[_spread(len(lacking), FIRST_POINTS)])


def _spread(count: int, most: int) -> Indices:
    """Positions spread over all, at most so many."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
