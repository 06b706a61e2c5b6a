"""The Euclidean norm: a quadratic program in the multipliers alone, with a row for each violated constraint."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse

from sytorch.certificate.bounds import refutation
from sytorch.last_layer.by_class import fits, minimise_by_class
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.quadratic_rows import WorkingConstraints, WorkingRows
from sytorch.last_layer.shortfall import CannotMeetError, refute
from sytorch.last_layer.verification import BestSoFar
from sytorch.numerics.active_set import least_distance, polished, solved_by_root
from sytorch.numerics.ascent import ascend
from sytorch.problem.arrays import Matrix, Vector
from sytorch.problem.errors import UNKNOWN, SolverFailedError
from sytorch.problem.solution import Solution
from sytorch.solvers.counted import CountedSolver
from sytorch.solvers.linear_program import LinearProgram, unbounded

CAPS = (1e4, 1e8)  # of the multipliers' sum, which has no limit where there is no solution
ITERATION_LIMIT = 100
PATH = "decomposed"
ASCENT_LIMIT = 600
NEAR = 1e-3
MISSED = 5e-7  # of a margin of 1, or of the bound
NEARLY = 1e-6
REFINEMENTS = 3
EXACT_LIMIT = 1000  # rows, for methods that do not lose digits
DEPENDENT = 1e-13  # of the largest eigenvalue
ROOT_LIMIT = 20_000_000  # numbers
LONG_ASCENTS = (1_000, 4_000, 16_000)


def minimise_quadratic(problem: Problem, solver: CountedSolver) -> Solution:
    """Minimise ``||D M^(1/2)||`` under margins and ``|D| <= bound``, over all changes ``D``.

    Raises:
        CannotMeetError: no change satisfies the constraints.
        SolverFailedError: neither a change nor a proof is found.
    """
    if fits(problem) and (found := minimise_by_class(problem, solver)):
        return found
    working, multipliers = WorkingRows(problem), problem.no_multipliers
    with BestSoFar(problem, solver, PATH) as best:
        for _ in range(ITERATION_LIMIT):
            step = _Step(working, working.constraints(), solver, best)
            values = step.optimum(working.values(multipliers))
            change, multipliers = step.constraints.change(values), working.multipliers(values)
            if not working.add_violated(change):
                return problem.solution(change, multipliers, PATH, solver.effort())
    raise SolverFailedError(f"The program was not solved in {ITERATION_LIMIT} iterations: {UNKNOWN}")


class _Step:
    """The optimal multipliers of the working constraints."""

    def __init__(self, working: WorkingRows, constraints: WorkingConstraints, solver: CountedSolver, best: BestSoFar):
        self.working, self.constraints, self.solver, self.best = working, constraints, solver, best
        self.gram, self.rhs = constraints.gram(solver.check), constraints.rhs
        margins = int(working.margin_rows.sum())
        self.sizes = np.where(np.arange(len(self.rhs)) < margins, 1.0, working.bound)

    def optimum(self, known: Vector) -> Vector:
        """By the first of several ways whose change meets all working constraints.

        Raises:
            CannotMeetError: multipliers on the way refute the bound; without a solution they grow along a proof.
            SolverFailedError: they do neither.
        """
        for candidate in self._candidates(known):
            for found in (polished(self.gram, self.rhs, candidate), candidate):
                values = self._refined(found)
                self.best.keep(self.constraints.change(values), self.working.multipliers(values))
                lacking = self._lacking(values)
                if (lacking / self.sizes).max() <= MISSED and abs(float(values @ lacking)) <= NEARLY * abs(
                    float(values @ self.rhs)
                ):
                    return values
                weights = self.working.multipliers(found).margins
                if proof := refutation(self.working.margins, self.working.bound, weights):
                    raise CannotMeetError(proof)
        if len(self.rhs) <= EXACT_LIMIT:
            refute(self.working.problem, self.solver)
        raise SolverFailedError(f"Neither a change nor a proof that there is none was found: {UNKNOWN}")

    def _candidates(self, known: Vector) -> Iterator[Vector]:
        """Approximate multipliers, by ever more effort."""
        gram, rhs, size = self.gram, self.rhs, len(self.rhs)
        if self._is_degenerate and self._root is not None:
            yield from least_distance(self._root, rhs)
        for cap in () if self.solver.by_ascent else CAPS:
            yield from _by_solver(_dual_program(gram, rhs, self.working, cap), self.solver)
        self.solver.count(0, size, size)
        if known.any():
            yield known
        else:
            yield self._ascended(torch.float32, NEAR, ASCENT_LIMIT)
        if self._root is not None:
            yield from least_distance(self._root, rhs)
        for limit in LONG_ASCENTS:
            yield self._ascended(torch.float64, NEAR * MISSED, limit)

    def _ascended(self, dtype: torch.dtype, enough: float, limit: int) -> Vector:
        gram, rhs = torch.from_numpy(self.gram).to(dtype), torch.from_numpy(self.rhs).to(dtype)
        found, iterations = ascend(gram, rhs, enough, limit, tick=self.solver.check)
        self.solver.count(iterations, len(rhs), len(rhs))
        return np.asarray(found.double().numpy())

    def _lacking(self, values: Vector) -> Vector:
        """By how much each working constraint is missed, from the change, which is more exact than products."""
        return np.asarray(self.rhs - self.working.raised(self.constraints.change(values)))

    @functools.cached_property
    def _is_degenerate(self) -> bool:
        """Whether the constraints depend on each other, as those of many points with few features do.

        Solvers then try one active set after the other until the time is up.
        """
        kernel, classes = self.constraints.kernel, self.constraints.weights.shape[1]
        if len(self.rhs) > EXACT_LIMIT:
            return False
        sizes = np.linalg.eigvalsh(kernel)
        rank = (sizes > DEPENDENT * sizes.max(axis=1, keepdims=True)).sum(axis=1)
        return bool(rank.mean() * classes < len(self.rhs))

    @functools.cached_property
    def _root(self) -> Matrix | None:
        """A root of the inner products, which has the digits that these lose of images nearly alike; None if large."""
        width: int = self.working.margins.outputs.inputs.shape[1]
        classes = self.constraints.weights.shape[1]
        if len(self.rhs) > EXACT_LIMIT or len(self.rhs) * width * classes > ROOT_LIMIT:
            return None
        return np.asarray(np.linalg.qr(self.working.gradients(self.constraints).T, mode="r"))

    def _refined(self, values: Vector) -> Vector:
        """One step of iterative refinement, where inner products of images that are nearly alike have lost digits."""
        active = values > 0.0
        for _ in range(REFINEMENTS):
            lacking = self._lacking(values)[active]
            if np.abs(lacking / self.sizes[active]).max(initial=0.0) <= MISSED / 10 or self._root is None:
                break
            better = values.copy()
            better[active] += solved_by_root(self._root[:, active], lacking)
            if (better < 0.0).any():
                break
            values = better
        return values


def _by_solver(program: LinearProgram, solver: CountedSolver) -> Iterator[Vector]:
    """The solver's answer; none where it fails, for active-set codes of quadratic programs sometimes do."""
    with contextlib.suppress(SolverFailedError):
        yield np.maximum(solver.solve(program).x, 0.0)


def _dual_program(gram: Matrix, rhs: Vector, working: WorkingRows, cap: float) -> LinearProgram:
    """Maximise ``rhs @ u - u @ gram @ u / 2`` over ``u >= 0``; the margins' multipliers together stay below a cap."""
    counted = np.zeros((1, len(rhs)))
    counted[0, : int(working.margin_rows.sum())] = -1.0
    return LinearProgram(
        cost=-rhs,
        lower=np.zeros(len(rhs)),
        upper=unbounded(len(rhs)),
        matrix=sparse.csr_array(counted),
        rhs=np.array([-cap]),
        quadratic=sparse.csc_array(gram),
    )
