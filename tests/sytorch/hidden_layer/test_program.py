"""The program of any layer against one written out whole for HiGHS, and against the network that it changes."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import sytorch
from sytorch.hidden_layer.dual import least_distance
from sytorch.hidden_layer.moves import Moves
from sytorch.hidden_layer.program import FixedPatternProgram, fixed_pattern_program
from sytorch.metrics.kronecker import KroneckerMetric
from sytorch.network.activation_pattern import FixedSigns
from sytorch.network.layer_view import LayerView, linearise, part_named
from sytorch.problem.arrays import Matrix, Vector
from sytorch.solvers.linear_program import LinearProgram
from tests.sytorch.network.test_layer_view import changed
from tests.sytorch.networks import NETWORKS, PARTS, network, parameters_after

MARGIN, BOUND = 0.05, 10.0
FAST_AND_SLOW = [pytest.param(name, marks=pytest.mark.slow if name == "pooled" else ()) for name in NETWORKS | PARTS]
LONG_TO_SPLIT = {"pooled", "bias", "channels", "bias of some units", "bias of channels", "convolution"}
SPLIT_FAST_AND_SLOW = [
    pytest.param(name, marks=pytest.mark.slow if name in LONG_TO_SPLIT else ()) for name in NETWORKS | PARTS
]


def metric_for(view: LayerView, seed: int) -> KroneckerMetric:
    generator = torch.Generator().manual_seed(seed)

    def factor(size: int) -> torch.Tensor:
        root = torch.randn(size, size, generator=generator, dtype=torch.float64)
        return torch.as_tensor(torch.linalg.cholesky(root @ root.T / size + torch.eye(size)))

    return KroneckerMetric(factor(len(view.folding.sizes)), factor(view.shape[0]))


@functools.cache
def program(name: str, seed: int, bound: float = BOUND, allowance: float = 0.0) -> FixedPatternProgram:
    """Labels are the classes that a slightly different network gives, so that many programs have a solution."""
    model, layer, images = network(name, seed)
    view = linearise(model, layer, images)
    generator = torch.Generator().manual_seed(seed)
    move = torch.randn(len(view.units), view.inputs.shape[2], generator=generator, dtype=torch.float64)
    labels = changed(model, layer, 0.3 * view.layer_change(move))(images).argmax(dim=1)
    return fixed_pattern_program(view, labels, MARGIN, metric_for(view, seed), bound=bound, allowance=allowance)


def whole_rows(name: str, seed: int) -> tuple[Matrix, Vector]:
    """Every margin, sign and winner as a dense row in the layer's weights: by differentiating the network itself."""
    model, layer, images = network(name, seed)
    layer, margins = part_named(layer).layer, program(name, seed).margins
    module = model.get_submodule(layer)
    assert isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None

    def inequalities(change: torch.Tensor) -> torch.Tensor:
        weights = parameters_after(module, change)
        values, parts, behind = images, [], False
        for number, step in enumerate(model):
            if behind and isinstance(step, nn.ReLU):
                parts.append((values * torch.where(values.detach() > 0, 1.0, -1.0)).flatten())
            if behind and isinstance(step, nn.MaxPool2d):
                parts.append(_winner_slack(step, values))
            values = torch.func.functional_call(step, weights, (values,)) if str(number) == layer else step(values)
            behind = behind or str(number) == layer
        own = values.gather(1, torch.from_numpy(margins.kinds)[:, None])
        parts.append((own - values)[torch.from_numpy(np.isfinite(margins.required))] - MARGIN)
        return torch.cat(parts)

    start = torch.zeros(module.weight.numel() + len(module.bias), dtype=torch.float64)
    return torch.func.jacrev(inequalities)(start).numpy(), -inequalities(start).numpy()


