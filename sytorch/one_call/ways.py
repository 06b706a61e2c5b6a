"""The ways to repair: the last layer alone, spare units and then the last layer, a hidden layer in linearised steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sytorch.hidden_layer.infeasibility import of_all_images
from sytorch.hidden_layer.linearised_steps import relinearise
from sytorch.last_layer.program import minimise
from sytorch.metrics.kronecker import NO_DOUBT, KroneckerMetric, kronecker_metric, softmax_curvature
from sytorch.metrics.last_layer import IdentityMetric, SharedMetric, second_moment_metric
from sytorch.network.applying import apply
from sytorch.network.chain import Chain, chain_of
from sytorch.network.layer_view import linearise
from sytorch.network.symbolic import symbolic
from sytorch.one_call.task import Task
from sytorch.one_call.writing import Proof
from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.problem.errors import ContradictionError, SolverFailedError, UnsupportedLayerError
from sytorch.problem.norms import NormName
from sytorch.problem.outputs import AffineOutputs, append_one
from sytorch.problem.solution import Multipliers, Solution
from sytorch.spare_units.planting import Planting, spare_units
from sytorch.spare_units.preparation import prepared, rows_of

RIDGE = 1e-3
PLANTED_RIDGE = 1e-6
INPUT_RIDGE, OUTPUT_RIDGE = 5e-4, 1e-1
SEEN_RIDGE = 5e-6  # where ordinary points are so many times a layer's inputs that inputs which they lack are free
SEEN = 5
GRADIENT_POINTS = 2000
THRESHOLD, TOLERATED_RESPONSE = 0.05, 0.4
ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Attempt:
    """A network in which points have what is required, by a forward pass.

    Attributes:
        model: a copy.
        layers: that changed.
        proof: of the last layer's change; None where there is none.
    """

    model: nn.Module
    layers: tuple[str, ...]
    proof: Proof | None = None


class Way(Protocol):
    """One way to repair; costly parts are computed once."""

    @property
    def name(self) -> str:
        """What it does, in a word or two."""

    def attempt(self, points: Indices) -> Attempt:
        """Repair for chosen points of the task.

        Raises:
            SytorchError: it cannot be done.
        """


@dataclass(frozen=True, eq=False)
class LastLayer:
    """The smallest change of the last layer, with its proof.

    Attributes:
        task: what is asked.
        layer: the last one.
        ridges: of each input of the layer, relative; one for all.
        before: layers that were changed before.
    """

    task: Task
    layer: str
    ridges: float | Vector = RIDGE
    before: tuple[str, ...] = ()
    name: str = "last layer"

    @functools.cached_property
    def outputs(self) -> AffineOutputs:
        """Of the points, affine in the change."""
        return symbolic(self.task.model, self.layer)(self.task.points)

    @functools.cached_property
    def metric(self) -> SharedMetric:
        """How far a change moves ordinary points; the weights themselves where there are none."""
        if self.task.ordinary is None:
            return IdentityMetric()
        seen = symbolic(self.task.model, self.layer)(self.task.ordinary)
        return second_moment_metric(_moment(seen.inputs, _doubts(seen.logits)), self.ridges)

    def attempt(self, points: Indices) -> Attempt:
        """See `Way`."""
        part = self.task.of(points)
        outputs = AffineOutputs(self.outputs.logits[points], self.outputs.inputs[points])

        def once(allowance: float) -> Attempt:
            program = minimise(NormName.L2, self.metric).subject_to(part.asking(outputs, allowance), part.bound)
            try:
                solution = program.solve(part.solver, part.deadline)
            except ContradictionError as error:
                count = len(self.task.points)
                raise ContradictionError(of_all_images(error.contradiction, points, count)) from error
            model = apply(part.model, self.layer, solution.change, part.bound)
            whole = _of_all(solution, points, self.task.required.required.shape)
            return Attempt(model, (*self.before, self.layer), Proof(whole, self.metric, allowance))

        return _checked(self.task, points, once)


@dataclass(frozen=True, eq=False)
class SpareUnits:
    """Units of the last hidden layer that ordinary points do not need become detectors of the points; then `LastLayer`.

    Attributes:
        task: what is asked, with ordinary points.
        hidden, last: the names of both layers, with a ReLU between.
    """

    task: Task
    hidden: str
    last: str
    name: str = "spare units"

    def attempt(self, points: Indices) -> Attempt:
        """See `Way`."""
        return self._planted.attempt(points)

    @functools.cached_property
    def _planted(self) -> LastLayer:
        task = self.task
        planting, ordinary = self._planting()
        whole = np.zeros((len(ordinary.rows), ordinary.rows.shape[1]))
        whole[planting.units] = planting.change
        ridges = np.full(len(whole) + 1, RIDGE)
        ridges[planting.units] = PLANTED_RIDGE
        planted = replace(task, model=apply(task.model, self.hidden, whole, task.bound))
        return LastLayer(planted, self.last, ridges, (self.hidden,))

    def _planting(self) -> tuple[Planting, _HiddenLayer]:
        task, chain = self.task, chain_of(self.task.model)
        assert task.ordinary is not None
        seen = _HiddenLayer.of(chain, self.hidden, task.ordinary)
        weights = _doubts(task.ordinary_outputs)
        behind = task.model.get_submodule(self.last).weight.detach().double().numpy()  # type: ignore[operator]
        spare = spare_units(behind, seen.values, task.ordinary_outputs, weights, np.ones(len(weights)))
        units, count = spare.within(seen.rows, task.bound)
        if count < len(np.unique(task.required.kinds)):
            raise UnsupportedLayerError(f"{self.hidden!r} has {count} units to spare, too few.")
        found = prepared(
            seen.rows,
            units[:count],
            _HiddenLayer.of(chain, self.hidden, task.points).inputs[:, None],
            task.required.kinds,
            (task.required.required - task.required.at(task.outputs)).max(axis=1),
            metric=second_moment_metric(_moment(append_one(seen.inputs), weights), INPUT_RIDGE),
            ordinary=lambda: iter([seen.inputs]),
            threshold=THRESHOLD,
            tolerated=TOLERATED_RESPONSE,
            bound=task.bound,
        )
        return found.planting, seen


@dataclass(frozen=True, eq=False)
class _HiddenLayer:
    """A hidden linear layer: its weights and biases, (m, k + 1), and what points make of it."""

    rows: NDArray[np.floating]
    inputs: NDArray[np.float32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, chain: Chain, layer: str, points: torch.Tensor) -> _HiddenLayer:
        head, linear, _ = chain.split(layer)
        assert isinstance(linear, nn.Linear)
        with torch.inference_mode():
            inputs = head(points)
            values = linear(inputs).relu()
        return cls(rows_of(linear), inputs.float().numpy(), values.float().numpy())


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Any layer of a chain, moved by steps that linearise anew; nothing is proved of its size.

    Attributes:
        task: what is asked, with ordinary points.
        layer: the one that moves.
    """

    task: Task
    layer: str

    @property
    def name(self) -> str:
        """See `Way`."""
        return f"layer {self.layer}"

    @functools.cached_property
    def metric(self) -> KroneckerMetric:
        """How far a change moves ordinary points."""
        ordinary = self.task.ordinary
        assert ordinary is not None
        return kronecker_metric(
            self.task.model,
            self.layer,
            lambda: torch.split(ordinary, 1000),
            GRADIENT_POINTS,
            ridges=(self._ridge, OUTPUT_RIDGE),
            time_limit=self.task.deadline,
        )

    @property
    def _ridge(self) -> float:
        ordinary, weight = self.task.ordinary, self.task.model.get_submodule(self.layer).weight
        assert ordinary is not None and isinstance(weight, torch.Tensor)
        return SEEN_RIDGE if len(ordinary) >= SEEN * weight[0].numel() else INPUT_RIDGE

    def attempt(self, points: Indices) -> Attempt:
        """See `Way`."""
        part = self.task.of(points)
        view = linearise(part.model, self.layer, part.points, time_limit=part.deadline)

        def once(allowance: float) -> Attempt:
            asked = part.asking(view.affine_outputs, allowance)
            scale = part.margin or max(float(asked.required.max()), 0.0)
            steps = relinearise(view, asked, scale, metric=self.metric, bound=part.bound, time_limit=part.deadline)
            return Attempt(apply(part.model, self.layer, steps.unwrap().change, part.bound), (self.layer,))

        return _checked(self.task, points, once)


