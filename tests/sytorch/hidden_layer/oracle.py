"""Programs with fixed activation patterns written out whole, and what their answers are worth.

A fixed network evaluated at no change and at each unit change gives every row of the program. HiGHS finds the least
feasible bound; weak duality and Farkas' inequality are computed here from the multipliers of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import nn

import sytorch
from sytorch.problem.arrays import Matrix, Vector
from tests.properties import Kind, Verdict
from tests.sytorch.hidden_layer.programs import Case, Problem, cases, problem_of
from tests.sytorch.hidden_layer.rows import Entries, Groups, entries_of, inequalities

MARGINS = "margins"
ROUNDING, NEARLY, TINY, SPLITTING_GAP = 1e-6, 1e-6, 1e-9, 1.1e-2


@dataclass(frozen=True, eq=False)
class Whole:
    """``matrix @ changes >= -slack`` and ``|changes| <= bound``, in groups of rows by layer name, margins last.

    Attributes:
        entries: that change, n.
        rows: by group, (N, Q, n).
        slack: by group, (N, Q): what each inequality has at no change.
        distances: by group, how far from zero it is to stay.
        hessian: (n, n); the objective is the root of ``changes @ hessian @ changes``.
        fold: (n, f) with orthonormal columns, onto the coordinates in which the hessian is not singular.
    """

    entries: Entries
    rows: Groups
    slack: Groups
    distances: dict[str, float]
    hessian: Matrix
    fold: Matrix

    def least_bound(self) -> float:
        """The smallest largest entry of any change, by HiGHS; infinite where there is none."""
        matrix = np.concatenate([rows.flatten(0, 1).numpy() for rows in self.rows.values()])
        slack = np.concatenate([part.flatten().numpy() for part in self.slack.values()])
        size = matrix.shape[1]
        largest, unit = np.ones((size, 1)), np.eye(size)
        left = np.block([[-matrix, np.zeros((len(matrix), 1))], [unit, -largest], [-unit, -largest]])
        right, cost = np.concatenate([slack, np.zeros(2 * size)]), np.append(np.zeros(size), 1.0)
        free = [(None, None)] * size + [(0, None)]
        found = linprog(cost, A_ub=sparse.csr_array(left), b_ub=right, bounds=free, method="highs")
        return float(found.fun) if found.status == 0 else np.inf

    def missing(self, change: Vector) -> float:
        """By how much a change misses a row, at most, relative to the largest number of its group or 1."""
        moves = {name: rows @ torch.from_numpy(change) for name, rows in self.rows.items()}
        pairs = ((slack, slack + moves[name]) for name, slack in self.slack.items())
        return max(float(-after.min()) / max(1.0, float(before.abs().max())) for before, after in pairs)

    def total(self, multipliers: Groups, distances: dict[str, float]) -> float:
        """The sum of what rows require, with multipliers, by group (N, Q)."""
        pairs = ((part, distances.get(name, 0.0) - self.slack[name]) for name, part in multipliers.items())
        return sum(float((part * required).sum()) for part, required in pairs)

    def gradient(self, multipliers: Groups) -> Vector:
        """Of the sum of rows with multipliers, (n,)."""
        total = [torch.einsum("nq,nqk->k", part, self.rows[name]) for name, part in multipliers.items()]
        return np.asarray(torch.stack(total).sum(dim=0).numpy())

    def size(self, change: Vector) -> float:
        """The objective."""
        return float(np.sqrt(change @ self.hessian @ change))

    def dual_size(self, gradient: Vector) -> float:
        """The largest inner product of a gradient with a change of size 1."""
        folded, hessian = gradient @ self.fold, self.fold.T @ self.hessian @ self.fold
        return float(np.sqrt(max(float(folded @ np.linalg.solve(hessian, folded)), 0.0)))


def whole_of(case: Case, problem: Problem) -> Whole:
    """The program of a case, from its network alone."""
    entries, fixed = entries_of(problem.network, case.part), dict[int, torch.Tensor]()

    def at(change: torch.Tensor) -> Groups:
        groups, logits = inequalities(problem.network, problem.images, entries, change, fixed)
        margins = logits.gather(1, problem.labels[:, None]) - logits - case.margin
        return groups | {MARGINS: margins.scatter(1, problem.labels[:, None], 0.0)}

    slack = at(torch.zeros(entries.count).double())
    moved = [at(unit) for unit in torch.eye(entries.count).double()]
    rows = {name: torch.stack([one[name] - part for one in moved], dim=2) for name, part in slack.items()}
    distances = {
        name: case.allowance * max(1.0, float(part.abs().max()))
        for name, part in slack.items()
        if name != MARGINS and isinstance(problem.network[int(name)], nn.ReLU)
    }
    return Whole(entries, rows, slack, distances, *_metric_of(problem.view, problem.metric))


def _metric_of(view: sytorch.LayerView, metric: sytorch.KroneckerMetric) -> tuple[Matrix, Matrix]:
    """The hessian over the weights that change themselves, and the coordinates in which copies of an input are one."""
    inputs = (metric.inputs @ metric.inputs.T).numpy()
    outputs = np.eye(view.shape[0]) if metric.outputs is None else (metric.outputs @ metric.outputs.T).numpy()
    units = view.units.numpy()
    outputs = outputs[units][:, units]
    sizes = view.folding.sizes.numpy()
    fold = np.repeat(np.diag(sizes**-0.5), sizes, axis=0)
    if view.part.bias_only:
        inputs, fold = inputs[-1:, -1:], np.eye(1)
    hessian, whole = np.kron(outputs, fold @ inputs @ fold.T), np.kron(np.eye(len(outputs)), fold)
    return hessian.astype(np.float64), whole.astype(np.float64)


def judge(case: Case) -> Verdict:
    """Have a case solved, and compare."""
    problem = problem_of(case)
    whole = whole_of(case, problem)
    least = whole.least_bound()
    bound = _bound(case, problem, least)
    with mock.patch("sytorch.hidden_layer.program.DENSE", 10_000 if case.dense else 0):
        try:
            solution = problem.program(case, bound).solve()
        except sytorch.ContradictionError as error:
            verdict = _judged_refutation(whole, error.contradiction, bound, least)
            return _judged_enough(case, problem, error.contradiction, least) or verdict
        except sytorch.SolverFailedError as error:
            return Verdict("unknown", f"bound {bound}, least {least}: {error}")
    return _judged_solution(whole, solution, bound, least)


def _judged_enough(case: Case, problem: Problem, found: sytorch.Contradiction, least: float) -> Verdict | None:
    """A bound that is called enough has to be; every program whose whole dual is small has one."""
    enough = found.sufficient_bound
    if enough is None:
        expected = case.dense and 0 < least < np.inf and case.allowance == 0
        return Verdict("unknown", f"no bound is called enough; the least is {least}") if expected else None
    if enough < least * (1 - NEARLY):
        return Verdict("wrong", f"{enough} is called enough; the least is {least}")
    try:
        problem.program(case, enough).solve()
    except sytorch.ContradictionError:
        return Verdict("wrong", f"{enough} is called enough and refuted; the least is {least}")
    except sytorch.SolverFailedError:
        return None
    return None


def _bound(case: Case, problem: Problem, least: float) -> float:
    """The bound of a case; a number where there is nothing that it could be a share of."""
    name, share = case.bound
    if name == "number":
        return share
    if not 0 < least < np.inf:
        return 0.1
    if name == "between":
        try:
            return least + share * (problem.program(case, np.inf).solve().max_abs_change - least)
        except (sytorch.ContradictionError, sytorch.SolverFailedError):
            return least * (1 + share)
    return share * least


def _judged_refutation(whole: Whole, found: sytorch.Contradiction, bound: float, least: float) -> Verdict:
    multipliers = _groups(found.multipliers.margins, found.pattern)
    smallest = min(float(part.min()) for part in multipliers.values())
    total, spent = whole.total(multipliers, {}), float(np.abs(whole.gradient(multipliers)).sum())
    refuted = total / spent if spent else np.inf
    if smallest < 0 or not total > 0 or refuted <= min(bound, 1e5):
        return Verdict("wrong", f"the multipliers refute {refuted}, not {bound}")
    if refuted > least * (1 + NEARLY) or not found.refuted_bound <= refuted * (1 + NEARLY):
        return Verdict("wrong", f"said to refute {found.refuted_bound}, by its multipliers {refuted}; least {least}")
    return Verdict("refuted")


def _judged_solution(whole: Whole, found: sytorch.Solution, bound: float, least: float) -> Verdict:
    change = whole.entries.of_matrix(found.change)
    bounds = whole.entries.of_matrix(found.multipliers.bounds)
    multipliers, size = _groups(found.multipliers.margins, found.pattern), whole.size(change)
    spent = bound * float(np.abs(bounds).sum()) if bounds.any() else 0.0
    dual = whole.dual_size(whole.gradient(multipliers) - bounds)
    value = whole.total(multipliers, whole.distances) - spent
    low = value / dual if value > 0 and dual > 0 else 0.0
    gap = SPLITTING_GAP if found.effort.solver == "splitting" else NEARLY
    faults = {
        f"an entry of {abs(change).max()} beyond it": np.abs(change).max() > bound,
        "a change where there is none": bound < least * (1 - NEARLY),
        f"rows missed by {whole.missing(change)}": whole.missing(change) > ROUNDING,
        "a negative multiplier": min(float(part.min()) for part in multipliers.values()) < 0,
        f"an objective of {found.objective}, it is {size}": abs(found.objective - size) > NEARLY * size,
        f"a lower bound of {found.lower_bound}, proved is {low}": found.lower_bound > low * (1 + NEARLY),
        f"a gap from {found.lower_bound} to {size}": size - found.lower_bound > gap * size + TINY,
    }
    said = "; ".join(why for why, is_so in faults.items() if is_so)
    return Verdict("wrong", f"bound {bound}, least {least}: {said}") if said else Verdict("solved")


def _groups(margins: Matrix, pattern: Mapping[str, Matrix]) -> Groups:
    return {name: torch.from_numpy(part) for name, part in pattern.items()} | {MARGINS: torch.from_numpy(margins)}


KIND = Kind(cases(), judge)
