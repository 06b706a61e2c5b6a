"""Repairing the last layer: the program of its smallest change, solved, written into the weights, and looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import sytorch
from edits.methods.writing import RefutedError, Repaired, with_allowances, write_verified
from edits.network.applying import apply_changes, by_parameter
from edits.network.hidden_units import NO_IMAGES
from edits.network.prepared import Network
from edits.pace import expected
from edits.task import Task
from helpers.cli import say_once
from helpers.errors import NotProvedError

ALLOWANCE = 1e-4  # of the logits


def repair_last_layer(task: Task, network: Network) -> Repaired:
    """Solve, write and verify; where rounding took a margin, again with a larger allowance.

    Raises:
        SolverTimeLimitError, LicenceError, SolverFailedError: see `sytorch.Program.solve`.
        RefutedError, NotProvedError: see `LastLayer.smallest_change`.
        NotVerifiedError: the repaired weights fail the forward pass.
    """
    bench, options = task.bench, task.options
    metric, solver = network.metric(options), sytorch.solver_named(options.solver, say_once)
    task.deadline.check()
    with bench.clock.phase("program", expected("program", task)):
        planted = NO_IMAGES if network.planted is None else network.planted
        outputs = network.outputs(bench.last_inputs(task.channels, network.model.state_dict(), planted))
    problem = LastLayer(task, outputs, metric, solver)

    def attempt(allowance: float) -> Repaired:
        with bench.clock.phase("solve", expected("solve", task)):
            solution = problem.smallest_change(allowance)
        changes = by_parameter(network.model, options.layer, solution.change)
        state = apply_changes(network.model, changes, options.param_bound)
        return Repaired(solution, state, *write_verified(task, state), allowance, metric=metric)

    return with_allowances(rounding_allowance(outputs), attempt)


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

    def program(self, allowance: float) -> sytorch.Program:
        """The smallest change with which every image has so much more than the margin, entries within the bound."""
        options = self.task.options
        margins = sytorch.margin(self.outputs, self.task.constrained.labels, options.margin + allowance)
        return sytorch.minimise(options.norm, self.metric).subject_to(margins, options.param_bound)

    def solve(self, program: sytorch.Program) -> sytorch.Solution:
        """Within the time that is left; see `sytorch.Program.solve` for what is raised."""
        return program.solve(self.solver, self.task.deadline, self.task.options.whole_program)

    def smallest_change(self, allowance: float) -> sytorch.Solution:
        """The solution with so much more than the margin.

        Raises:
            RefutedError: the margin that is asked cannot be had: the proof is of it, not of more.
            NotProvedError: it may be possible, but not with so much more; the message says so.
        """
        try:
            return self.solve(self.program(allowance))
        except sytorch.ContradictionError as error:
            self._refute_what_is_asked(error.contradiction)
            raise NotProvedError(
                f"a change with the margin {self.task.options.margin:g} exists, but none with the {allowance:.2g} more "
                "that rounding to float32 may take; raise --param-bound, or lower --margin, by a little."
            ) from error

    def _refute_what_is_asked(self, found: sytorch.Contradiction) -> None:
        """Raise where multipliers refute the margin that is asked; those found may refute only more than that."""
        asked = self.program(allowance=0.0)
        refuted = sytorch.refuted_bound(asked.margins, found.multipliers.margins)
        if found.proved_for_all_changes and refuted > asked.bound:
            raise RefutedError(replace(found, refuted_bound=refuted))
        try:
            self.solve(asked)
        except sytorch.ContradictionError as error:
            raise RefutedError(error.contradiction) from error


def rounding_allowance(outputs: sytorch.AffineOutputs) -> float:
    """A margin that float32 arithmetic does not use up: relative to the logits it is computed from."""
    return ALLOWANCE * max(1.0, float(np.abs(outputs.logits).max()))