def ways_for(task: Task, layer: str) -> list[Way]:
    """The ways that a task leaves: of a named layer, or with ``auto`` of all.

    Raises:
        UnsupportedLayerError: none; the message says which layers there are.
    """
    last, (chain, why) = _last_layer(task.model), _chain_or_why(task.model)
    changeable = [] if chain is None else [name for name in chain.repairable if name != last]
    hidden = [name for name in changeable if _can_change(task.model.get_submodule(name))]
    if layer not in ("auto", last, *hidden) or (last is None and not hidden):
        possible = ", ".join([*hidden, *([last] if last else [])])
        raise UnsupportedLayerError(f"Layer {layer!r} cannot be repaired{why}; choose from: {possible or 'none'}.")
    if layer == last or task.ordinary is None:
        return [LastLayer(task, last)] if last else []
    if layer != "auto":
        return [HiddenLayer(task, layer)]
    found: list[Way] = [LastLayer(task, last)] if last else []
    if last and chain and _is_behind_relu(chain, last) and _can_change(chain.layers[-3]):
        found.append(SpareUnits(task, chain.names[-3], last))
    return [*found, *(HiddenLayer(task, name) for name in hidden)]


def _can_change(module: nn.Module) -> bool:
    """Whether a layer has a bias, and neither it nor the weight is computed from other parameters."""
    return isinstance(module.weight, nn.Parameter) and isinstance(module.bias, nn.Parameter)


