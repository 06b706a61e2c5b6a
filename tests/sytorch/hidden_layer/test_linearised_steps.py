"""Steps that linearise anew reach the margins in the network itself, which the first full step may not."""

from __future__ import annotations

import pytest
import torch

import sytorch
from sytorch.hidden_layer.linearised_steps import logit_gram, relinearise
from sytorch.network.layer_view import linearise
from tests.sytorch.hidden_layer.test_program import metric_for, program
from tests.sytorch.network.test_layer_view import changed
from tests.sytorch.networks import NETWORKS, network


@pytest.mark.parametrize("name", NETWORKS)
def test_the_changed_network_has_the_margins(name: str) -> None:
    model, layer, images = network(name)
    labels = torch.from_numpy(program(name, 0).margins.kinds)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    view = linearise(model, layer, images)
    margins = sytorch.margin(view.affine_outputs, labels, 0.1)
    found = relinearise(view, margins, 0.1, metric=metric_for(view, 0), bound=50.0)
    assert found.status is sytorch.Status.SOLVED
    solution = found.unwrap()
    assert solution.lower_bound == 0.0 and not solution.multipliers.margins.size
    after = changed(model, layer, torch.from_numpy(solution.change))
    logits = after(images)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    assert float((logits.gather(1, labels[:, None])[:, 0] - others).min()) >= 0.1 - 1e-9
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_cannot_be_reached_is_said() -> None:
    model, layer, images = network("linear")
    labels = model(images).topk(2).indices[:, 1]
    view = linearise(model, layer, images)
    wanted = sytorch.margin(view.affine_outputs, labels, 5.0)
    found = relinearise(view, wanted, 5.0, metric=metric_for(view, 0), bound=1e-3)
    assert found.status is sytorch.Status.GAVE_UP and found.solution is None
    with pytest.raises(sytorch.SolverFailedError):
        found.unwrap()


def test_the_time_limit_is_heeded() -> None:
    model, layer, images = network("linear")
    view, labels = linearise(model, layer, images), model(images).topk(2).indices[:, 1]
    wanted = sytorch.margin(view.affine_outputs, labels, 5.0)
    found = relinearise(view, wanted, 5.0, metric=metric_for(view, 0), bound=50.0, time_limit=1e-9)
    assert found.status is sytorch.Status.TIME_LIMIT


@pytest.mark.parametrize("name", ["linear", "convolution"])
def test_the_gram_matrix_is_that_of_the_rows_written_out(name: str) -> None:
    model, layer, images = network(name)
    view = linearise(model, layer, images)
    metric, gradients = metric_for(view, 1), view.logit_gradients()
    assert metric.outputs is not None
    rows = torch.einsum("ncmp,npk->ncmk", gradients, view.inputs).flatten(0, 1).flatten(1)
    outer = torch.kron(metric.outputs @ metric.outputs.T, metric.inputs @ metric.inputs.T)
    expected = rows @ torch.linalg.solve(outer, rows.T)
    torch.testing.assert_close(logit_gram(gradients, metric.whitened_inputs(view.inputs), metric), expected)
