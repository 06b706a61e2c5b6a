"""Random programs of a last layer, written out and judged here with numpy and scipy alone.

The oracle writes down every margin and every bound in the coordinates ``x`` of the changes ``D = x B`` that are
searched (``B`` is the identity, or from the symmetric root of the images' inner products in the metric). Scipy's HiGHS
finds the least norm and the least bound that admits a change. An answer is judged by its change, by its multipliers
(weak duality, Farkas), and by those two numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import scipy.linalg
import scipy.optimize
from hypothesis import strategies as st
from numpy.typing import NDArray

import sytorch
from tests.properties import Kind, Verdict

Array = NDArray[np.float64]
NEAR = 1e-6
SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """What is drawn; see `CASES`."""

    seed: int
    images: int
    features: int
    classes: int
    alike: str
    labels: str
    size: float
    bound: float | str
    norm: str
    metric: str
    solver: str
    whole: bool


def solved(program: sytorch.Program, solver: str, time_limit: float = SECONDS, whole: bool = False) -> sytorch.Solution:
    """By a solver of that name; ``ascent`` is how ``auto`` solves ``l2`` of many images."""
    if solver != "ascent":
        return program.solve(solver, time_limit, whole)
    with mock.patch("sytorch.last_layer.program.MANY_IMAGES", 0):
        return program.solve("auto", time_limit, whole)


@dataclass(frozen=True, eq=False)
class Written:
    """The program: ``matrix @ D.ravel() >= needed``, ``D = x @ basis``, ``|D| <= bound``, the metrics of its rows."""

    outputs: sytorch.AffineOutputs
    labels: NDArray[np.int64]
    matrix: Array
    needed: Array
    basis: Array
    moments: list[Array]
    shape: tuple[int, int]


@functools.lru_cache(maxsize=8)
def written(case: Case) -> Written:
    """The program without its bound."""
    rng = np.random.default_rng(case.seed)
    inputs = np.hstack([rng.normal(size=(case.images, case.features)), np.ones((case.images, 1))])
    weights = rng.normal(size=(case.classes, case.features + 1))
    labels = (inputs @ (weights + 0.5 * rng.normal(size=weights.shape)).T).argmax(axis=1)
    if case.labels == "random":
        labels = rng.integers(0, case.classes, case.images)
    inputs, labels = _alike(case, inputs, labels, rng)
    logits, width = inputs @ weights.T, case.features + 1
    matrix, needed = [], []
    for image, label in enumerate(labels):
        for other in set(range(case.classes)) - {int(label)}:
            row = np.zeros((case.classes, width))
            row[label], row[other] = inputs[image], -inputs[image]
            matrix.append(row.ravel())
            needed.append(case.size - logits[image, label] + logits[image, other])
    moments = _moments(case, width, rng)
    basis = np.eye(width)
    if case.norm != "l2" and case.metric == "training":
        basis = _span(inputs, moments[0])
    outputs = sytorch.AffineOutputs(logits, inputs)
    return Written(outputs, labels, np.array(matrix), np.array(needed), basis, moments, (case.classes, width))


def _alike(case: Case, inputs: Array, labels: Any, rng: np.random.Generator) -> tuple[Array, Any]:
    """Images that repeat, nearly repeat or combine others."""
    first, last = 0, case.images - 1
    if case.alike == "none" or first == last:
        return inputs, labels
    labels = labels.copy()
    inputs[last] = inputs[first]
    if case.alike == "twice":
        labels[last] = labels[first]
    elif case.alike == "between":
        inputs[last] = inputs[:last].mean(axis=0)
    elif case.alike != "two labels":
        inputs[last, :-1] += float(case.alike) * rng.normal(size=case.features)
        labels[last] = (labels[first] + 1) % case.classes
    return inputs, labels


def _moments(case: Case, width: int, rng: np.random.Generator) -> list[Array]:
    """Of each class; the same object where all share one."""
    if case.metric == "identity":
        return [np.eye(width)] * case.classes
    made = [_moment(width, rng) for _ in range(case.classes if case.metric == "per-class" else 1)]
    return made if len(made) > 1 else made * case.classes


def _moment(width: int, rng: np.random.Generator) -> Array:
    sample = rng.normal(size=(3 * width, width)) * rng.uniform(0.1, 3.0, size=width)
    return np.asarray(sample.T @ sample / len(sample))


RIDGE = 1e-2


def _definite(moment: Array) -> Array:
    return np.asarray(moment + RIDGE * np.trace(moment) / len(moment) * np.eye(len(moment)))


def _span(inputs: Array, moment: Array) -> Array:
    """``B`` of the symmetric root ``R = (H M^-1 H^T)^(1/2)``: ``R^-1 H M^-1``, by singular values."""
    inverse_root = np.linalg.inv(np.real(scipy.linalg.sqrtm(_definite(moment))))
    left, sizes, right = np.linalg.svd(inputs @ inverse_root, full_matrices=False)
    kept = sizes > 1e-7 * sizes[0]
    return np.asarray(left[:, kept] @ right[kept] @ inverse_root)


def _definite_metrics(case: Case, program: Written) -> list[Array]:
    return program.moments if case.metric == "identity" else [_definite(moment) for moment in program.moments]


def least_norm(case: Case, program: Written, bound: float) -> float | None:
    """By linear programming, for the norms that are linear; None where no change has the margins."""
    rows = program.matrix @ np.kron(np.eye(program.shape[0]), program.basis.T)
    size = rows.shape[1]
    largest, each = {"l1": (0.0, 1.0), "linf": (1.0, 0.0), "linf+l1": (1.0, 1.0 / size)}[case.norm]
    eye, one = np.eye(size), np.ones((size, 1))
    blocks = [np.hstack([-rows, rows, np.zeros((len(rows), 1))]), np.hstack([eye, eye, -one])]
    limits = [-program.needed, np.zeros(size)]
    if np.isfinite(bound):
        unfold = np.kron(np.eye(program.shape[0]), program.basis.T)
        blocks += [np.hstack([sign * unfold, -sign * unfold, np.zeros((len(unfold), 1))]) for sign in (1, -1)]
        limits += [np.full(len(unfold), bound)] * 2
    cost = np.concatenate([np.full(2 * size, each), [largest]])
    return _solved(cost, np.vstack(blocks), np.concatenate(limits), (0, None))


@functools.lru_cache(maxsize=8)
def least_bound(case: Case, images: tuple[int, ...] = ()) -> float:
    """The smallest largest entry of a change that is searched; infinite where no change has the margins.

    With some images, of any change that gives these their margins.
    """
    program = written(case)
    unfold = np.eye(len(program.matrix[0])) if images else np.kron(np.eye(program.shape[0]), program.basis.T)
    rows, one = program.matrix @ unfold, np.ones((len(unfold), 1))
    kept = np.isin(np.arange(len(rows)) // (case.classes - 1), images) if images else np.full(len(rows), True)
    blocks = [np.hstack([-rows[kept], np.zeros((int(kept.sum()), 1))])]
    blocks += [np.hstack([sign * unfold, -one]) for sign in (1, -1)]
    limits = np.concatenate([-program.needed[kept], np.zeros(2 * len(unfold))])
    found = _solved(np.eye(unfold.shape[1] + 1)[-1], np.vstack(blocks), limits, (None, None))
    return np.inf if found is None else max(found, 0.0)


def _solved(cost: Array, rows: Array, limits: Array, each: tuple[float | None, float | None]) -> float | None:
    for tolerance in (1e-10, 1e-8, 1e-7):
        options = {"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance}
        found = scipy.optimize.linprog(cost, A_ub=rows, b_ub=limits, bounds=each, method="highs", options=options)
        if found.status in (0, 2):
            break
    assert found.status in (0, 2), found.message
    return float(found.fun) if found.status == 0 else None


def bound_of(case: Case) -> float:
    """A number is itself; ``x1.1`` is a share of the least bound that admits a change, or 1 where none does."""
    if isinstance(case.bound, float):
        return case.bound
    least = least_bound(case)
    return float(case.bound[1:]) * (least if 0.0 < least < np.inf else 1.0)


def program_of(case: Case, bound: float) -> sytorch.Program:
    """The program as sytorch is told it."""
    program = written(case)
    margins = sytorch.margin(program.outputs, program.labels, case.size)
    metric: sytorch.Metric = sytorch.IdentityMetric()
    if case.metric != "identity":
        metrics = tuple(sytorch.second_moment_metric(moment, RIDGE) for moment in program.moments)
        metric = sytorch.PerClassMetric(metrics) if case.metric == "per-class" else metrics[0]
    return sytorch.minimise(case.norm, metric).subject_to(margins, bound)


def judge(case: Case) -> Verdict:
    """Solve a case and compare the answer."""
    bound = bound_of(case)
    try:
        solution = solved(program_of(case, bound), case.solver, whole=case.whole)
    except sytorch.ContradictionError as error:
        return _judged_refutation(case, bound, error.contradiction)
    except (sytorch.SolverFailedError, sytorch.SolverTimeLimitError) as error:
        return Verdict("unknown", str(error))
    return _judged_solution(case, bound, solution)


def _judged_solution(case: Case, bound: float, solution: sytorch.Solution) -> Verdict:
    wrong = next(_faults_of_solution(case, bound, solution), None)
    if wrong is not None:
        return Verdict("wrong", wrong)
    if solution.gap > NEAR:
        return Verdict("unknown", f"it says itself that a gap of {solution.gap:.1g} is open")
    return Verdict("solved")


def _faults_of_solution(case: Case, bound: float, solution: sytorch.Solution) -> Iterator[str]:
    program = written(case)
    change, scale = solution.change, max(float(program.needed.max()), 0.0)
    if (program.needed - program.matrix @ change.ravel()).max() > NEAR * scale:
        yield "a margin is missed"
    if np.abs(change).max() > bound * (1 + NEAR):
        yield "the bound is broken"
    norm, low = _norm(case, program, solution), _lower_bound(case, program, bound, solution.multipliers)
    if not np.isclose(norm, solution.objective, rtol=NEAR):
        yield f"the objective {solution.objective} is not the norm {norm}"
    if low < solution.lower_bound * (1 - NEAR) or low > norm * (1 + NEAR):
        yield f"the multipliers prove {low}, not {solution.lower_bound}; the norm is {norm}"
    claimed = NEAR + solution.gap
    if norm - low > claimed * norm:
        yield f"the gap from {low} to {norm} is open"
    if least_bound(case) > bound * (1 + NEAR):
        yield f"no change is within {bound}; the least is {least_bound(case)}"
    least = norm if case.norm == "l2" else least_norm(case, program, bound)
    if least is not None and abs(norm - least) > 10 * claimed * norm:
        yield f"the norm is {norm}, the least {least}"


def _norm(case: Case, program: Written, solution: sytorch.Solution) -> float:
    """Of the change; in coordinates that the change has only once: those of the basis's pseudo-inverse."""
    if case.norm == "l2":
        pairs = zip(solution.change, _definite_metrics(case, program), strict=True)
        return float(np.sqrt(sum(row @ metric @ row for row, metric in pairs)))
    x = solution.change if solution.coordinates is None else solution.coordinates
    sizes = np.abs(x)
    return float({"l1": sizes.sum(), "linf": sizes.max(), "linf+l1": sizes.max() + sizes.mean()}[case.norm])


