"""What the convolutions make of images, in another layout than the network's own pass."""

from __future__ import annotations

import pytest
import torch

from edits.network.channels import convolved
from model_classes.alexnet import AlexNet


@pytest.mark.parametrize("size", [64, 96, 224])
@pytest.mark.parametrize("has_layout", [True, False])
def test_it_is_the_networks_own(size: int, has_layout: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_layout)
    torch.manual_seed(0)
    network, images = AlexNet().eval().requires_grad_(False), torch.rand(3, 3, size, size)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.testing.assert_close(convolved(network, images), network.features(images), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
