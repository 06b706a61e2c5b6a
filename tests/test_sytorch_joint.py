"""Several parts at once against the whole program by HiGHS, and against the network with all of them changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import sytorch
from sytorch.arrays import Matrix, Vector
from sytorch.held import HeldProgram, hold
from sytorch.kronecker_metric import KroneckerMetric
from sytorch.linear_program import LinearProgram
from sytorch.linearise import linearise, linearise_together
from sytorch.parts import parts_named
from tests.sytorch_networks import network
from tests.test_sytorch_held import metric_for

MARGIN = 0.05
TOGETHER = {"linear": "0+2.bias+4.bias", "convolution": "0[0:2]+4.bias", "repeated": "0.bias+5.bias+7[1:3].bias"}
Changes = tuple[torch.Tensor, ...]


def program(name: str, seed: int, bound: float) -> tuple[nn.Sequential, torch.Tensor, HeldProgram]:
    """Labels are the classes that the network gives with other biases, so that many programs have a solution."""
    model, _, images = network(name, seed)
    views = linearise_together(model, parts_named(TOGETHER[name]), images)
    shift = torch.randn(views[0].logits.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    labels = (views[0].logits + 0.3 * shift).argmax(dim=1)
    metrics = tuple(metric_for(view, seed + place) for place, view in enumerate(views))
    return model, images, hold(views, labels, MARGIN, metrics, bound=bound, allowance=0.0)


def changed(model: nn.Sequential, held: HeldProgram, changes: Changes) -> dict[str, torch.Tensor]:
    """The network's parameters with changes, (outputs, n + 1) or (outputs, 1), of the parts."""
    parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
    for view, change in zip(held.views, changes, strict=True):
        name = view.part.layer
        if change.shape[1] > 1:
            weight = parameters[f"{name}.weight"]
            parameters[f"{name}.weight"] = weight + change[:, :-1].reshape(weight.shape)
        parameters[f"{name}.bias"] = parameters[f"{name}.bias"] + change[:, -1]
    return parameters


def rows(model: nn.Sequential, images: torch.Tensor, held: HeldProgram) -> tuple[Matrix, Vector]:
    """Every constraint as a dense row in the entries of all changes, by differentiating the network itself."""
    sizes = [(len(view.units), view.inputs.shape[2]) for view in held.views]
    first = int(held.views[0].part.layer)

    def inequalities(entries: torch.Tensor) -> torch.Tensor:
        pieces = torch.split(entries, [units * columns for units, columns in sizes])
        changes = tuple(
            view.layer_change(piece.view(size)) for view, piece, size in zip(held.views, pieces, sizes, strict=True)
        )
        parameters, values, parts = changed(model, held, changes), images, []
        for number, step in enumerate(model):
            if number > first and isinstance(step, nn.ReLU):
                parts.append((values * torch.where(values.detach() > 0, 1.0, -1.0)).flatten())
            if number > first and isinstance(step, nn.MaxPool2d):
                parts.append(_leads(step, values))
            own = {key: parameters[f"{number}.{key}"] for key, _ in step.named_parameters()}
            values = torch.func.functional_call(step, own, (values,))
        lead = values.gather(1, torch.from_numpy(held.margins.labels)[:, None]) - values
        return torch.cat([*parts, lead[torch.from_numpy(np.isfinite(held.margins.required))] - MARGIN])

    start = torch.zeros(sum(units * columns for units, columns in sizes), dtype=torch.float64)
    return torch.func.jacrev(inequalities)(start).detach().numpy(), -inequalities(start).detach().numpy()


def _leads(pool: nn.MaxPool2d, values: torch.Tensor) -> torch.Tensor:
    """By how much the winner of each window leads the others; no window here reaches over the edge."""
    assert pool.padding == 0
    members = nn.functional.unfold(values, pool.kernel_size, stride=pool.stride)
    members = members.view(*values.shape[:2], -1, members.shape[-1])
    best = members.detach().argmax(dim=2, keepdim=True)
    leads = members.gather(2, best) - members
    return leads[torch.arange(members.shape[2])[:, None] != best]