def _gradient(case: Case, program: Written, multipliers: sytorch.Multipliers) -> tuple[float, Array]:
    """What the weighted margins need together, and their gradient in the change, (C, d)."""
    weights = np.array(
        [
            multipliers.margins[image, other]
            for image, label in enumerate(program.labels)
            for other in set(range(case.classes)) - {int(label)}
        ]
    )
    assert (weights >= 0).all()
    return float(weights @ program.needed), (program.matrix.T @ weights).reshape(program.shape)


def _lower_bound(case: Case, program: Written, bound: float, multipliers: sytorch.Multipliers) -> float:
    """By weak duality: ``(needed - bound |s|_1) / dual norm of the gradient in the coordinates``."""
    total, gradient = _gradient(case, program, multipliers)
    left = gradient - multipliers.bounds
    spent = float(np.abs(multipliers.bounds).sum())
    value = total - (bound * spent if spent else 0.0)
    if case.norm == "l2":
        pairs = zip(left, _definite_metrics(case, program), strict=True)
        dual = float(np.sqrt(sum(row @ np.linalg.solve(metric, row) for row, metric in pairs)))
    else:
        sizes = np.sort(np.abs(left @ program.basis.T).ravel())[::-1]
        dual = {
            "l1": sizes[0],
            "linf": sizes.sum(),
            "linf+l1": (np.cumsum(sizes) / (1 + np.arange(1, sizes.size + 1) / sizes.size)).max(),
        }[case.norm]
    return 0.0 if value <= 0 else float(value / dual) if dual > 0 else np.inf


