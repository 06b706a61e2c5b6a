"""``l1`` for thousands of images by a first-order method: what it returns is feasible, and proved apart from it.

Simplex and interior-point codes factor matrices of the program's size. Here an iteration is two products with the
images' coordinates, the same for all classes: the primal-dual hybrid gradient (Chambolle and Pock 2011) with the
restarts and the balance of steps of PDLP (Applegate et al. 2021). Now and then its point is made feasible and its
multipliers are turned into a lower bound, both in float64; the gap between these two ends it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from sytorch.certificate.bounds import farkas, lower_bound, refutation
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.saddle import Saddle, State
from sytorch.last_layer.shortfall import FEASIBILITY, CannotMeetError
from sytorch.last_layer.verification import BestSoFar
from sytorch.problem.arrays import Matrix
from sytorch.problem.errors import SolverFailedError
from sytorch.problem.solution import Multipliers, Solution, relative_gap
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.first_order import FirstOrderSolver

GAP = 1e-3
CHECK_EVERY = 100
ITERATION_LIMIT = 50_000
SHORT_LIMIT = 5_000  # where an exact solver can take over
RESTART = 0.4  # restart when the error has fallen to this share,
LONGEST = 0.36  # or when this share of all iterations passed without
WITHIN = 1e-4  # the iteration keeps the bound with so much to spare, which making the margins exact may use up

FARTHEST = 1e6  # of the balance of primal and dual steps from 1
PROJECTIONS = 30
SPARE = 1e-4


@dataclass(eq=False)
class _Best:
    """The best feasible point and the best proof so far."""

    x: Matrix | None = None
    objective: float = np.inf
    low: float = 0.0
    multipliers: Multipliers | None = None


@dataclass(eq=False)
class _Epoch:
    """Iterations since the last restart: their mean, which often is nearer to the optimum than the last of them."""

    start: State
    error: float = np.inf
    mean: State = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.mean = self.start

    def add(self, state: State) -> None:
        self.count += 1
        self.mean = self.mean.combined(state, 1 / self.count)


class FirstOrder:
    """The program ``min |x|_1`` under margins and ``|D| <= bound``."""

    def __init__(self, problem: Problem, solver: CountedSolver):
        self.problem, self.solver = problem, solver
        self.coordinates, self.margins, self.bound = problem.coordinates, problem.margins, problem.bound
        self.norm, self.best = problem.norm, _Best()
        self.so_far = BestSoFar(problem, solver, FirstOrderSolver.name)
        self.features: list[int] = []

    def solve(self, limit: int) -> Solution:
        """Iterate until the gap is closed; see `minimise_first_order`."""
        saddle = self._saddle()
        state, balance, done = saddle.origin(), 1.0, 0
        current = _Epoch(state)
        while done < limit:
            for _ in range(CHECK_EVERY):
                state = saddle.step(state, balance)
                current.add(state)
            done += CHECK_EVERY
            self.solver.count(CHECK_EVERY, self._constraints(), self.coordinates.rows.shape[1] * state.x.shape[1])
            broken = self._judge(saddle, state) | self._judge(saddle, current.mean)
            if broken - set(self.features):
                self.features = sorted(broken | set(self.features))
                saddle, state = self._saddle(), _watching_more(state, saddle.features, self.features)
                current = _Epoch(state)
            if self.best.x is not None and relative_gap(self.best.objective, self.best.low) <= GAP:
                return self._solution()
            state, balance, current = _restarted(saddle, state, balance, current, done)
        raise SolverFailedError(
            f"The first-order method did not close the gap in {limit} iterations; try --norm l2 or --solver highs."
        )

    def _saddle(self) -> Saddle:
        return Saddle(self.problem, self.bound * (1 - WITHIN), self.features)

    def _constraints(self) -> int:
        margins = int(np.count_nonzero(np.isfinite(self.margins.required)))
        classes: int = self.margins.required.shape[1]
        return margins + 2 * classes * len(self.features)

    def _judge(self, saddle: Saddle, state: State) -> set[int]:
        """Take what is better than the best so far; returns the features whose bound the feasible point breaks.

        Raises:
            CannotMeetError: the multipliers prove that no change within the bound meets the margins.
        """
        multipliers = saddle.multipliers(state, self.margins.outputs.inputs.shape[1])
        low = lower_bound(self.norm, self.coordinates, self.margins, self.bound, multipliers)
        if low > self.best.low:
            self.best.low, self.best.multipliers = low, multipliers
        proof = farkas(self.coordinates, self.margins, self.bound, multipliers) if self.best.x is None else None
        if proof := proof or refutation(self.margins, self.bound, multipliers.margins):
            raise CannotMeetError(proof)
        x, meets = self._feasible(state.x.double().numpy().T)
        beyond = np.abs(self.coordinates.change(x)) > self.bound * (1 + 1e-9)
        if meets and not beyond.any() and self.norm.value(x) < self.best.objective:
            self.best.x, self.best.objective = x, self.norm.value(x)
        if self.best.x is not None:
            self.so_far.keep(self.best.x, self.best.multipliers or self.problem.no_multipliers)
        return set(np.flatnonzero(beyond.any(axis=0)).tolist())

    def _feasible(self, x: Matrix) -> tuple[Matrix, bool]:
        """An ``x``, (C, m), near by, own logits raised by what the worst margin lacks, and whether it has the margins.

        Where the images' logits can be moved one by one, once is enough. Where they depend on each other, raising one
        moves others: a little more is asked for, and that again and again (projections in turn).
        """
        for _ in range(PROJECTIONS):
            shortfall = self.margins.shortfall(self.coordinates.rows @ x.T).max(axis=1)
            if shortfall.max() <= FEASIBILITY:
                return x, True
            raised = np.zeros(self.margins.required.shape)
            raised[np.arange(len(raised)), self.margins.labels] = np.where(
                shortfall > 0.0, shortfall + self._spare, 0.0
            )
            x = x + (self._inverse @ raised).T
        return x, False

    @functools.cached_property
    def _spare(self) -> float:
        """What is asked for beyond the margins, where the images' logits depend on each other."""
        rows = self.coordinates.rows
        return 0.0 if np.allclose(rows @ self._inverse, np.eye(len(rows)), atol=1e-9) else SPARE

    @functools.cached_property
    def _inverse(self) -> Matrix:
        rows = self.coordinates.rows
        return np.asarray(np.linalg.pinv(rows, hermitian=self.coordinates.basis is not None))

    def _solution(self) -> Solution:
        best = self.best
        assert best.x is not None and best.multipliers is not None
        return self.problem.solution(
            best.x,
            best.objective,
            lower_bound=best.low,
            multipliers=best.multipliers,
            path=FirstOrderSolver.name,
            effort=self.solver.effort(),
        )