def _last_layer(model: nn.Module) -> str | None:
    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    name, module = leaves[-1]
    return name if isinstance(module, nn.Linear) and _can_change(module) else None


def _chain_or_why(model: nn.Module) -> tuple[Chain | None, str]:
    """A network as a chain, and why it is none, or its first layers are not part of it."""
    try:
        chain = chain_of(model)
    except UnsupportedLayerError as error:
        return None, f" ({error})"
    return chain, chain.why


def _is_behind_relu(chain: Chain, last: str) -> bool:
    kinds = [type(layer) for layer in chain.layers[-3:]]
    return chain.names[-1] == last and kinds == [nn.Linear, nn.ReLU, nn.Linear]


def _checked(task: Task, points: Indices, once: Callable[[float], Attempt]) -> Attempt:
    """The attempt in which chosen points have what is required; with more allowance where rounding took it.

    All points of the task run forward, for the last bits depend on which run together, and they have more than is
    required by as much as that can be.

    Raises:
        SolverFailedError: rounding takes more than any allowance.
    """
    allowance = task.allowance
    for _ in range(ATTEMPTS):
        attempt = once(allowance)
        if (missing := float(task.missing(attempt.model)[points].max()) + task.noise) <= 0.0:
            return attempt
        allowance = max(10 * allowance, allowance + 2 * missing)
    raise SolverFailedError(f"The repaired network misses what is required by {missing:.2g}, which rounding takes.")


def _of_all(solution: Solution, points: Indices, shape: tuple[int, ...]) -> Solution:
    """The solution with multipliers for all constraints of a shape, zeros where points were not asked about."""
    margins = np.zeros(shape)
    margins[points] = solution.multipliers.margins
    return replace(solution, multipliers=Multipliers(margins, solution.multipliers.bounds))


def _doubts(logits: Matrix) -> Vector:
    """How much each ordinary point counts, (R,), in sum 1: by how much its answer can still change."""
    curvature = softmax_curvature(torch.from_numpy(logits)).numpy()
    if curvature.mean() <= NO_DOUBT:
        curvature = np.ones(len(logits))
    return np.asarray(curvature / curvature.sum())


def _moment(inputs: Matrix, weights: Vector) -> Matrix:
    return np.asarray((inputs * weights[:, None]).T @ inputs)