def _judged_refutation(case: Case, bound: float, found: sytorch.Contradiction) -> Verdict:
    wrong, least = next(_faults_of_refutation(case, bound, found), None), least_bound(case)
    if wrong is not None:
        return Verdict("wrong", wrong)
    if found.sufficient_bound is None:
        return Verdict("refuted") if np.isinf(least) else Verdict("unknown", "no bound is said to be enough")
    try:
        solved(program_of(case, found.sufficient_bound), case.solver, whole=case.whole)
    except sytorch.ContradictionError:
        return Verdict("wrong", f"{found.sufficient_bound} is called enough and refuted; the least is {least}")
    except (sytorch.SolverFailedError, sytorch.SolverTimeLimitError) as error:
        return Verdict("unknown", f"at the sufficient bound: {error}")
    return Verdict("refuted")


def _faults_of_refutation(case: Case, bound: float, found: sytorch.Contradiction) -> Iterator[str]:
    program, least, bounds = written(case), least_bound(case), found.multipliers.bounds
    total, gradient = _gradient(case, program, found.multipliers)
    left, rounding = gradient - bounds, 1e-9 * (1 + np.abs(bounds).max())
    if np.abs(left @ program.basis.T).max() > rounding * max(1.0, np.abs(program.basis).max()):
        yield "the multipliers leave a gradient"
    if found.proved_for_all_changes and np.abs(left).max() > rounding:
        yield "the multipliers do not refute all changes"
    if total <= (bound * np.abs(bounds).sum() if np.isfinite(bound) else 0.0):
        yield "the multipliers refute nothing"
    if least < bound * (1 - NEAR):
        yield f"{least} is enough, and {bound} is called too small"
    if not bound * (1 - NEAR) <= found.refuted_bound <= least * (1 + NEAR):
        yield f"{found.refuted_bound} is said to be refuted; the least is {least}"
    if found.images and least_bound(case, found.images) < bound * (1 - NEAR):
        yield f"images {found.images} do not contradict each other within {bound}"