def minimise_first_order(problem: Problem, solver: CountedSolver) -> Solution:
    """Minimise ``l1`` to a relative gap of `GAP`; where few margins are missing, iterations end sooner.

    Raises:
        CannotMeetError: it is proved that no change within the bound meets the margins.
        SolverFailedError: the gap does not close.
        SolverTimeLimitError: the time is up.
    """
    method = FirstOrder(problem, solver)
    with method.so_far:
        return method.solve(SHORT_LIMIT if problem.is_small else ITERATION_LIMIT)


def _watching_more(state: State, before: list[int], after: list[int]) -> State:
    """The state with zero multipliers for the features that are new."""
    bounds = state.bounds.new_zeros(len(after), state.x.shape[1])
    bounds[[after.index(feature) for feature in before]] = state.bounds
    return State(state.x, state.margins, bounds)


def _restarted(saddle: Saddle, state: State, balance: float, current: _Epoch, done: int) -> tuple[State, float, _Epoch]:
    """Go on from the mean or the last point, whichever is nearer to the optimum, where that is much nearer than before.

    The balance of primal and dual steps follows how far the two moved.
    """
    nearest = min(state, current.mean, key=saddle.error)
    error = saddle.error(nearest)
    if error > RESTART * current.error and current.count < LONGEST * done:
        return state, balance, current
    primal, dual = nearest.distances(current.start)
    if min(primal, dual) > 1e-10:
        balance = min(max((balance * primal / dual) ** 0.5, 1 / FARTHEST), FARTHEST)
    return nearest, balance, _Epoch(nearest, error)
