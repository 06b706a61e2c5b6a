"""The ways to repair polytopes: shift the layers before one, then change that one with the common pattern fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sytorch.hidden_layer.polytopes import Polytopes, broken_on, linearise_polytopes
from sytorch.hidden_layer.program import FixedPatternProgram
from sytorch.hidden_layer.shifting import DISTANCE, shift
from sytorch.network.applying import apply
from sytorch.one_call.task import Task
from sytorch.one_call.ways import Attempt, HiddenLayer, LastLayer, Way, ways_for
from sytorch.problem.arrays import Indices
from sytorch.problem.errors import SolverFailedError
from sytorch.problem.outputs import AffineOutputs

ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class OfRegions:
    """A layer changed with one pattern on every polytope, after shifts of the layers before it.

    Attributes:
        task: what is asked of vertices.
        regions: whose vertices they are.
        layer: that is repaired.
        way: what repairs it where only points are asked about.
    """

    task: Task
    regions: Polytopes
    layer: str
    way: LastLayer | HiddenLayer

    @property
    def name(self) -> str:
        """See `Way`."""
        return f"{self.way.name}, shifts before"

    def attempt(self, points: Indices) -> Attempt:
        """See `Way`; polytopes are repaired with all their vertices."""
        for power in range(ATTEMPTS):
            attempt = self._at_distance(DISTANCE * 10.0**power, points)
            if not (broken := broken_on(attempt.model, self.regions)):
                return attempt
        raise SolverFailedError(f"{broken} units differ in sign between the vertices of a polytope, after rounding.")

    def _at_distance(self, distance: float, points: Indices) -> Attempt:
        task = self.task
        shifted = shift(
            task.model,
            self.regions,
            self.layer,
            ordinary=task.ordinary,
            bound=task.bound,
            distance=distance,
            solver=task.solver,
            time_limit=task.deadline,
        )
        moved, before = replace(task, model=shifted.model), tuple(shifted.units)
        if isinstance(self.way, LastLayer):
            return replace(self.way, task=moved, before=before).attempt(points)
        return self._hidden(moved, before, distance)

    def _hidden(self, task: Task, before: tuple[str, ...], distance: float) -> Attempt:
        view = linearise_polytopes(task.model, self.layer, self.regions, "majority", task.deadline)
        metric = HiddenLayer(task, self.layer).metric
        asked = task.asking(AffineOutputs(view.logits.numpy(), view.inputs.flatten(1).numpy()), task.allowance)
        program = FixedPatternProgram(view, asked, metric, task.bound, allowance=distance)
        change = program.solve(task.deadline).change
        return Attempt(apply(task.model, self.layer, change, task.bound), (*before, self.layer))


def ways_of_regions(task: Task, layer: str) -> list[Way]:
    """The ways that a task of polytopes leaves, see `ways_for`: with ``auto`` of the two last layers.

    Those before have more signs behind them that every vertex fixes, so their programs take minutes.
    """
    assert task.regions is not None
    own = [way for way in ways_for(task, layer) if isinstance(way, LastLayer | HiddenLayer)]
    chosen = [*own[:1], *own[1:][-1:]]
    return [OfRegions(task, task.regions, way.layer, way) for way in chosen]