WAYS = st.one_of(
    st.tuples(
        st.sampled_from(["l1", "linf", "linf+l1", "l2"]),
        st.sampled_from(["identity", "training"]),
        st.sampled_from(["highs", "gurobi", "auto"]),
        st.booleans(),
    ),
    st.tuples(st.just("l2"), st.sampled_from(["identity", "training"]), st.just("ascent"), st.just(False)),
    st.tuples(
        st.just("l2"), st.just("per-class"), st.sampled_from(["highs", "gurobi", "auto", "ascent"]), st.just(False)
    ),
)
BOUNDS = st.sampled_from([np.inf, 0.05, 0.1, 5.0, "x0.5", "x0.98", "x0.9999", "x1", "x1.0001", "x1.01", "x1.2", "x2"])
SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 8), st.integers(2, 5))
ALIKE = st.sampled_from(["none", "none", "twice", "two labels", "between", "1e-2", "1e-4"])


CASES = st.builds(
    lambda shape, way, **others: Case(
        **others,
        **dict(zip(("images", "features", "classes"), shape, strict=True)),
        **dict(zip(("norm", "metric", "solver", "whole"), way, strict=True)),
    ),
    shape=SHAPES,
    way=WAYS,
    seed=st.integers(0, 2**31),
    alike=ALIKE,
    labels=st.sampled_from(["near by", "near by", "random"]),
    size=st.sampled_from([0.03, 0.5, 2.0]),
    bound=BOUNDS,
)
KIND = Kind(CASES, judge)
