"""The dual of a fixed pattern's program, solved in two ways: Newton's for few constraints, proportioning for many.

Both scale rows to a length near one and soften the program less and less: a row may be missed by so many times its
multiplier. A softened program is quick to solve and enough to refute most programs that have no solution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy  # `optimize` is imported on its first use: 0.3 s
import torch

from sytorch.hidden_layer.infeasibility import refute, refutes_distance
from sytorch.hidden_layer.inner_products import DualOperator
from sytorch.hidden_layer.moves import Moves
from sytorch.numerics.ascent import largest_eigenvalue
from sytorch.numerics.newton import Point, soften
from sytorch.numerics.proportioning import minimise_nonnegative
from sytorch.problem.deadline import Deadline
from sytorch.problem.errors import SolverFailedError, SolverTimeLimitError, gave_up

Watch = Callable[[torch.Tensor], None]
NEWTON_SOFTNESS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
PROXIMAL_LIMIT = 50
LEAST_DISTANCE_ROWS, RANK = 1_000, 1e-12
FEW_ROWS = 6_000
SOFTNESS = (1e-3, 1e-5, 1e-7)
ELASTIC = 1e-9
REPEATS = 10
PROBES = 3
GAP = 1e-8


@dataclass(frozen=True, eq=False)
class DualProblem:
    """The dual as every method gets it.

    A method is a function of a problem and a deadline; it returns an `Optimum`.

    Attributes:
        operator: products with the constraints' inner products.
        bound: on every entry of the weights' change, which multipliers may refute.
        lengths: typical ones of the operator's rows, (R,).
        start: multipliers to begin with, (R,).
    """

    operator: DualOperator
    bound: float
    lengths: torch.Tensor
    start: torch.Tensor

    @functools.cached_property
    def moves(self) -> Moves:
        """The same program in the moves of the layer's outputs."""
        return Moves(self.operator.constraints, self.operator.metric, self.lengths)

    def watch(self, deadline: Deadline) -> Watch:
        """What methods call with multipliers: it raises where they refute the program, or the time is up."""

        def look(multipliers: torch.Tensor) -> None:
            deadline.check()
            refute(self.operator.constraints, self.bound, multipliers)

        return look


@dataclass(frozen=True, eq=False)
class Optimum:
    """What a method found.

    Attributes:
        multipliers: (R,), of the constraints.
        change: (m, k).
        steps: how many steps or products it took.
        tolerances: (R,), by how much the change may miss the constraints; zero where they do not but by rounding.
        method: its name.
        late: the time limit that ended the method before the gap was closed; None where none did.
    """

    multipliers: torch.Tensor
    change: torch.Tensor
    steps: int
    tolerances: torch.Tensor
    method: str
    late: SolverTimeLimitError | None = None


Method = Callable[[DualProblem, Deadline], Optimum]


def by_newton(dual: DualProblem, deadline: Deadline) -> Optimum:
    """The optimum; the inner products of missed rows are written out.

    Softened programs come near, and the method of multipliers (Rockafellar 1976) ends there: each further program is
    softened around the multipliers of the one before, so that what is missed goes to zero at the same softness. Where
    there is no change, what the multipliers grow by refutes it. Where that is slow, and rows are few, `least_distance`
    ends it.

    Raises:
        ContradictionError: multipliers on the way refute the program.
        SolverFailedError: rounding is in the way, or signs can be kept only at zero itself.
        SolverTimeLimitError: the time is up.
    """
    try:
        return _newton(dual, deadline)
    except SolverFailedError:
        if len(dual.lengths) > LEAST_DISTANCE_ROWS:
            raise
        return least_distance(dual, deadline)


def _newton(dual: DualProblem, deadline: Deadline) -> Optimum:
    operator, watch = dual.operator, dual.watch(deadline)
    tolerances, steps = operator.constraints.tolerances, 0
    point = Point(dual.start, operator.required - operator.scores(dual.start))
    for softness in NEWTON_SOFTNESS:
        point, used = soften(operator, softness * dual.lengths**2, point, tolerances, watch)
        steps += used
    elastic = NEWTON_SOFTNESS[-1] * dual.lengths**2
    for _further in range(PROXIMAL_LIMIT):
        off = abs(float(point.weights @ point.missing))
        is_close = off <= GAP * abs(float(point.weights @ (operator.required - point.missing)))
        if is_close and bool((point.missing <= tolerances).all()):
            return _exact(operator, point.weights, steps, "finite Newton steps")
        before = point.weights
        point, used = soften(operator, elastic, point, tolerances, watch, centre=before)
        steps += used
        watch(point.weights - before)
    raise gave_up(f"a constraint is still missed after {steps} Newton steps")


