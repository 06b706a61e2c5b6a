"""Programs of many constraints by splitting: the alternating direction method of multipliers in graph form.

Moves of the layer's outputs and rows of constraints are two copies of one thing (Parikh and Boyd 2014): in turn, the
norm and the constraints move each by itself, and a projection makes the copies agree. What the layers behind do
to the rows is inside the projection, so rows that depend on each other, which slow methods that only multiply, cost
nothing. Rows are asked for a little more than is required, so that what is missed in the end is still enough.

Where a program has no solution, multipliers grow along a proof of it, the sooner the longer the penalty stays as it is.
Averaged, they show it long before the last ones do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from sytorch.certificate.bounds import bound_from
from sytorch.hidden_layer.dual import DualProblem, Optimum, Watch
from sytorch.hidden_layer.moves import Moves
from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import SolverTimeLimitError, gave_up

GAP = 1e-2
NARROWING = 4.0
RELAXATION = 1.6
FIRST_PENALTY, CERTIFICATE_PENALTY = 300.0, 1e5
CHECK_EVERY, FIRST_BALANCE = 25, 100
ITERATION_LIMIT, CERTIFICATE_LIMIT = 20_000, 2_500
AVERAGED = 50
REACHED = 1e-2
MEMORY = 4e9


class Blocks:
    """The outputs of each image that move rows behind the first signs, and the products of what they do there."""

    def __init__(self, moves: Moves, deadline: Deadline):
        self.places, self.products = [], []
        for image in range(len(moves.constraints.view.inputs)):
            rows = moves.behind(image, deadline)
            self.places.append(moves.going_on(image))
            self.products.append(rows @ rows.T)


class GraphProjection:
    """Solves the system for all images.

    Args:
        moves: the rows, and G.
        blocks: of the same.
        penalty: r.
    """

    def __init__(self, moves: Moves, blocks: Blocks, penalty: float):
        moment, self._places = moves.outputs_moment, blocks.places
        count = len(moment)
        self._diagonal = penalty * moves.direct**2
        shifted = moment.double() + self._diagonal * torch.eye(count).double()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(shifted))
        self._cores = []
        for places, products in zip(blocks.places, blocks.products, strict=True):
            pixels, units = places // count, places % count
            seen = inverse[units][:, units] * (pixels[:, None] == pixels)
            weighed = penalty * products.double()
            system = weighed @ seen + torch.eye(len(places)).double()
            self._cores.append(torch.linalg.solve(system, weighed).to(products.dtype))
        self._inverse = inverse.to(moment.dtype)

    def solve(self, target: torch.Tensor, pulled: torch.Tensor) -> torch.Tensor:
        """For ``rhs = G target + pulled``, (N, P, m) each; the product with G itself is not needed."""
        first = target + (pulled - self._diagonal * target) @ self._inverse
        inner = torch.zeros_like(first).flatten(1)
        for image, (places, core) in enumerate(zip(self._places, self._cores, strict=True)):
            inner[image, places] = core @ first[image].flatten()[places]
        return first - inner.view_as(first) @ self._inverse


def fits(moves: Moves) -> bool:
    """Whether the matrices of all images are small enough."""
    sizes = (len(moves.going_on(image)) for image in range(len(moves.constraints.view.inputs)))
    return 16 * sum(size**2 for size in sizes) <= MEMORY


@dataclass(eq=False)
class _Iterate:
    """Moves, (N, P, m), and rows, (R,), on the graph, and their scaled duals."""

    moves: torch.Tensor
    rows: torch.Tensor
    moves_dual: torch.Tensor
    rows_dual: torch.Tensor


@dataclass(frozen=True, eq=False)
class _Halves:
    """What the norm and the constraints each would have.

    Attributes:
        weights: (J, m); the norm's moves are ``K @ weights``.
        moves: these.
        rows: the constraints' rows.
        multipliers: of the rows, none negative.
    """

    weights: torch.Tensor
    moves: torch.Tensor
    rows: torch.Tensor
    multipliers: torch.Tensor


class Splitting:
    """The iterations.

    Args:
        moves: the program, in the floating-point type of the iterations.
        watch: called with multipliers of the constraints, float64; it may raise.
        deadline: looked at in every iteration.
        penalty: of missed rows, at first.
    """

    def __init__(self, moves: Moves, watch: Watch, deadline: Deadline, penalty: float):
        self._moves, self._watch, self._deadline = moves, watch, deadline
        self._dtype = moves.kernel.dtype
        self._tolerances = moves.constraints.final_tolerances
        self._extra_slack = moves.per_unit(moves.constraints.extra_slack)
        self._blocks = Blocks(moves, deadline)
        identity = torch.eye(len(moves.kernel), dtype=self._dtype)
        self._weights_of = torch.linalg.inv(identity + moves.kernel)
        self._average = torch.zeros_like(self._aim)
        self._balance_at = FIRST_BALANCE
        self._met: tuple[_Halves, int] | None = None
        self._set_penalty(penalty)

    def run(self) -> Optimum:
        """Iterate until the constraints are met and the gap is closed, or the time is up and the constraints were met.

        Raises:
            SolverTimeLimitError: the time is up before they are.
            SolverFailedError: that takes too many iterations.
        """
        try:
            return self._converged()
        except SolverTimeLimitError as error:
            if self._met is None:
                raise
            return replace(self._optimum(*self._met), late=error)

    def _converged(self) -> Optimum:
        for iteration, now, halves in self._iterations(ITERATION_LIMIT):
            if iteration % CHECK_EVERY == 0 and self._is_met(halves):
                self._met = halves, iteration
                if self._is_closed(halves):
                    return self._optimum(halves, iteration)
            if iteration == self._balance_at:
                self._balance(now, halves)
        raise gave_up(f"splitting did not end in {ITERATION_LIMIT} iterations")

    def _optimum(self, halves: _Halves, iteration: int) -> Optimum:
        multipliers, change = self._moves.per_unit(halves.multipliers), self._moves.change(halves.weights)
        return Optimum(multipliers, change, iteration, self._tolerances, "splitting")

    def find_certificate(self) -> None:
        """Iterate at one penalty until the watch finds that multipliers are one, or there is little hope of that."""
        margins = self._moves.constraints.margins.required
        most = float(margins[np.isfinite(margins)].max())
        for iteration, _, halves in self._iterations(CERTIFICATE_LIMIT):
            if iteration % CHECK_EVERY:
                continue
            if not bool(torch.isfinite(halves.multipliers).all()):  # rounding made them run away
                return
            if float(self._moves.missing(halves.moves)[: margins.size].max()) <= REACHED * most:
                return

    def _iterations(self, limit: int) -> Iterator[tuple[int, _Iterate, _Halves]]:
        view = self._moves.constraints.view
        nothing = torch.zeros(*view.inputs.shape[:2], len(view.units), dtype=self._dtype)
        rows = torch.zeros_like(self._aim)
        now = _Iterate(nothing, rows, nothing, rows)
        for iteration in range(1, limit + 1):
            self._deadline.check()
            halves = self._halves(now)
            self._agree(now, halves)
            self._average.lerp_(halves.multipliers, 1 / AVERAGED)
            if iteration % CHECK_EVERY == 0:
                self._watch(self._moves.per_unit(self._average).double())
            yield iteration, now, halves

    @property
    def _aim(self) -> torch.Tensor:
        return (self._moves.required + self._extra_slack).to(self._dtype)

    def _set_penalty(self, penalty: float) -> None:
        self._penalty = penalty
        self._projection = GraphProjection(self._moves, self._blocks, penalty)

    def _halves(self, now: _Iterate) -> _Halves:
        target = (now.moves - now.moves_dual).flatten(0, 1)
        weights = self._weights_of @ target
        wanted = now.rows - now.rows_dual
        rows = torch.maximum(wanted, self._aim)
        return _Halves(
            weights, (self._moves.kernel @ weights).view_as(now.moves), rows, self._penalty * (rows - wanted)
        )

    def _agree(self, now: _Iterate, halves: _Halves) -> None:
        moves = now.moves.lerp(halves.moves, RELAXATION) + now.moves_dual
        rows = now.rows.lerp(halves.rows, RELAXATION) + now.rows_dual
        pulled = self._moves.pull(self._penalty * rows)
        now.moves = self._projection.solve(moves, pulled)
        now.rows = self._moves.rows(now.moves)
        now.moves_dual, now.rows_dual = moves - now.moves, rows - now.rows

    def _is_met(self, halves: _Halves) -> bool:
        """Whether all constraints are."""
        return bool((self._moves.missing(halves.moves) <= self._tolerances).all())

    def _is_closed(self, halves: _Halves) -> bool:
        """Whether the gap is; where it is so only to what is asked for beyond, less of that is asked for."""
        pulled = self._moves.pull(halves.multipliers).flatten(0, 1)
        raised = pulled if self._moves.metric.outputs is None else pulled @ self._moves.metric.outputs_inverse
        dual_size = math.sqrt(max(float((self._moves.kernel @ raised * pulled).sum()), 0.0))
        size = math.sqrt(float((halves.moves.flatten(0, 1) @ self._moves.outputs_moment * halves.weights).sum()))

        def gap(required: torch.Tensor) -> float:
            return size - bound_from(float(halves.multipliers @ required), dual_size)

        if gap(self._aim) <= 0.5 * GAP * size < GAP * size < gap(self._moves.required):
            self._extra_slack = self._extra_slack / NARROWING
        return gap(self._moves.required) <= GAP * size

    def _balance(self, now: _Iterate, halves: _Halves) -> None:
        """Raise the penalty of missed rows where they are what is left to do, and lower it where the norm is.

        Ever more rarely: iterations converge while the penalty is the same.
        """
        moment = self._moves.outputs_moment
        apart = float((halves.rows - now.rows).norm()) / max(float(now.rows.norm()), 1e-30)
        scale = max(float(self._moves.pull(halves.multipliers).norm()), float((halves.weights @ moment).norm()), 1e-30)
        off = float(((halves.moves - now.moves) @ moment).norm()) / scale
        factor = math.sqrt(apart / max(off, 1e-30))
        self._balance_at += FIRST_BALANCE if 1 / 3 <= factor <= 3 else max(FIRST_BALANCE, self._balance_at // 2)
        if not 1 / 3 <= factor <= 3:
            factor = min(max(factor, 0.1), 10.0)
            now.rows_dual = now.rows_dual / factor
            self._set_penalty(self._penalty * factor)


def by_splitting(dual: DualProblem, deadline: Deadline) -> Optimum:
    """The optimum of a program without bounds on entries, to a gap of `GAP`; at a time limit the best so far.

    Raises:
        ContradictionError: multipliers on the way refute the program.
        SolverFailedError: it takes too many iterations.
        SolverTimeLimitError: the time is up before the constraints are met.
    """
    return Splitting(dual.moves, dual.watch(deadline), deadline, FIRST_PENALTY).run()


def find_infeasibility_certificate(dual: DualProblem, deadline: Deadline) -> None:
    """Look for multipliers that refute the program, in float32: what they prove is computed apart."""
    Splitting(dual.moves.to(torch.float32), dual.watch(deadline), deadline, CERTIFICATE_PENALTY).find_certificate()
