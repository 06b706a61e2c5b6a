"""The preparation: the linearisation against finite differences, a step against an independent optimiser."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize
from torch import nn

from edits.network.tail import parameters_of
from edits.network.training_metric import MetricSample, no_products, per_class_metric, with_weighted_products
from sytorch import KroneckerMetric, LayerView, identity_metric, linearise
from sytorch.hidden_layer.preparation import MissingMargins, missing_margins, prepare
from sytorch.metrics.kronecker import softmax_curvature
from sytorch.network.layer_change import LayerChange
from sytorch.numerics.ascent import ascend
from tests.sytorch.networks import network as a_network

IMAGES, INPUTS, HIDDEN, CLASSES = 5, 4, 6, 3


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    hidden = nn.Linear(HIDDEN, HIDDEN)
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(HIDDEN, CLASSES)).eval()


@pytest.fixture
def view(network: nn.Module) -> LayerView:
    images = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    return linearise(network, "0", images, dtype=torch.float32)


LABELS = torch.arange(IMAGES) % CLASSES


def unharmed(_: LayerChange) -> float:
    return 1.0


def _positive(size: int, seed: int) -> NDArray[np.float64]:
    root = np.random.default_rng(seed).normal(size=(size, size))
    return np.asarray(root @ root.T + np.eye(size))


def _metric(first: NDArray[np.float64], second: NDArray[np.float64]) -> KroneckerMetric:
    factors = (torch.from_numpy(np.linalg.cholesky(moment)) for moment in (first, second))
    return KroneckerMetric(next(factors), next(factors))


def _some_metric() -> KroneckerMetric:
    return _metric(_positive(INPUTS + 1, 5), _positive(HIDDEN, 6))


def test_a_step_is_the_least_change_in_the_metric() -> None:
    """min |G^(1/2) D A^(1/2)| with the margins reached, by scipy over all entries of D."""
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(IMAGES, INPUTS + 1))
    gradients = rng.normal(size=(IMAGES, CLASSES, HIDDEN))
    first, second = _positive(INPUTS + 1, 5), _positive(HIDDEN, 6)
    labels = LABELS.numpy()
    needed = np.abs(rng.normal(size=(IMAGES, CLASSES)))
    needed[np.arange(IMAGES), labels] = 0.0
    metric = _metric(first, second).to(torch.float32)
    images, others = np.nonzero(needed)
    toward = gradients[images, labels[images]] - gradients[images, others]
    missing, seen = torch.from_numpy(needed[images, others]).float(), torch.from_numpy(inputs).float()
    margins = MissingMargins(torch.from_numpy(images), missing, torch.from_numpy(toward).float())
    multipliers, _ = ascend(margins.gram(metric.whitened_inputs(seen), metric), missing, -np.inf, 20_000)
    step = (
        metric.dual_change(margins.constraint_gradients(multipliers, IMAGES)[:, :, None], seen[:, None])
        .double()
        .numpy()
    )

    matrix = np.array([np.outer(row, inputs[image]).ravel() for row, image in zip(toward, images, strict=True)])
    rhs, hessian = needed[images, others], np.kron(second, first)
    found = minimize(
        lambda d: d @ hessian @ d / 2,
        np.zeros(step.size),
        jac=lambda d: hessian @ d,
        constraints=LinearConstraint(matrix, rhs, np.inf),
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    assert found.success
    assert (matrix @ step.ravel() >= rhs - 1e-4).all()
    assert step.ravel() @ hessian @ step.ravel() / 2 == pytest.approx(found.fun, rel=1e-4)


def test_missing_leads_are_those_of_finite_differences(network: nn.Module, view: LayerView) -> None:
    margins = missing_margins(view, LABELS, 1.0)
    direction = torch.randn(HIDDEN, INPUTS + 1, generator=torch.Generator().manual_seed(3))
    logits = view.logits
    owns = logits.gather(1, LABELS[:, None])
    needed = (1.0 - (owns - logits)).masked_fill(nn.functional.one_hot(LABELS).bool(), 0.0)
    images, others = torch.nonzero(needed > 0, as_tuple=True)
    torch.testing.assert_close(margins.needed, needed[images, others])
    assert torch.equal(margins.images, images)
    moved = view.inputs[:, 0] @ direction.T
    slopes = (margins.gradients * moved[images]).sum(dim=1)
    after = view.after(1e-3 * direction).logits
    found = ((after - logits)[images, LABELS[images]] - (after - logits)[images, others]) / 1e-3
    torch.testing.assert_close(slopes, found, atol=2e-3, rtol=2e-3)


def test_preparing_raises_the_margins_and_leaves_the_layer_alone(network: nn.Module, view: LayerView) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    asked = partial(prepare, view, LABELS, _some_metric(), margin=1.0, bound=100.0, training_accuracy=unharmed)
    change = asked().change.whole

    def margins(logits: torch.Tensor) -> float:
        own = logits.gather(1, LABELS[:, None])
        return float((own - logits.scatter(1, LABELS[:, None], -torch.inf).max(dim=1, keepdim=True).values).mean())

    assert margins(view.after(change).logits) > margins(view.logits)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_no_entry_exceeds_the_bound(view: LayerView) -> None:
    metric = _metric(np.eye(INPUTS + 1), np.eye(HIDDEN))
    prepared = prepare(view, LABELS, metric, margin=50.0, bound=0.25, training_accuracy=unharmed)
    assert float(prepared.change.whole.abs().max()) == 0.25


@pytest.mark.parametrize("bound", [0.05, 0.25, 100.0])
def test_the_factors_of_the_change_are_its_product_also_where_the_bound_cut(view: LayerView, bound: float) -> None:
    change = prepare(view, LABELS, _some_metric(), margin=5.0, bound=bound, training_accuracy=unharmed).change
    assert (float(change.whole.abs().max()) == pytest.approx(bound)) == (bound < 1)
    assert change.factors is not None
    left, right = change.factors
    torch.testing.assert_close(left @ right, change.whole, rtol=1e-4, atol=1e-4 * float(left.abs().max()))


def test_the_change_of_copied_inputs_has_factors_too() -> None:
    model, layer, images = a_network("repeated")
    view = linearise(model, layer, images, dtype=torch.float32)
    labels = torch.arange(len(images)) % view.logits.shape[1]
    metric = identity_metric(view)
    change = prepare(view, labels, metric, margin=0.5, bound=1e3, training_accuracy=unharmed).change
    assert change.factors is not None
    left, right = change.factors
    torch.testing.assert_close(left @ right, change.whole, rtol=1e-4, atol=1e-6)


def test_thin_factors_move_a_layer_as_the_whole_change_does() -> None:
    rng = torch.Generator().manual_seed(2)
    left, right, inputs = (torch.randn(*shape, generator=rng) for shape in ((20, 2), (2, 31), (7, 30)))
    thin, whole = LayerChange(left @ right, (left, right)), LayerChange(left @ right)
    assert thin.is_thin
    assert not whole.is_thin
    torch.testing.assert_close(thin.moves(inputs), whole.moves(inputs))
    wide = LayerChange(left @ right, (torch.eye(20), left @ right))
    assert not wide.is_thin


def moved_layer(module: nn.Module, change: torch.Tensor) -> nn.Module:
    """A linear layer with a change, (outputs, n + 1), added to its weight and, last, its bias."""
    moved = copy.deepcopy(module).requires_grad_(False)
    for name, part in parameters_of(module, change).items():
        moved.get_parameter(name).add_(part)
    return moved


def test_a_layer_moves_by_its_change() -> None:
    layer, rng = nn.Linear(30, 20), torch.Generator().manual_seed(2)
    inputs, change = torch.randn(7, 30, generator=rng), torch.randn(20, 31, generator=rng)
    expected = moved_layer(layer, change)(inputs) - layer(inputs)
    torch.testing.assert_close(LayerChange(change).moves(inputs), expected, rtol=1e-4, atol=1e-4)


def test_where_no_lead_is_missing_no_step_is_taken(view: LayerView) -> None:
    metric = _metric(np.eye(INPUTS + 1), np.eye(HIDDEN))
    right = view.logits.argmax(dim=1)
    prepared = prepare(view, right, metric, margin=1e-9, bound=1.0, training_accuracy=unharmed)
    assert (prepared.steps, prepared.length) == (0, 0.0)
    assert not prepared.change.whole.any()


def test_steps_end_before_training_images_suffer(view: LayerView) -> None:
    tried: list[torch.Tensor] = []

    def accuracy(change: LayerChange) -> float:
        tried.append(change.whole)
        return 0.7 if len(tried) > 3 else 0.8

    prepared = prepare(view, LABELS, _some_metric(), margin=5.0, bound=100.0, training_accuracy=accuracy)
    assert prepared.steps == 2
    assert torch.equal(prepared.change.whole, tried[2])
    assert not tried[0].any()


def test_a_step_is_taken_in_part(view: LayerView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sytorch.hidden_layer.preparation.STEPS", 1)
    asked = partial(prepare, view, LABELS, _some_metric(), margin=5.0, bound=1e3, training_accuracy=unharmed)
    damped = asked()
    monkeypatch.setattr("sytorch.hidden_layer.preparation.DAMPING", 1.0)
    whole = asked()
    torch.testing.assert_close(damped.change.whole, 0.4 * whole.change.whole)
    assert damped.length == pytest.approx(0.4 * whole.length)
    assert whole.efforts == damped.efforts
    assert [effort.margins for effort in damped.efforts] == [len(missing_margins(view, LABELS, 5.0).needed)]


def test_layers_of_copies_are_moved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network itself, with the change written into its layer, is the judge."""
    model, layer, images = a_network("repeated")
    view = linearise(model, layer, images, dtype=torch.float32)
    labels = torch.arange(len(images)) % view.logits.shape[1]
    asked = partial(prepare, view, labels, identity_metric(view), margin=0.5, bound=1e3, training_accuracy=unharmed)
    monkeypatch.setattr("sytorch.hidden_layer.preparation.STEPS", 20)
    monkeypatch.setattr("sytorch.hidden_layer.preparation.DAMPING", 0.3)
    prepared = asked()

    def missing(network: nn.Module) -> float:
        logits = network(images.float())
        return float((0.5 - logits.gather(1, labels[:, None]) + logits).clamp(min=0.0).sum())

    moved = copy.deepcopy(model).float().requires_grad_(False)
    before = missing(moved)
    moved.set_submodule(layer, moved_layer(moved.get_submodule(layer), prepared.change.whole))
    least = 0.5 * len(labels)  # the own class always counts
    assert missing(moved) - least < 0.5 * (before - least)


