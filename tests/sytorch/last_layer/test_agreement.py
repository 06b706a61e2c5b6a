"""Every path finds the same minimum: decomposed and whole, Gurobi and HiGHS, and a formulation that shares no code.

The reference is written here from the statement of the problem: `scipy.optimize.linprog` for the norms that are
linear, scipy's SLSQP over all entries of the change for the Euclidean norm. Each solution is judged by plain numpy and
by torch's forward pass: margins, bound, complementarity, and the lower bound that its multipliers prove.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from torch import nn

import sytorch
from sytorch.last_layer.restricted import RestrictedProgram
from sytorch.problem.arrays import Indices, Matrix, Vector
from sytorch.solvers.linear_program import LinearProgram

NORMS = ("l1", "linf", "linf+l1", "l2")
METRICS = ("identity", "training")
SEEDS = range(4)
WAYS = [("gurobi", False), ("gurobi", True), ("highs", False), ("highs", True)]
MARGIN, RIDGE = 0.5, 1e-2


@dataclass(frozen=True, eq=False)
class Problem:
    """A small random network, images that another last layer labels, and a bound that is active but not too tight."""

    model: nn.Sequential
    images: torch.Tensor
    labels: Indices
    moment: Matrix

    def metric(self, name: str) -> sytorch.SharedMetric:
        return sytorch.IdentityMetric() if name == "identity" else sytorch.second_moment_metric(self.moment, RIDGE)

    def margins(self) -> sytorch.Margins:
        return sytorch.margin(sytorch.symbolic(self.model, "2")(self.images), self.labels, MARGIN)

    def program(self, norm: str, metric: str, bound: float) -> sytorch.Program:
        return sytorch.minimise(norm, self.metric(metric)).subject_to(self.margins(), bound)


@functools.cache
def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    classes, features, count = int(rng.integers(3, 6)), int(rng.integers(5, 10)), int(rng.integers(4, 12))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, features), nn.ReLU(), nn.Linear(features, classes)).double().eval()
    images, sample, other = torch.randn(count, 6).double(), torch.randn(200, 6).double(), torch.randn(features, classes)
    with torch.inference_mode():
        labels = (model[1](model[0](images)) @ other.double()).argmax(dim=1).numpy()
        seen = np.hstack([model[1](model[0](sample)).numpy(), np.ones((200, 1))])
    return Problem(model, images, labels, seen.T @ seen / 200)


@functools.cache
def free_solution(seed: int, norm: str, metric: str) -> sytorch.Solution:
    return problem(seed).program(norm, metric, np.inf).solve("highs", whole=True)


@functools.cache
def bound_for(seed: int, norm: str, metric: str, tight: bool) -> float:
    """None at all, or one that the change without a bound exceeds by a tenth."""
    if not tight:
        return float("inf")
    return 0.9 * free_solution(seed, norm, metric).max_abs_change


@dataclass(frozen=True, eq=False)
class Reference:
    """``matrix @ x.ravel() >= rhs`` for coordinates x, (C, m), and ``D = x @ basis``: worked out apart from sytorch."""

    matrix: Matrix
    rhs: Vector
    basis: Matrix
    shape: tuple[int, int]


def reference(seed: int, metric: str) -> Reference:
    made = problem(seed)
    with torch.inference_mode():
        features = made.model[1](made.model[0](made.images)).numpy()
        logits = made.model(made.images).numpy()
    inputs = np.hstack([features, np.ones((len(features), 1))])
    rows, basis = inputs, np.eye(inputs.shape[1])
    if metric == "training":
        moment = made.moment + RIDGE * np.trace(made.moment) / len(made.moment) * np.eye(len(made.moment))
        inverse_root = np.linalg.inv(scipy.linalg.sqrtm(moment).real)
        left, sizes, right = np.linalg.svd(inputs @ inverse_root, full_matrices=False)
        kept = sizes > 1e-7 * sizes[0]
        rows = (left[:, kept] * sizes[kept]) @ left[:, kept].T
        basis = left[:, kept] @ right[kept] @ inverse_root
    matrix, rhs = [], []
    for image, label in enumerate(made.labels):
        for other in set(range(logits.shape[1])) - {int(label)}:
            row = np.zeros((logits.shape[1], rows.shape[1]))
            row[label], row[other] = rows[image], -rows[image]
            matrix.append(row.ravel())
            rhs.append(MARGIN - (logits[image, label] - logits[image, other]))
    return Reference(np.array(matrix), np.array(rhs), basis, (logits.shape[1], rows.shape[1]))


def minimum(ref: Reference, norm: str, bound: float) -> float:
    """By scipy, over x = p - q with p, q >= 0, and t at least every p + q."""
    size = ref.shape[0] * ref.shape[1]
    largest, each = {"l1": (0.0, 1.0), "linf": (1.0, 0.0), "linf+l1": (1.0, 1.0 / size)}[norm]
    cost = np.concatenate([np.full(2 * size, each), [largest]])
    blocks = [np.hstack([-ref.matrix, ref.matrix, np.zeros((len(ref.rhs), 1))])]
    rhs = [-ref.rhs]
    eye = np.eye(size)
    blocks.append(np.hstack([eye, eye, -np.ones((size, 1))]))
    rhs.append(np.zeros(size))
    if np.isfinite(bound):
        unfold = np.kron(np.eye(ref.shape[0]), ref.basis.T)
        blocks += [np.hstack([s * unfold, -s * unfold, np.zeros((len(unfold), 1))]) for s in (1, -1)]
        rhs += [np.full(len(unfold), bound)] * 2
    found = scipy.optimize.linprog(cost, A_ub=np.vstack(blocks), b_ub=np.concatenate(rhs))
    assert found.status == 0
    return float(found.fun)


def euclidean_minimum(seed: int, metric: str, bound: float) -> float:
    """Over all entries of D, by scipy's SLSQP."""
    ref, made = reference(seed, "identity"), problem(seed)
    moment = np.eye(len(made.moment))
    if metric == "training":
        moment = made.moment + RIDGE * np.trace(made.moment) / len(made.moment) * np.eye(len(made.moment))
    hessian = np.kron(np.eye(ref.shape[0]), moment)
    start = free_solution(seed, "l1", "identity").change.ravel()
    found = scipy.optimize.minimize(
        lambda d: d @ hessian @ d / 2,
        np.clip(start, -bound, bound),
        jac=lambda d: hessian @ d,
        bounds=[(-bound, bound)] * start.size,
        constraints=scipy.optimize.LinearConstraint(ref.matrix, ref.rhs, np.inf),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 2000},
    )
    assert found.success
    return float((2 * found.fun) ** 0.5)