def _winner_slack(pool: nn.MaxPool2d, values: torch.Tensor) -> torch.Tensor:
    sizes = {name: getattr(pool, name) for name in ("kernel_size", "stride", "padding")}
    padded = nn.functional.pad(values, (pool.padding,) * 4, value=-1e30)  # type: ignore[arg-type]
    members = nn.functional.unfold(padded, sizes["kernel_size"], stride=sizes["stride"])
    members = members.view(len(values), values.shape[1], -1, members.shape[-1])
    best = members.detach().argmax(dim=2, keepdim=True)
    slack = members.gather(2, best) - members
    return slack[(members.detach() > -1e29) & (torch.arange(members.shape[2])[:, None] != best)]


def least_norm(view: LayerView, metric: KroneckerMetric, rows: tuple[Matrix, Vector], bound: float) -> float | None:
    """The least norm over all weights under rows written out, by HiGHS; None where there is no solution."""
    metric = metric.restricted(view)
    assert metric.outputs is not None
    unfold = np.stack([view.layer_change(unit).numpy().ravel() for unit in _units(view)], axis=1)
    hessian = np.kron((metric.outputs @ metric.outputs.T).numpy(), (metric.inputs @ metric.inputs.T).numpy())
    limit = (bound * view.scales).expand(len(view.units), -1).numpy().ravel()
    matrix = sparse.csr_array(rows[0] @ unfold)
    whole = LinearProgram(np.zeros(len(limit)), -limit, limit, matrix, rows[1], sparse.csc_array(hessian))
    try:
        found = sytorch.HighsSolver().solve(whole)
    except sytorch.InfeasibleProgramError:
        return None
    return float(np.sqrt(found.x @ hessian @ found.x))


def by_highs(name: str, seed: int, bound: float) -> float | None:
    """The least norm of the program of a network."""
    fixed = program(name, seed)
    return least_norm(fixed.view, fixed.metric, whole_rows(name, seed), bound)


def _units(view: LayerView) -> torch.Tensor:
    size = len(view.units) * view.inputs.shape[2]
    return torch.eye(size, dtype=torch.float64).view(size, len(view.units), -1)


@pytest.mark.parametrize("name", NETWORKS | PARTS)
@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_that_of_the_whole_program(name: str, seed: int) -> None:
    expected = by_highs(name, seed, BOUND)
    try:
        solution = program(name, seed).solve()
    except sytorch.ContradictionError as error:
        assert expected is None and error.contradiction.refuted_bound > BOUND
        return
    assert expected is not None
    assert solution.objective == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert abs(solution.objective - solution.lower_bound) <= 1e-6 * solution.objective


@pytest.mark.parametrize("name", ["linear", "last", "convolution", "repeated"])
def test_bounds_are_kept_and_cost_what_the_whole_program_says(name: str) -> None:
    checked = 0
    for seed in range(6):
        try:
            free = program(name, seed).solve()
        except sytorch.ContradictionError:
            continue
        bound = 0.8 * free.max_abs_change
        expected = by_highs(name, seed, bound) if bound else None
        if expected is not None:
            solution = program(name, seed, bound).solve()
            assert solution.max_abs_change <= bound * (1 + 1e-5)
            assert solution.objective == pytest.approx(expected, rel=1e-5)
            assert solution.lower_bound == pytest.approx(expected, rel=1e-5)
            checked += 1
    assert checked


@pytest.mark.parametrize("name", NETWORKS)
def test_the_changed_network_has_the_margins_and_the_pattern(name: str) -> None:
    repaired = 0
    for seed in range(6):
        try:
            solution = program(name, seed, allowance=1e-5).solve()
        except sytorch.ContradictionError:
            continue
        assert_margins_and_pattern(name, seed, torch.from_numpy(solution.change))
        repaired += 1
    assert repaired