def least_distance(dual: DualProblem, deadline: Deadline) -> Optimum:
    """The optimum by one least-squares problem whose unknowns, the multipliers, are not negative.

    The residual is along the change, which may be large by far; where it is zero, the multipliers are the proof that
    there is none (Lawson and Hanson 1974, "least distance programming").

    Raises:
        ContradictionError, SolverFailedError, SolverTimeLimitError: as in `by_newton`.
    """
    operator, lengths, size = dual.operator, dual.lengths, 1.0
    values, vectors = torch.linalg.eigh(operator.gram(torch.arange(len(lengths))) / lengths[:, None] / lengths)
    seen = values > RANK * values[-1]
    rows, required = vectors[:, seen] * values[seen].sqrt(), operator.required / lengths
    for _ in range(2):  # the second time with a change of length one
        system = torch.cat([rows.T, required[None] / size]).numpy()
        try:
            found = torch.from_numpy(scipy.optimize.nnls(system, np.eye(len(system))[-1])[0])
        except RuntimeError as error:
            raise gave_up("the least-squares problem of its multipliers was not solved") from error
        dual.watch(deadline)(found / lengths)
        if refutes_distance(operator.constraints, dual.bound, found / lengths):
            raise gave_up("signs can be kept only at zero itself, not at the distance that rounding takes")
        multipliers = size * found / (1 - float(required @ found) / size)
        size = max(1.0, float((rows.T @ multipliers).norm()))
    multipliers = multipliers / lengths
    if not bool((operator.required - operator.scores(multipliers) <= operator.constraints.tolerances).all()):
        raise gave_up("a constraint is still missed after rounding")
    return _exact(operator, multipliers, 0, "least distance")


def in_turn(first: Method, second: Method) -> Method:
    """One method, and another one where that gives up."""

    def method(dual: DualProblem, deadline: Deadline) -> Optimum:
        try:
            return first(dual, deadline)
        except SolverFailedError:
            return second(dual, deadline)

    return method


def by_newton_of_few(dual: DualProblem, deadline: Deadline) -> Optimum:
    """`by_newton`, which gives up where more than `FEW_ROWS` are missed at a time."""
    return by_newton(replace(dual, operator=dual.operator.limited(FEW_ROWS)), deadline)


def by_proportioning(dual: DualProblem, deadline: Deadline) -> Optimum:
    """The same from products alone; the time is looked at for every one.

    Where rounding leaves rows missed, the last program is softened around its own multipliers, as in `by_newton`.

    Raises:
        ContradictionError, SolverFailedError, SolverTimeLimitError: as in `by_newton`.
    """
    operator, lengths, watch = dual.operator, dual.lengths, dual.watch(deadline)
    scale, point, products = 1 / lengths, dual.start * lengths, 0

    def scaled(vector: torch.Tensor) -> torch.Tensor:
        deadline.check()
        return scale * operator.scores(scale * vector)

    norm = 1.1 * largest_eigenvalue(
        scaled, torch.rand(len(lengths), generator=torch.Generator().manual_seed(0)).double(), 30
    )
    centre = torch.zeros_like(point)
    for elastic in (*(norm * share for share in SOFTNESS), *[ELASTIC] * REPEATS):
        softened = _Softened(scaled, operator, lengths, elastic, centre, watch)
        rhs = scale * operator.required + elastic * centre
        found = minimise_nonnegative(softened.product, rhs, norm, point, softened.is_done)
        point, products = found.point, products + found.products
        if elastic == ELASTIC and found.is_done:
            return _exact(operator, scale * point, products, "proportioning")
        if elastic == ELASTIC:
            watch(scale * (point - centre))
            centre = point
    raise gave_up("rounding ends the iterations before the optimum")


def _exact(operator: DualOperator, multipliers: torch.Tensor, steps: int, method: str) -> Optimum:
    return Optimum(multipliers, operator.change(multipliers), steps, torch.zeros_like(multipliers), method)


@dataclass(frozen=True, eq=False)
class _Softened:
    """The dual with scaled rows, softened: one may be missed by ``elastic`` times its multiplier beyond ``centre``."""

    scaled: Callable[[torch.Tensor], torch.Tensor]
    operator: DualOperator
    lengths: torch.Tensor
    elastic: float
    centre: torch.Tensor
    watch: Watch

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        return self.scaled(vector) + self.elastic * vector

    def is_done(self, point: torch.Tensor, gradient: torch.Tensor) -> bool:
        """Whether the point is near enough; the watch raises where the multipliers refute the program."""
        self.watch(point / self.lengths)
        square = float(point @ (gradient + self.operator.required / self.lengths))
        slope = abs(float(point @ gradient))
        if self.elastic > ELASTIC:
            return float(gradient.min()) >= -0.1 * self.elastic * float(point.max()) and slope <= 0.1 * square
        missed = (self.elastic * (point - self.centre) - gradient) * self.lengths
        return bool((missed <= self.operator.constraints.tolerances).all()) and slope <= GAP * square


def typical_lengths(operator: DualOperator, deadline: Deadline) -> torch.Tensor:
    """The typical length of each image's rows of each kind, (R,), from products with random signs (Hutchinson 1990).

    Never zero: a row that no change moves has to stay in sight, for it may be what cannot be met.
    """
    constraints = operator.constraints
    generator = torch.Generator().manual_seed(0)
    shapes = constraints.groups()
    squares = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    for place, shape in enumerate(shapes):
        if not shape.numel():
            continue
        for _ in range(PROBES):
            deadline.check()
            signs = [torch.zeros(other, dtype=torch.float64) for other in shapes]
            signs[place] = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
            answer = constraints.grouped(operator.scores(torch.cat([part.flatten() for part in signs])))[place]
            found = answer * signs[place]
            squares[place] += torch.maximum(found.mean(dim=-1, keepdim=True), 0.1 * found.mean()) / PROBES
    flat = torch.cat([square.flatten() for square in squares])
    return torch.where(flat > 0, flat, 1.0).sqrt()