def by_highs(model: nn.Sequential, images: torch.Tensor, held: HeldProgram) -> float | None:
    """The least norm, or None where there is no solution."""
    matrix, rhs = rows(model, images, held)
    blocks, limits = [], []
    for view, whole in zip(held.views, held.metrics, strict=True):
        metric = whole.restricted(view)
        outputs = torch.eye(len(view.units)).double() if metric.outputs is None else metric.outputs
        blocks.append(np.kron((outputs @ outputs.T).numpy(), (metric.inputs @ metric.inputs.T).numpy()))
        limits.append((held.bound * view.scales).expand(len(view.units), -1).numpy().ravel())
    hessian, limit = sparse.block_diag(blocks, format="csc"), np.concatenate(limits)
    whole_program = LinearProgram(np.zeros(len(limit)), -limit, limit, sparse.csr_array(matrix), rhs, hessian)
    try:
        found = sytorch.HighsSolver().solve(whole_program)
    except sytorch.InfeasibleProgramError:
        return None
    return float(np.sqrt(found.x @ (hessian @ found.x)))


def solved(model: nn.Sequential, images: torch.Tensor, held: HeldProgram) -> sytorch.Solution | None:
    """The solution after comparing it with HiGHS' and with the network; None where both find that there is none."""
    expected = by_highs(model, images, held)
    try:
        solution = held.solve()
    except sytorch.ContradictionError as error:
        assert expected is None and error.contradiction.refuted_bound > held.bound
        return None
    assert expected is not None
    assert solution.objective == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert solution.lower_bound == pytest.approx(expected, rel=1e-5, abs=1e-7)
    changes = tuple(torch.from_numpy(change) for change in (solution.change, *solution.further))
    logits = torch.func.functional_call(model, changed(model, held, changes), (images,))
    labels = torch.from_numpy(held.margins.labels)[:, None]
    leads = logits.gather(1, labels) - logits.scatter(1, labels, -torch.inf).max(dim=1, keepdim=True).values
    assert float(leads.min()) >= MARGIN - 1e-5
    return solution


@pytest.mark.parametrize("name", TOGETHER)
def test_the_optimum_is_that_of_the_whole_program_and_the_network_has_it(name: str) -> None:
    free = bounded = 0
    for seed in range(6):
        solution = solved(*program(name, seed, 10.0))
        if solution is None or not solution.objective:
            continue
        free += 1
        bound = 0.9 * solution.max_abs_change
        smaller = solved(*program(name, seed, bound))
        if smaller is not None:
            assert smaller.max_abs_change <= bound * (1 + 1e-5)
            bounded += 1
    assert free and bounded


def test_more_parts_never_need_a_larger_change() -> None:
    _, _, held = program("linear", 1, 10.0)
    alone = HeldProgram(held.views[:1], held.margins, held.metrics[:1], 10.0, True, 0.0)
    together, single = held.solve().objective, alone.solve().objective
    assert together <= single * (1 + 1e-6)


@pytest.mark.parametrize("words", ["0+2", "2.bias+0+4", "0+0.bias", "0+9.bias", "0+2[0:99].bias", "0+"])
def test_what_is_no_linear_program_is_refused(words: str) -> None:
    model, _, images = network("linear", 0)
    with pytest.raises(sytorch.UnsupportedLayerError):
        linearise_together(model, parts_named(words), images)


def test_one_part_alone_is_seen_as_by_itself() -> None:
    model, layer, images = network("linear", 2)
    views, alone = linearise_together(model, parts_named(layer), images), linearise(model, layer, images)
    labels = alone.logits.argsort(dim=1)[:, -1].roll(1)
    metric: KroneckerMetric = metric_for(alone, 2)
    found = hold(views, labels, MARGIN, (metric,)).margins.required
    np.testing.assert_array_equal(found, hold(alone, labels, MARGIN, metric).margins.required)
    torch.testing.assert_close(views[0].logit_gradients(), alone.logit_gradients(), rtol=0, atol=0)