def assert_margins_and_pattern(name: str, seed: int, change: torch.Tensor) -> None:
    """The network itself has them after the change."""
    model, layer, images = network(name, seed)
    after = changed(model, layer, change)
    view, margins = program(name, seed).view, program(name, seed).margins
    reached = np.where(np.isfinite(margins.required), margins.at(after(images).numpy()), np.inf)
    assert float(reached.min()) >= MARGIN - 1e-6
    moved = linearise(after, part_named(layer).layer, images).pattern
    for position, fixed in view.pattern.fixed.items():
        rounding = 0.0 if isinstance(fixed, FixedSigns) else -1e-6
        assert float(fixed.slack(moved.values[position]).min()) >= rounding


def test_the_last_layer_agrees_with_its_own_program() -> None:
    model, layer, images = network("last", 1)
    fixed = program("last", 1)
    inputs = fixed.view.inputs[:, 0]
    moment = (inputs.T @ inputs / len(inputs)).numpy()
    metric = sytorch.second_moment_metric(moment, 1e-2)
    factor = torch.from_numpy(np.tril(metric.factor))
    new = FixedPatternProgram(fixed.view, fixed.margins, KroneckerMetric(factor), 5.0).solve()
    outputs = sytorch.symbolic(model, layer)(images)
    margins = sytorch.margin(outputs, fixed.margins.kinds, MARGIN)
    old = sytorch.minimise("l2", metric).subject_to(margins, 5.0).solve("highs")
    assert new.objective == pytest.approx(old.objective, rel=1e-7)
    np.testing.assert_allclose(new.change, old.change, atol=1e-6)


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_products_alone_give_what_newton_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.program.fits", lambda _: False)
    for seed in range(3):
        found = []
        for dense in (10**9, 0):
            monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", dense)
            found.append(objective(name, seed))
        assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_least_distance_gives_what_newton_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        newton = objective(name, seed)
        with monkeypatch.context() as patch:
            patch.setattr("sytorch.hidden_layer.program.by_newton", least_distance)
            assert objective(name, seed) == pytest.approx(newton, rel=1e-6)


@pytest.mark.parametrize("name", SPLIT_FAST_AND_SLOW)
def test_splitting_has_the_optimum_between_its_bound_and_its_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moves, "is_shallow", False)
    for seed in range(3):
        with monkeypatch.context() as patch:
            patch.setattr("sytorch.hidden_layer.program.DENSE", 10**9)
            exact = objective(name, seed, 1e-5)
            patch.setattr("sytorch.hidden_layer.program.DENSE", 0)
            if exact == np.inf:
                assert objective(name, seed, 1e-5) == np.inf
                continue
            solution = program(name, seed, allowance=1e-5).solve()
        assert solution.effort.solver == "splitting"
        assert solution.lower_bound <= exact * (1 + 1e-6) and solution.objective >= exact * (1 - 1e-4)
        assert solution.objective <= 1.011 * exact
        assert_margins_and_pattern(name, seed, torch.from_numpy(solution.change))


def objective(name: str, seed: int, allowance: float = 0.0) -> float:
    try:
        return program(name, seed, allowance=allowance).solve().objective
    except sytorch.ContradictionError:
        return np.inf


@pytest.mark.parametrize("part", ["0[1:5]", "0[1:5].bias"])
def test_a_unit_that_stays_as_it_is_may_be_as_near_to_zero_as_it_likes(part: str) -> None:
    model, _, images = network("linear")
    first = model[0]
    assert isinstance(first, nn.Linear)
    first.bias[0] -= first(images)[0, 0] - 1e-7
    view = linearise(model, part, images)
    solution = fixed_pattern_program(
        view, model(images).argmax(dim=1), 1e-9, metric_for(view, 0), bound=5.0, allowance=1e-5
    ).solve()
    assert solution.objective < 0.1


