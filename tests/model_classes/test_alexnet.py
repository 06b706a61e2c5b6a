"""The AlexNet against torchvision's, and weights files of every kind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from helpers.errors import ToolError
from model_classes.alexnet import AlexNet, blank_alexnet, load_alexnet
from model_classes.weights import weights_hash

State = dict[str, Tensor]
SHAPES = {name: value.shape for name, value in blank_alexnet().state_dict().items()}


@pytest.fixture(scope="module")
def state() -> State:
    """Weights that float16 can say exactly."""
    torch.manual_seed(0)
    return {
        name: value.half().float() for name, value in torchvision.models.alexnet(num_classes=10).state_dict().items()
    }


@pytest.fixture(scope="module")
def half_file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "half.pth"
    torch.save({name: value.half() for name, value in state.items()}, path)
    return path


def small_state() -> State:
    """The right names and shapes, at the price of one number each."""
    return {name: torch.full((1,), 0.5).expand(shape) for name, shape in SHAPES.items()}


def wrapped_in_sequential(state: State) -> State:
    return {name.replace("features", "0").replace("classifier", "3"): value for name, value in state.items()}


def test_it_is_torchvisions_network(state: State, half_file: Path) -> None:
    theirs = torchvision.models.alexnet(num_classes=10)
    theirs.load_state_dict(state)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = load_alexnet(half_file)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours(images), theirs.eval()(images).detach(), rtol=1e-5, atol=1e-6)


def test_a_loaded_network_is_ready_to_be_asked(state: State, half_file: Path) -> None:
    model = load_alexnet(half_file)
    assert not any(module.training for module in model.modules())
    for name, parameter in model.named_parameters():
        assert parameter.dtype is torch.float32
        assert not parameter.requires_grad
        assert torch.equal(parameter, state[name])


@pytest.mark.parametrize(
    "written",
    [
        wrapped_in_sequential,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"model": {f"module.{name}": value for name, value in wrapped_in_sequential(state).items()}},
        lambda state: dict(reversed(state.items())),
    ],
    ids=["sequential", "wrapped", "data-parallel", "all-of-it", "reversed"],
)
def test_other_ways_to_write_the_same_weights(tmp_path: Path, written: Callable[[State], Any]) -> None:
    names = {name: torch.full((1,), float(number)).expand(SHAPES[name]) for number, name in enumerate(SHAPES)}
    torch.save(written(names), tmp_path / "weights.pth")
    loaded = load_alexnet(tmp_path / "weights.pth").state_dict()
    assert {name: value.unique().tolist() for name, value in loaded.items()} == {
        name: [number] for number, name in enumerate(SHAPES)
    }


def test_the_number_of_classes(tmp_path: Path) -> None:
    shapes = {name: value.shape for name, value in blank_alexnet(3).state_dict().items()}
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, tmp_path / "three.pth")
    assert load_alexnet(tmp_path / "three.pth", num_classes=3).classifier[6].out_features == 3
    with pytest.raises(ToolError, match=r"\(3, 4096\) instead of \(10, 4096\): it knows 3 classes, not 10"):
        load_alexnet(tmp_path / "three.pth")


def changed(name: str, value: Any) -> State:
    return {**small_state(), name: value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ({"epoch": 3}, "'epoch' is not a floating-point tensor"),
        ({0: torch.zeros(3)}, "0 is not a floating-point tensor"),
        (changed("features.0.bias", torch.zeros(64, dtype=torch.int64)), "'features.0.bias' is not a floating-point"),
        ({"fc.weight": torch.zeros(3)}, r"lacks features\.0\.weight and 15 more"),
        (changed("extra.weight", torch.zeros(3)), r"also has extra\.weight\."),
        (changed("features.3.weight", torch.zeros(192, 64, 3, 3)), r"\(192, 64, 3, 3\) instead of \(192, 64, 5, 5\)"),
        (changed("features.8.bias", torch.full((256,), torch.nan)), r"features\.8\.bias has NaN or infinite"),
        (changed("features.8.bias", torch.full((256,), 1e300, dtype=torch.float64)), r"features\.8\.bias has NaN or"),
    ],
)
def test_content_that_is_no_alexnet(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ToolError, match=message) as caught:
        load_alexnet(tmp_path / "weights.pth")
    assert str(tmp_path / "weights.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="does not exist"):
        load_alexnet(tmp_path / "none.pth")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ToolError, match="is empty"):
        load_alexnet(tmp_path / "empty.pth")


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.999])
def test_a_truncated_file(tmp_path: Path, half_file: Path, kept: float) -> None:
    content = half_file.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ToolError, match="damaged or truncated"):
        load_alexnet(tmp_path / "cut.pth")


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-here"),))


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_no_code_of_a_file_is_run(workplace: Path, write: Callable[..., None]) -> None:
    with Path("evil.pth").open("wb") as stream:
        write(_Evil(), stream)
    with pytest.raises(ToolError, match="not a plain tensor file"):
        load_alexnet(Path("evil.pth"))
    assert not Path("was-here").exists()


def test_the_hash_names_the_function_not_the_file(state: State, half_file: Path) -> None:
    model = load_alexnet(half_file)
    expected = weights_hash(state)
    assert weights_hash(model) == expected
    assert weights_hash({name: value.half() for name, value in state.items()}) == expected
    assert weights_hash(dict(reversed(state.items()))) == expected
    assert weights_hash(model.to(memory_format=torch.channels_last)) == expected


def test_the_hash_sees_every_change() -> None:
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    variants = [
        weights,
        {"a": torch.zeros(3, 2), "b": torch.ones(4)},
        {"b": torch.zeros(2, 3), "a": torch.ones(4)},
        {"a": torch.zeros(2, 3), "b": torch.nextafter(torch.ones(4), torch.tensor(2.0))},
        {"a": torch.zeros(2, 3)},
    ]
    assert len({weights_hash(variant) for variant in variants}) == len(variants)


def test_dropout_is_torchvisions() -> None:
    rates = [module.p for module in AlexNet().modules() if isinstance(module, torch.nn.Dropout)]
    assert rates == [
        module.p for module in torchvision.models.alexnet().modules() if isinstance(module, torch.nn.Dropout)
    ]