def test_the_weighted_products_are_those_of_the_inputs_with_a_one() -> None:
    rng = np.random.default_rng(8)
    inputs, weights = rng.normal(size=(2500, 3)).astype(np.float32), rng.uniform(size=2500)
    rows = np.hstack([inputs, np.ones((2500, 1))])
    total = with_weighted_products(no_products(3), inputs, weights, 1000)
    twice = with_weighted_products(total.copy(order="F"), inputs, weights, 1000)
    expected = np.tril((rows.T * weights) @ rows)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(twice, 2 * expected, rtol=1e-5)


def test_the_metric_of_each_class_weighs_images_by_the_softmaxs_curvature_in_its_logit() -> None:
    """Those that are right; in parts, as one; the ridge is of each moment's own mean diagonal."""
    rng = np.random.default_rng(9)
    layer = nn.Linear(INPUTS, CLASSES)
    inputs, labels = rng.normal(size=(40, INPUTS)).astype(np.float32), rng.integers(0, CLASSES, size=40)
    shares = rng.uniform(1.0, 3.0, size=40)
    parts = [MetricSample(inputs[part], labels[part], shares[part]) for part in (slice(0, 15), slice(15, 40))]
    found = per_class_metric(layer, lambda: parts, 1e-2, None)

    chances = layer(torch.from_numpy(inputs)).double().softmax(dim=1).detach().numpy()
    weights = chances * (1 - chances) * (shares * (chances.argmax(axis=1) == labels))[:, None]
    rows = np.hstack([inputs, np.ones((40, 1))])
    assert len(found.classes) == CLASSES
    for metric, own in zip(found.classes, weights.T, strict=True):
        moment = (rows.T * own) @ rows / weights.sum(axis=0).mean()
        definite = moment + 1e-2 * np.trace(moment) / (INPUTS + 1) * np.eye(INPUTS + 1)
        np.testing.assert_allclose(metric.solve(definite), np.eye(INPUTS + 1), atol=1e-3)


def test_the_curvature_is_the_trace_of_the_softmaxs_hessian() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(9)).double()
    for row, value in zip(logits, softmax_curvature(logits), strict=True):
        hessian = torch.func.hessian(lambda z: z.logsumexp(0))(row)
        assert value == pytest.approx(float(torch.trace(hessian)))