@pytest.mark.parametrize("dense", [10**9, 0])
def test_the_time_limit_is_heeded(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", dense)
    with pytest.raises(sytorch.SolverTimeLimitError):
        program("linear", 0).solve(1e-9)


@pytest.mark.parametrize("dense", [10**9, 0])
def test_those_who_wait_see_steps(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", dense)
    ticks: list[int] = []
    program("linear", 0).solve(tick=lambda: ticks.append(1))
    assert ticks


@pytest.mark.parametrize("dense", [10**9, 0])
def test_a_bias_may_move_by_more_than_one(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal signs of a unit only the nearest to zero is a constraint; the others forbid nothing."""
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", dense)
    first, last = nn.Linear(1, 1), nn.Linear(1, 2)
    first.weight.data, first.bias.data = torch.tensor([[0.1]]), torch.tensor([5.0])
    last.weight.data, last.bias.data = torch.tensor([[1.0], [0.0]]), torch.tensor([0.0, 3.0])
    model = nn.Sequential(first, nn.ReLU(), last).double().eval()
    view = linearise(model, "0.bias", torch.tensor([[0.0], [1.0]]).double())
    metric = KroneckerMetric(torch.eye(2).double(), torch.eye(1).double())
    solution = fixed_pattern_program(view, torch.tensor([1, 1]), 1.0, metric, bound=10.0).solve()
    assert solution.change[0, -1] == pytest.approx(-3.1, rel=2e-2)


@pytest.mark.parametrize("name", ["convolution", "pooled", "before the copies"])
def test_a_program_of_few_images_is_that_of_those_images_alone(name: str) -> None:
    model, layer, images = network(name, 1)
    chosen = torch.tensor([0, 2])
    labels = torch.from_numpy(program(name, 1).margins.kinds)[chosen]
    alone = fixed_pattern_program(
        linearise(model, layer, images[chosen]), labels, MARGIN, program(name, 1).metric, bound=BOUND
    )
    few = replace(program(name, 1), allowance=alone.allowance).of(chosen)
    assert few.solve().objective == pytest.approx(alone.solve().objective, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["convolution", "linear"])
def test_few_images_that_contradict_each_other_are_found_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images that are the same are to be of two classes, among others; no other program is solved."""
    monkeypatch.setattr("sytorch.hidden_layer.program.FEW", (2,))
    model, layer, images = network(name, 0)
    images = torch.cat([images, images[1:2], torch.randn(2, *images.shape[1:], dtype=torch.float64)])
    answers = model(images).sort(dim=1).indices
    labels = answers[:, 2].clone()
    labels[1], labels[4] = answers[1, 0], answers[1, 1]
    view = linearise(model, layer, images)
    with pytest.raises(sytorch.ContradictionError) as error:
        fixed_pattern_program(view, labels, 10.0, metric_for(view, 0), bound=BOUND).solve()
    assert error.value.contradiction.images == (1, 4)
    assert isinstance(error.value.__cause__, sytorch.ContradictionError)


@pytest.mark.parametrize("dense", [10**9, 0])
def test_one_image_that_contradicts_itself_is_enough(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its margin is out of reach; found by Newton's method, and by multipliers that splitting makes in float32."""
    monkeypatch.setattr("sytorch.hidden_layer.program.DENSE", dense)
    far = program("convolution", 0)
    far.margins.required[1] += 1e4 * np.isfinite(far.margins.required[1])
    program.cache_clear()
    with pytest.raises(sytorch.ContradictionError) as error:
        far.solve()
    assert error.value.contradiction.images == (1,)
    assert isinstance(error.value.__cause__, sytorch.ContradictionError)


@pytest.mark.parametrize("name", NETWORKS | PARTS)
def test_moves_are_the_same_in_another_floating_point_type(name: str) -> None:
    fixed = program(name, 0)
    view = fixed.view
    constraints, metric = fixed._constraints(), fixed.metric.restricted(view)
    moves = Moves(constraints, metric, torch.ones_like(constraints.required))
    target = torch.randn(*view.inputs.shape[:2], len(view.units), dtype=torch.float64)
    expected = moves.rows(target)
    single = moves.to(torch.float32)
    found = single.rows(target.float())
    assert found.dtype == single.kernel.dtype == torch.float32
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())
