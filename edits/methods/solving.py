"""From a network and a task to weights that were written, loaded again and passed the forward pass; or to a proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import sytorch
from edits.methods.hidden_layer import LayerProblem, first_allowance, layer_problem
from edits.methods.repair import Repair, apply_changes, changes_of, compute_repair, rounding_allowance
from edits.network.prepared import Network
from edits.outcome.saving import save_verified
from edits.task import Task
from helpers.cli import say
from helpers.errors import NotProvedError, NotVerifiedError
from model_classes.alexnet import AlexNet
from model_classes.changes import changes_content

ATTEMPTS = 3


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repair that was written and verified: its weights, and the logits of what was constrained by the file.

    Attributes:
        repair: the change, with its proof.
        state: the weights after, by name.
        logits: float32 (N, C), of the images and copies that were constrained.
        allowance: by how much more than the margin the program asked for.
        metric: of the last layer; None for another.
        problem: of a layer other than the last; None for that.
    """

    repair: Repair
    state: dict[str, torch.Tensor]
    logits: torch.Tensor
    allowance: float
    metric: sytorch.Metric | None = None
    problem: LayerProblem | None = None


class RefutedError(Exception):
    """No change gives the margin that was asked.

    Attributes:
        contradiction: the proof.
        problem: of a layer other than the last; None for that.
    """

    def __init__(self, contradiction: sytorch.Contradiction, problem: LayerProblem | None):
        super().__init__("the constraints contradict each other")
        self.contradiction, self.problem = contradiction, problem


@dataclass(frozen=True, eq=False)
class LastLayer:
    """The program of the last layer, for any allowance.

    Attributes:
        task: what is asked.
        outputs: of the edit images and copies, affine in the layer's change.
        metric: in which the norm is taken.
        solver: who solves.
    """

    task: Task
    outputs: sytorch.AffineOutputs
    metric: sytorch.Metric
    solver: sytorch.Solver

    def repair(self, allowance: float) -> Repair:
        """The smallest change with so much more than the margin.

        Raises:
            RefutedError: the margin that is asked cannot be had: the proof is of it, not of more.
            NotProvedError: it may be possible, but not with so much more; the message says so.
        """
        try:
            return self._solve(allowance)
        except sytorch.ContradictionError as error:
            self._refute_what_is_asked(error.contradiction)
            raise NotProvedError(
                f"a change with the margin {self.task.options.margin:g} exists, but none with the {allowance:.2g} more "
                "that rounding to float32 may take; raise --param-bound, or lower --margin, by a little."
            ) from error

    def _margins(self, allowance: float) -> sytorch.Margins:
        return sytorch.margin(self.outputs, self.task.constrained.labels, self.task.options.margin + allowance)

    def _solve(self, allowance: float) -> Repair:
        """See `edits.methods.repair.compute_repair`."""
        return compute_repair(
            self._margins(allowance),
            self.task.options,
            self.metric,
            solver=self.solver,
            time_limit=self.task.deadline,
        )

    def _refute_what_is_asked(self, found: sytorch.Contradiction) -> None:
        """Raise where multipliers refute the margin that is asked; those found may refute only more than that."""
        refuted = sytorch.refuted_bound(self._margins(0.0), found.multipliers.margins)
        if found.proved_for_all_changes and refuted > self.task.options.param_bound:
            raise RefutedError(replace(found, refuted_bound=refuted), None)
        try:
            self._solve(0.0)
        except sytorch.ContradictionError as error:
            raise RefutedError(error.contradiction, None) from error


def repair_and_save(task: Task, network: Network) -> Repaired:
    """Solve, write and verify; where rounding ate a margin, once more with a larger allowance.

    Raises:
        SolverTimeLimitError, LicenceError, SolverFailedError: see `sytorch.Program.solve`.
        RefutedError, NotProvedError, NotVerifiedError: see `LastLayer.repair`; the saved weights fail the forward pass.
    """
    bench, options = task.bench, task.options
    metric, solver = network.metric(options), sytorch.solver_named(options.solver, say)
    task.deadline.check()
    with bench.clock.phase("program"):
        outputs = sytorch.symbolic(network.model, options.layer)(task.constrained.images)
    program = LastLayer(task, outputs, metric, solver)

    def attempt(allowance: float) -> Repaired:
        with bench.clock.phase("solve"):
            repair = program.repair(allowance)
        state = apply_changes(network.model, repair.changes, options.param_bound)
        with bench.clock.phase("write and verify"):
            return Repaired(repair, state, _save(task, state), allowance, metric=metric)

    return _allowing(rounding_allowance(outputs), attempt)


def repair_layer_and_save(task: Task) -> Repaired:
    """The same as `repair_and_save` for a layer other than the last."""
    bench, options = task.bench, task.options
    problem = layer_problem(bench, task.constrained, options)
    task.deadline.check()
    first = first_allowance(problem)

    def attempt(allowance: float) -> Repaired:
        with bench.clock.phase("solve"):
            try:
                repair = problem.repair(bench.model, allowance, allowance / first, task.deadline)
            except sytorch.ContradictionError as error:
                raise RefutedError(error.contradiction, problem) from error
        state = apply_changes(bench.model, repair.changes, options.param_bound)
        with bench.clock.phase("write and verify"):
            return Repaired(repair, state, _save(task, state, problem.check), allowance, problem=problem)

    return _allowing(first, attempt)


def _allowing(allowance: float, attempt: Callable[[float], Repaired]) -> Repaired:
    """What an attempt gives; where rounding ate a margin, the next one asks for ten times the allowance."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt(allowance)
        except NotVerifiedError:
            allowance *= 10
    return attempt(allowance)


def _save(
    task: Task, state: dict[str, torch.Tensor], check: Callable[[AlexNet], None] = lambda _: None
) -> torch.Tensor:
    """The logits of what was constrained by the verified file."""
    bench, content = task.bench, dict[str, Any](state)
    if task.kept_weights != "full":
        content = changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, task.output)
    classes = len(bench.test.class_names)
    return save_verified(
        content, task.written, task.constrained, task.options.margin, classes, place=task.output, check=check
    )