CASES = [(seed, norm, metric, tight) for seed in SEEDS for norm in NORMS for metric in METRICS for tight in (0, 1)]


@pytest.mark.parametrize(("seed", "norm", "metric", "tight"), CASES)
def test_all_ways_find_the_reference_minimum(seed: int, norm: str, metric: str, tight: int) -> None:
    bound = bound_for(seed, norm, metric, bool(tight))
    made = problem(seed)
    solved: list[sytorch.Solution | None] = []
    for way, whole in WAYS:
        try:
            solved.append(made.program(norm, metric, bound).solve(way, whole=whole))
        except sytorch.ContradictionError:
            solved.append(None)
    if None in solved:  # the tighter bound may leave nothing: then nobody finds anything, nor does scipy
        assert solved == [None] * len(WAYS)
        with pytest.raises(AssertionError):
            minimum(reference(seed, metric if norm != "l2" else "identity"), "l1", bound)
        return
    is_euclidean = norm == "l2"
    expected = euclidean_minimum(seed, metric, bound) if is_euclidean else minimum(reference(seed, metric), norm, bound)
    for solution in solved:
        assert solution is not None
        assert solution.objective == pytest.approx(expected, rel=1e-5 if is_euclidean else 1e-6)
        assert solution.gap <= 1e-6


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("seed", "norm", "metric", "tight"), CASES)
def test_numpy_confirms_feasibility_complementarity_and_the_bound(
    seed: int, norm: str, metric: str, tight: int, whole: bool
) -> None:
    bound = bound_for(seed, norm, metric, bool(tight))
    try:
        solution = problem(seed).program(norm, metric, bound).solve("gurobi", whole=whole)
    except sytorch.ContradictionError:
        pytest.skip("this bound leaves no change; the other test asks scipy")
    identity, ref = reference(seed, "identity"), reference(seed, metric)
    movement = identity.matrix @ solution.change.ravel()
    assert (movement >= identity.rhs - 1e-6).all()
    assert np.abs(solution.change).max() <= bound * (1 + 1e-6)

    margins = np.array(
        [
            value
            for image, label in enumerate(problem(seed).labels)
            for other, value in enumerate(solution.multipliers.margins[image])
            if other != label
        ]
    )
    bounds = solution.multipliers.bounds
    assert (margins >= 0).all()
    scale = 1 + np.abs(identity.rhs).max()
    assert margins @ (movement - identity.rhs) <= 1e-5 * scale * (1 + margins.sum())
    if np.isfinite(bound):
        assert (np.abs(bounds) * (bound - solution.change * np.sign(bounds))).sum() <= 1e-5 * (1 + np.abs(bounds).sum())
    else:
        assert not bounds.any()

    gradient = (identity.matrix.T @ margins).reshape(identity.shape) - bounds
    if metric == "training" and norm == "l2":
        moment = problem(seed).moment
        moment = moment + RIDGE * np.trace(moment) / len(moment) * np.eye(len(moment))
        dual = float(np.sqrt(np.trace(gradient @ np.linalg.solve(moment, gradient.T))))
    else:
        dual = dual_norm(norm, gradient @ ref.basis.T)
    proved = margins @ identity.rhs - (bound * np.abs(bounds).sum() if bounds.any() else 0.0)
    assert proved / dual == pytest.approx(solution.lower_bound, rel=1e-6)
    assert proved / dual <= solution.objective * (1 + 1e-6)


