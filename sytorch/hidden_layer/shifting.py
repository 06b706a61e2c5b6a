"""Shift and assert: the least changes of single units after which every polytope has one pattern before a layer.

A network is affine on a polytope where every ReLU has one sign at all its vertices. A unit that has not is moved by the
least that gives it one (Tao, Nawas, Mitchell and Thakur, "Architecture-Preserving Provable Repair of Deep Neural
Networks", PLDI 2023), layer by layer, each as the layers before it now are. Units of a layer do not depend on each
other, so each one is a small quadratic program of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sytorch.hidden_layer.polytopes import Polytopes, affine_on, given_signs, majority
from sytorch.last_layer.program import minimise
from sytorch.metrics.kronecker import input_factor
from sytorch.metrics.last_layer import IdentityMetric, SecondMomentMetric, SharedMetric
from sytorch.network.applying import apply
from sytorch.network.chain import Chain, chain_of
from sytorch.network.layer_view import LayerView, linearise
from sytorch.problem.arrays import Matrix, Vector
from sytorch.problem.checks import checked_bound
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import ContradictionError
from sytorch.problem.margins import at_least
from sytorch.problem.norms import NormName
from sytorch.problem.outputs import AffineOutputs
from sytorch.problem.solution import Solution
from sytorch.solvers import AutoSolver
from sytorch.solvers.linear_program import Solver

DISTANCE = 1e-5
RIDGE = 5e-4


@dataclass(frozen=True, eq=False)
class Shifted:
    """A network that is affine on polytopes up to a layer.

    Attributes:
        model: a copy.
        units: by name of the layers that changed, how many of their units did.
    """

    model: nn.Module
    units: dict[str, int]


def shift(
    model: nn.Module,
    regions: Polytopes,
    until: str,
    *,
    ordinary: torch.Tensor | None = None,
    signs: Mapping[str, torch.Tensor] | None = None,
    bound: float = np.inf,
    distance: float = DISTANCE,
    solver: Solver | None = None,
    time_limit: float | Deadline | None = None,
) -> Shifted:
    """Give every polytope one activation pattern in all layers before one.

    A unit that differs between the vertices of a polytope gets on each polytope the sign that most vertices have; or it
    is on, or off, for all of them, where that changes it less or nothing else is possible.

    Args:
        model: in evaluation mode; left as it was.
        regions: the polytopes, of the model's type.
        until: the layer that is to be repaired.
        ordinary: (R, ...), points that a change is to move little; None for the least change of the weights themselves.
        signs: that polytopes are to have instead, by name of a ReLU, (R, Q) bool.
        bound: on every entry of the change.
        distance: how far from zero numbers are to be, relative to the largest of their layer.
        solver: of quadratic programs; None for the usual one.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        ContradictionError: a unit cannot have one sign on each polytope within the bound; `images` are vertices.
        InvalidInputError, UnsupportedLayerError: see `linearise`.
        SolverFailedError, SolverTimeLimitError: a unit's program was not solved.
        SplitPolytopeError: what differs between vertices is no ReLU right behind a linear layer or a convolution.
    """
    bound, deadline, units = checked_bound(bound), as_deadline(time_limit), dict[str, int]()
    chain = chain_of(model, whole=True)
    chain.split(until)
    for place, name in enumerate(chain.names[: chain.names.index(until)]):
        if name not in chain.repairable or not isinstance(chain.layers[place + 1], nn.ReLU):
            continue
        now = chain_of(model, whole=True)
        view = _affine_view(now, name, regions, deadline)
        most = majority(view.outputs.flatten(1), regions)
        relu = chain.names[place + 1]
        given = None if signs is None or relu not in signs else given_signs(signs, relu, most, regions)
        metric = IdentityMetric() if ordinary is None else SecondMomentMetric(input_factor(now, name, ordinary, RIDGE))
        layer = _Units.of(view, most if given is None else given, given is None, metric, distance=distance, bound=bound)
        change, count = layer.change(solver or AutoSolver(), deadline)
        if count:
            model, units[name] = apply(model, name, change, bound), count
    affine_on(chain_of(model, whole=True).to(torch.float64).split(until)[0], regions)
    return Shifted(model, units)


def _affine_view(chain: Chain, layer: str, regions: Polytopes, deadline: Deadline) -> LayerView:
    """A layer in float64 as the vertices see it, before which every polytope has one pattern."""
    exact = chain.to(torch.float64)
    affine_on(exact.split(layer)[0], regions)
    return linearise(exact, layer, regions.vertices.double(), time_limit=deadline)


@dataclass(frozen=True, eq=False)
class _Units:
    """A layer's m units at V vertices, P pixels each.

    Attributes:
        view: of the layer.
        values: (m, V * P), what each unit gives.
        signs: of the same, 1 or -1, that they are to have.
        others: whether they may also be on or off everywhere.
        metric: of a unit's change.
        distance: of values from zero.
        bound: on every entry of the change.
    """

    view: LayerView
    values: Matrix
    signs: Matrix
    others: bool
    metric: SharedMetric
    distance: float
    bound: float

    @classmethod
    def of(
        cls,
        view: LayerView,
        positive: torch.Tensor,
        others: bool,
        metric: SharedMetric,
        *,
        distance: float,
        bound: float,
    ) -> _Units:
        shape = len(view.inputs), view.shape[0], -1
        values, above = (part.view(shape).transpose(0, 1).flatten(1) for part in (view.outputs, positive))
        signs = np.where(above.numpy(), 1.0, -1.0)
        return cls(view, values.numpy(), signs, others, metric, distance * float(values.abs().max()), bound)

    def change(self, solver: Solver, deadline: Deadline) -> tuple[torch.Tensor, int]:
        """Of the layer's weights, and how many units it moves."""
        change = torch.zeros(len(self.values), self.view.inputs.shape[2], dtype=torch.float64)
        split = np.flatnonzero((self.values * self.signs < self.distance).any(axis=1))
        for unit in split:
            change[unit] = torch.from_numpy(self._least(int(unit), solver, deadline))
        return self.view.layer_change(change), len(split)

    def _least(self, unit: int, solver: Solver, deadline: Deadline) -> Vector:
        """The least change, (k,), of a unit.

        Raises:
            ContradictionError: there is none; of the signs that were wanted first.
        """
        found: list[Solution] = []
        failed: list[ContradictionError] = []
        for signs in self._choices(self.signs[unit]):
            outputs = AffineOutputs(self.values[unit][:, None], self.view.inputs.flatten(0, 1).numpy())
            asked = at_least(outputs, signs[:, None, None], 2 * self.distance)
            try:
                found.append(minimise(NormName.L2, self.metric).subject_to(asked, self.bound).solve(solver, deadline))
            except ContradictionError as error:
                failed.append(error)
        if not found:
            raise failed[0]
        return np.asarray(min(found, key=lambda one: one.objective).change[0])

    def _choices(self, wanted: Vector) -> Iterator[Vector]:
        yield wanted
        if self.others:
            yield from (np.full_like(wanted, sign) for sign in (1.0, -1.0) if (wanted != sign).any())
