"""Chains: read from the forward function, or refused by the name of what is in the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_classes.alexnet import AlexNet
from sytorch.network.chain import Permute, chain_of
from sytorch.network.layer_view import linearise, part_named
from sytorch.problem.errors import InvalidInputError, UnsupportedLayerError


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(values + self.first(values))
        return result


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(3, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.only(torch.relu(self.only(values)))
        return result


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(3, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.only(values).softmax(1)
        return result


class Branching(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values if values.sum() > 0 else -values


def test_alexnet_is_a_chain_with_its_flattening_and_without_its_dropouts() -> None:
    model = AlexNet().eval()
    chain, images = chain_of(model), torch.rand(2, 3, 64, 64)
    assert chain.repairable == tuple(f"features.{i}" for i in (0, 3, 6, 8, 10)) + tuple(
        f"classifier.{i}" for i in (1, 4, 6)
    )
    assert "flatten" in chain.names
    with torch.no_grad():
        assert torch.equal(chain(images), model(images))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Residual(), "add"),
        (Twice(), "only"),
        (Softmax(), "softmax"),
        (Branching(), "Branching"),
        (nn.Sequential(nn.Linear(3, 3), nn.GELU()), "'1' (GELU)"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 3)), "'0' (BatchNorm1d)"),
        (nn.Sequential(nn.Conv2d(1, 1, 2), nn.MaxPool2d(2, ceil_mode=True)), "'1' (MaxPool2d)"),
        (nn.Sequential(nn.Linear(4, 4), nn.Unflatten(0, (1, -1)), nn.Linear(4, 3)), "'1' (Unflatten)"),
    ],
)
def test_what_is_no_chain_is_refused_by_name(model: nn.Module, named: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=r".") as failure:
        chain_of(model.eval(), whole=True)
    assert named in str(failure.value)


class Attention(nn.Module):
    """The first token of what attends to all, and then a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.first, self.relu, self.last = nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.relu(self.first(self.block(values)[:, 0])))
        return result


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branching, self.first = Branching(), nn.Linear(3, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.first(self.branching(values)))


@pytest.mark.parametrize(
    ("model", "shape", "names"),
    [
        (Residual(), (3,), ["second"]),
        (Attention(), (4, 8), ["first", "relu", "last"]),
        (Untraceable(), (3,), ["first", "relu"]),
        (nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 4), nn.ReLU()), (3,), ["2", "3"]),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten()), (3, 5, 5), ["2"]),
    ],
)
def test_what_is_only_run_may_be_anything(model: nn.Module, shape: tuple[int, ...], names: list[str]) -> None:
    chain, images = chain_of(model.eval()), torch.randn(5, *shape)
    assert list(chain.names[1:]) == names
    with torch.no_grad():
        assert torch.equal(chain(images), model(images))
    with pytest.raises(UnsupportedLayerError, match="is only run"):
        chain.split("nothing")


@pytest.mark.parametrize("model", [Softmax(), Twice(), Branching(), nn.Sequential(nn.Linear(3, 3), nn.GELU())])
def test_what_ends_in_no_chain_is_refused(model: nn.Module) -> None:
    with pytest.raises(UnsupportedLayerError):
        chain_of(model.eval())


def test_a_linear_layer_of_tokens_is_refused() -> None:
    model = nn.Sequential(nn.GELU(), nn.Linear(3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)).eval()
    with pytest.raises(UnsupportedLayerError, match="one vector"):
        linearise(model, "1", torch.randn(4, 2, 3))


@pytest.mark.parametrize("axes", [(1, 0), (0, 1, 1), ()])
def test_axes_keep_the_batch_first_and_come_once(axes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no order of axes"):
        Permute(axes)


def test_a_module_in_training_mode_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="training mode"):
        chain_of(nn.Sequential(nn.Linear(3, 3)))


@pytest.mark.parametrize("name", ["", "7", "0", "1[0:9]", "1[2:2]", "1[a:b]", "1.weight"])
def test_layers_and_units_that_are_not_there_are_refused(name: str) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 4)).eval()
    with pytest.raises(UnsupportedLayerError) as failure:
        linearise(model, name, torch.rand(2, 3))
    assert "\n" not in str(failure.value)


def test_a_part_is_read_from_its_name() -> None:
    part = part_named("classifier.4[0:400].bias")
    assert (part.layer, part.units, part.bias_only) == ("classifier.4", (0, 400), True)
    assert part_named("classifier.4.bias").bias_only and part_named("classifier.4").units is None
