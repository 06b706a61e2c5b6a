"""Stage one: the linearisation against finite differences, a step against an independent optimiser."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, minimize
from torch import nn

from edits.kronecker import KroneckerMetric
from edits.prepare import DAMPING, STEPS, MissingLeads, missing_leads, prepare
from edits.tail import linearised
from edits.training_metric import second_moment
from sytorch.ascent import ascend
from sytorch.kronecker_metric import softmax_curvature

IMAGES, INPUTS, HIDDEN, CLASSES = 5, 4, 6, 3


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(INPUTS, HIDDEN).requires_grad_(False)


@pytest.fixture
def tail() -> list[nn.Module]:
    torch.manual_seed(1)
    return [nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)]


def unharmed(_: torch.Tensor) -> float:
    return 1.0


def _positive(size: int, seed: int) -> NDArray[np.float64]:
    root = np.random.default_rng(seed).normal(size=(size, size))
    return np.asarray(root @ root.T + np.eye(size))


def _metric(first: NDArray[np.float64], second: NDArray[np.float64]) -> KroneckerMetric:
    return KroneckerMetric(np.asarray(np.linalg.cholesky(first)), torch.from_numpy(np.linalg.inv(second)).float())


def test_gradients_are_those_of_finite_differences(tail: list[nn.Module]) -> None:
    network = nn.Sequential(*tail).double()
    values = torch.randn(IMAGES, HIDDEN, generator=torch.Generator().manual_seed(2)).double()
    direction = torch.randn(IMAGES, HIDDEN, generator=torch.Generator().manual_seed(3)).double()
    logits, gradients = linearised(list(network), values)
    torch.testing.assert_close(logits, network(values).detach())
    moved = (network(values + 1e-6 * direction).detach() - logits) / 1e-6
    torch.testing.assert_close(moved, torch.einsum("nch,nh->nc", gradients, direction), atol=1e-5, rtol=1e-5)


def test_linearised_gradients_are_torchs(tail: list[nn.Module]) -> None:
    values = torch.randn(IMAGES, HIDDEN, generator=torch.Generator().manual_seed(2))
    _, gradients = linearised(tail, values)
    expected = torch.func.vmap(torch.func.jacrev(nn.Sequential(*tail)))(values)
    torch.testing.assert_close(gradients, expected.detach())


def test_a_step_is_the_least_change_in_the_metric() -> None:
    """min |G^(1/2) D A^(1/2)| with the leads reached, by scipy over all entries of D."""
    rng = np.random.default_rng(4)
    inputs, gradients = rng.normal(size=(IMAGES, INPUTS + 1)), rng.normal(size=(IMAGES, CLASSES, HIDDEN))
    first, second = _positive(INPUTS + 1, 5), _positive(HIDDEN, 6)
    labels = np.arange(IMAGES) % CLASSES
    needed = np.abs(rng.normal(size=(IMAGES, CLASSES)))
    needed[np.arange(IMAGES), labels] = 0.0
    metric = _metric(first, second)
    images, others = np.nonzero(needed)
    toward = torch.from_numpy(gradients[images, labels[images]] - gradients[images, others]).float()
    missing = torch.from_numpy(needed[images, others]).float()
    leads = MissingLeads(torch.from_numpy(images), missing, toward, toward @ metric.outputs_inverse)
    solved = metric.solve_inputs(torch.from_numpy(inputs).float())
    gram = leads.gram(torch.from_numpy(inputs).float() @ solved.T)
    multipliers, _ = ascend(gram, missing, -np.inf, 20_000)
    step = leads.change(multipliers, solved).double().numpy()

    rows = []
    for image in range(IMAGES):
        for other in set(range(CLASSES)) - {int(labels[image])}:
            lead = gradients[image, labels[image]] - gradients[image, other]
            rows.append((np.outer(lead, inputs[image]).ravel(), needed[image, other]))
    matrix, rhs = np.array([row for row, _ in rows]), np.array([value for _, value in rows])
    hessian = np.kron(second, first)
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


def test_preparing_raises_the_margins_and_leaves_the_layer_alone(layer: nn.Linear, tail: list[nn.Module]) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    inputs = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(IMAGES) % CLASSES
    metric = _metric(_positive(INPUTS + 1, 5), _positive(HIDDEN, 6))
    change = prepare(layer, tail, inputs, labels, metric, margin=1.0, bound=100.0, training_accuracy=unharmed).change
    moved = inputs @ (layer.weight + change[:, :-1]).T + layer.bias + change[:, -1]

    def leads(values: torch.Tensor) -> torch.Tensor:
        logits = nn.Sequential(*tail)(values).detach()
        own = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -torch.inf).max(dim=1, keepdim=True).values
        return torch.as_tensor((own - others).mean())

    assert float(leads(moved)) > float(leads(layer(inputs)))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_no_entry_exceeds_the_bound(layer: nn.Linear, tail: list[nn.Module]) -> None:
    inputs = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    metric = _metric(np.eye(INPUTS + 1), np.eye(HIDDEN))
    prepared = prepare(
        layer, tail, inputs, torch.arange(IMAGES) % CLASSES, metric, margin=50.0, bound=0.25, training_accuracy=unharmed
    )
    assert float(prepared.change.abs().max()) == 0.25


def test_where_no_lead_is_missing_no_step_is_taken(layer: nn.Linear, tail: list[nn.Module]) -> None:
    inputs = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    labels = nn.Sequential(layer, *tail)(inputs).argmax(dim=1)
    metric = _metric(np.eye(INPUTS + 1), np.eye(HIDDEN))
    prepared = prepare(layer, tail, inputs, labels, metric, margin=1e-9, bound=1.0, training_accuracy=unharmed)
    assert (prepared.steps, prepared.length) == (0, 0.0)
    assert not prepared.change.any()


def test_steps_end_before_training_images_suffer(layer: nn.Linear, tail: list[nn.Module]) -> None:
    inputs = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(IMAGES) % CLASSES
    metric = _metric(_positive(INPUTS + 1, 5), _positive(HIDDEN, 6))
    tried: list[torch.Tensor] = []

    def accuracy(change: torch.Tensor) -> float:
        tried.append(change)
        return 0.7 if len(tried) > 3 else 0.8

    prepared = prepare(layer, tail, inputs, labels, metric, margin=5.0, bound=100.0, training_accuracy=accuracy)
    assert prepared.steps == 2
    assert torch.equal(prepared.change, tried[2])
    assert not tried[0].any()


def test_steps_and_damping_are_arguments(layer: nn.Linear, tail: list[nn.Module]) -> None:
    inputs = torch.randn(IMAGES, INPUTS, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(IMAGES) % CLASSES
    metric = _metric(_positive(INPUTS + 1, 5), _positive(HIDDEN, 6))
    asked = partial(prepare, layer, tail, inputs, labels, metric, margin=5.0, bound=1e3, training_accuracy=unharmed)
    whole, half = asked(steps=1, damping=1.0), asked(steps=1, damping=0.5)
    torch.testing.assert_close(half.change, whole.change / 2)
    assert half.length == pytest.approx(whole.length / 2)
    assert whole.efforts == half.efforts
    leads = missing_leads(tail, layer(inputs), labels, 5.0, metric)
    assert [effort.leads for effort in half.efforts] == [len(leads.needed)]
    assert torch.equal(asked().change, asked(steps=STEPS, damping=DAMPING).change)


def test_the_second_moment_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(8)
    inputs, weights = rng.normal(size=(2500, 3)).astype(np.float32), rng.uniform(size=2500)
    rows = np.hstack([inputs, np.ones((2500, 1))])
    np.testing.assert_allclose(second_moment(inputs, weights), (rows.T * weights) @ rows / weights.sum(), rtol=1e-5)


def test_the_curvature_is_the_trace_of_the_softmaxs_hessian() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(9)).double()
    for row, value in zip(logits, softmax_curvature(logits), strict=True):
        hessian = torch.func.hessian(lambda z: z.logsumexp(0))(row)
        assert value == pytest.approx(float(torch.trace(hessian)))
