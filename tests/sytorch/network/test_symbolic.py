"""One symbolic layer: its outputs are torch's at every change; what cannot be symbolic is refused by name."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import sytorch


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(36, 5)
    ).eval()


def test_the_outputs_are_torchs_at_any_change(model: nn.Sequential) -> None:
    images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    outputs = sytorch.symbolic(model, "5")(images, batch_size=3)
    change = np.random.default_rng(2).normal(size=(5, 37))
    changed = copy.deepcopy(model).double()
    state = changed.state_dict()  # shares the parameters' memory
    state["5.weight"] += torch.from_numpy(change[:, :-1])
    state["5.bias"] += torch.from_numpy(change[:, -1])
    with torch.inference_mode():
        np.testing.assert_allclose(outputs.at(change), changed(images.double()).numpy(), atol=1e-4)
        np.testing.assert_allclose(outputs.at(0 * change), model(images).numpy(), atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("layer", ["0", "1", "4", "classifier.6", ""])
def test_any_other_layer_is_refused_with_the_one_that_can_be_used(model: nn.Sequential, layer: str) -> None:
    with pytest.raises(sytorch.UnsupportedLayerError, match="choose from: 5"):
        sytorch.symbolic(model, layer)


def test_a_module_that_does_not_end_in_a_linear_layer_has_none() -> None:
    assert sytorch.symbolic_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == ()
    with pytest.raises(sytorch.UnsupportedLayerError, match="choose from: none"):
        sytorch.symbolic(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "0")


def test_an_output_that_is_not_the_last_layers_is_refused_when_it_is_run() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(2 * self.last(x))

    with pytest.raises(sytorch.UnsupportedLayerError, match="directly"):
        sytorch.symbolic(Doubled().eval(), "last")(torch.zeros(1, 2))