def dual_norm(norm: str, gradient: Matrix) -> float:
    """By the definition: the largest ``<g, x>`` over the corners of the unit ball."""
    if norm == "l2":
        return float(np.linalg.norm(gradient))
    sizes = np.sort(np.abs(gradient).ravel())[::-1]
    if norm == "l1":
        return float(sizes[0])
    if norm == "linf":
        return float(sizes.sum())
    return max(float(sizes[:k].sum() / (1 + k / len(sizes))) for k in range(1, len(sizes) + 1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("norm", NORMS)
def test_torchs_forward_pass_has_the_margins_that_the_solver_promises(norm: str, metric: str) -> None:
    made = problem(1)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    solution = made.program(norm, metric, np.inf).solve("auto")
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())
    last = nn.Linear(*reversed(before["2.weight"].shape)).double()
    change = torch.from_numpy(solution.change)
    last.load_state_dict({"weight": before["2.weight"] + change[:, :-1], "bias": before["2.bias"] + change[:, -1]})
    with torch.inference_mode():
        logits = nn.Sequential(made.model[0], made.model[1], last)(made.images)
    own = logits.gather(1, torch.from_numpy(made.labels)[:, None])
    others = logits.scatter(1, torch.from_numpy(made.labels)[:, None], -torch.inf).amax(dim=1, keepdim=True)
    assert float((own - others).min()) == pytest.approx(MARGIN, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("solver", ["gurobi", "highs"])
def test_the_same_program_has_the_same_answer_to_the_last_bit(solver: str, norm: str, metric: str) -> None:
    first, second = (problem(2).program(norm, metric, 5.0).solve(solver) for _ in range(2))
    assert np.array_equal(first.change, second.change)
    assert first.lower_bound == second.lower_bound


def test_the_training_metric_is_how_far_the_logits_of_the_sample_move() -> None:
    made, rng = problem(0), np.random.default_rng(0)
    metric = made.metric("training")
    moment = made.moment + RIDGE * np.trace(made.moment) / len(made.moment) * np.eye(len(made.moment))
    coordinates = metric.coordinates(sytorch.symbolic(made.model, "2")(made.images).inputs)
    x = rng.normal(size=(3, coordinates.rows.shape[1]))
    assert coordinates.basis is not None
    kept = np.linalg.pinv(coordinates.rows) @ coordinates.rows  # images that repeat each other share a coordinate
    change = coordinates.change(x @ kept)
    assert np.trace(change @ moment @ change.T) == pytest.approx(np.linalg.norm(x @ kept) ** 2)
    np.testing.assert_allclose(metric.solve(moment), np.eye(len(moment)), atol=1e-9)


@pytest.mark.parametrize("bound", [0.6, 5.0])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_of_many_classes_rows_enter_some_at_a_time(norm: str, bound: float, same: bool) -> None:
    """More rivals than rows an image begins with; where all logits are equal, every one of them is missed alike."""
    rng = np.random.default_rng(0)
    inputs = np.hstack([rng.normal(size=(4, 8)), np.ones((4, 1))])
    logits = np.zeros((4, 30)) if same else rng.normal(size=(4, 30))
    margins = sytorch.margin(sytorch.AffineOutputs(logits, inputs), [3, 29, 0, 3], 1.0)
    program = sytorch.minimise(norm, sytorch.second_moment_metric(np.eye(9), ridge=0.1)).subject_to(margins, bound)
    decomposed, whole = program.solve("highs"), program.solve("highs", whole=True)
    assert decomposed.objective == pytest.approx(whole.objective, rel=1e-6)
    assert decomposed.effort.rows < 4 * 29


def test_of_many_classes_bounds_enter_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that are nearly alike: to tell them apart breaks the bound of hundreds of entries that do not bind."""
    rng, sizes = np.random.default_rng(0), list[int]()
    common = np.abs(rng.normal(size=200))
    inputs = np.hstack([common + 0.1 * rng.normal(size=(206, 200)), np.ones((206, 1))])
    outputs = sytorch.AffineOutputs(rng.normal(size=(6, 60)), inputs[:6])
    metric = sytorch.second_moment_metric(inputs[6:].T @ inputs[6:] / 200, ridge=1e-3)
    margins = sytorch.margin(outputs, rng.integers(0, 60, 6), 1.0)
    made = RestrictedProgram.linear_program

    def counting(working: RestrictedProgram, penalty: float) -> LinearProgram:
        sizes.append((found := made(working, penalty)).matrix.shape[0])
        return found

    monkeypatch.setattr(RestrictedProgram, "linear_program", counting)
    program = sytorch.minimise("l1", metric).subject_to(margins, 0.5)
    found, whole = program.solve("highs"), program.solve("highs", whole=True)
    assert found.objective == pytest.approx(whole.objective, rel=1e-6) and found.max_abs_change > 0.499
    assert max(sizes) < 150 and len(sizes) < 7
