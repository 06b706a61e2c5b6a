"""Weights as others save them, safetensors and TorchScript among them, and what damage does to them."""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.errors import ToolError
from model_classes.alexnet import blank_alexnet, load_alexnet
from model_classes.changes import changes_content
from model_classes.weight_files import save_weights
from model_classes.weights import read_weights, weights_hash

State = dict[str, Tensor]
NAMES = list(blank_alexnet().state_dict())
SMALL: State = {
    "features.0.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4),
    "classifier.6.bias": torch.tensor([0.5, -2.0]),
}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def parallel_features(state: State, wrapper: str = "module") -> State:
    return {name.replace("features.", f"features.{wrapper}."): value for name, value in state.items()}


OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    "written",
    [
        lambda state: prefixed("_orig_mod.", state),
        lambda state: prefixed("module._orig_mod.", state),
        lambda state: prefixed("_orig_mod.module.", state),
        lambda state: {"state_dict": prefixed("model.", state), "optimizer_states": [OPTIMIZER], "epoch": 3},
        lambda state: {"state_dict": prefixed("net.", state), "hyper_parameters": {"lr": 0.1}},
        lambda state: prefixed("my_backbone.", state),
        parallel_features,
        lambda state: parallel_features(state, "_orig_mod"),
        lambda state: {
            "epoch": 90,
            "arch": "alexnet",
            "state_dict": parallel_features(state),
            "best_acc1": torch.tensor(56.5),
            "optimizer": OPTIMIZER,
        },
        lambda state: {"net": state, "acc": 93.1, "epoch": 3},
        lambda state: {"weights": state},
        lambda state: {"model": {}, "network": state},
        lambda state: {"net": {"state_dict": prefixed("module.", state)}, "optimizer": OPTIMIZER},
        lambda state: {"alexnet": state, "optimizer": OPTIMIZER},
        lambda state: {"model": state, "optimizer": OPTIMIZER, "args": argparse.Namespace(lr=0.1, output=Path("x"))},
        lambda state: {"model": state, "accuracy": np.float64(0.5), "epoch": np.int64(3)},
        lambda state: {name: nn.Parameter(value) for name, value in state.items()},
    ],
)
def test_checkpoints_of_every_usual_shape(tmp_path: Path, written: Callable[[State], Any]) -> None:
    names = {name: torch.tensor([float(number)]) for number, name in enumerate(NAMES)}
    torch.save(written(names), tmp_path / "weights.pth")
    assert {name: value.item() for name, value in read_weights(tmp_path / "weights.pth").items()} == {
        name: number for number, name in enumerate(NAMES)
    }


def endless() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["net"] = content
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"generator": SMALL, "critic": SMALL}, "holds several networks, critic and generator"),
        ({"a.weight": torch.zeros(3), "module.a.weight": torch.zeros(3)}, "several tensors of one name"),
        ({"optimizer": OPTIMIZER}, "'optimizer' is not a floating-point tensor"),
        (endless(), "'net' is not a floating-point tensor"),
        ({"a.b": torch.zeros(3).to_sparse()}, r"'a\.b' is not a floating-point tensor"),
        ({"a.b": torch.zeros(3, device="meta")}, r"'a\.b' is not a floating-point tensor"),
        ({"format": "alexnet-repair changes 1"}, "lacks some of them"),
        (changes_content({}, Path("w.pth"), "", Path("w.pth")), "lacks|does not exist|holds changes itself"),
    ],
)
def test_what_is_in_no_usual_shape_is_told(workplace: Path, content: Any, message: str) -> None:
    torch.save(content, "w.pth")
    with pytest.raises(ToolError, match=message):
        read_weights(Path("w.pth"))


def test_a_whole_module_is_refused_with_what_to_do(workplace: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), "whole.pth")
    with pytest.raises(ToolError, match=r"torch\.nn\.modules\.\S+, which only code can make.*state_dict\(\), 'weights"):
        read_weights(Path("whole.pth"))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights"])
def test_the_suffix_decides_how_and_the_content_what_is_read(tmp_path: Path, name: str) -> None:
    save_weights(SMALL, tmp_path / name)
    is_safe = (tmp_path / name).read_bytes()[8:9] == b"{"
    assert is_safe == name.endswith(".safetensors")
    if is_safe:
        theirs = safetensors.torch.load_file(tmp_path / name)
        assert all(torch.equal(theirs[key], value) for key, value in SMALL.items())
    (tmp_path / name).rename(tmp_path / "other.bin")
    loaded = read_weights(tmp_path / "other.bin")
    assert weights_hash(loaded) == weights_hash(SMALL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_safetensors_of_others(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {f"model.{name}": value.to(dtype) for name, value in SMALL.items()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors", {"format": "pt"})
    assert weights_hash(read_weights(tmp_path / "w.safetensors")) == weights_hash(SMALL)


def test_changes_in_safetensors(tmp_path: Path) -> None:
    save_weights(SMALL, tmp_path / "base.safetensors")
    change = {"classifier.6.bias": torch.tensor([1e-3, 0.0], dtype=torch.float64)}
    path = tmp_path / "changes.safetensors"
    save_weights(changes_content(change, tmp_path / "base.safetensors", weights_hash(SMALL), path), path)
    changed = read_weights(path)
    assert (
        changed["classifier.6.bias"].tolist()
        == (SMALL["classifier.6.bias"].double() + change.popitem()[1]).float().tolist()
    )


def scripted(model: nn.Module) -> Any:
    return torch.jit.script(model)


def traced(model: nn.Module) -> Any:
    return torch.jit.trace(model, torch.zeros(1, 3, 64, 64))  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [scripted, traced])
def test_torchscript(tmp_path: Path, make: Callable[[nn.Module], Any]) -> None:
    model = torchvision.models.alexnet(num_classes=10).eval()
    torch.jit.save(make(model), tmp_path / "script.pt")
    assert weights_hash(load_alexnet(tmp_path / "script.pt")) == weights_hash(model)


class Greedy(nn.Module):
    """Its file has code that runs when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(2)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0] + 1
        self.training = state[1]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_no_code_of_torchscript_is_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Greedy()), tmp_path / "greedy.pt")
    with pytest.raises(ToolError, match="damaged"):
        read_weights(tmp_path / "greedy.pt")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_frozen_torchscript_file_has_no_names(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(2, 2)).eval())), tmp_path / "frozen.pt")
    with pytest.raises(ToolError, match=r"frozen: its weights have no names"):
        read_weights(tmp_path / "frozen.pt")


def _bytes(save: Callable[[io.BytesIO], None]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(stream)
    return stream.getvalue()


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(*(nn.Identity() for _ in range(6)), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x)  # type: ignore[no-any-return]


MODULE = _Named()
FILES: dict[str, tuple[bytes, State | None]] = {
    "torch": (_bytes(lambda stream: torch.save(SMALL, stream)), SMALL),
    "legacy": (_bytes(lambda stream: torch.save(SMALL, stream, _use_new_zipfile_serialization=False)), None),
    "torchscript": (_bytes(lambda stream: torch.jit.save(torch.jit.script(MODULE), stream)), MODULE.state_dict()),
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([*FILES, "safetensors"]), data=st.data())
def test_damage_is_told_or_does_no_harm(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "w.bin"
    save_weights(SMALL, tmp_path / "w.safetensors")
    files = {**FILES, "safetensors": ((tmp_path / "w.safetensors").read_bytes(), SMALL)}
    content, expected = files[kind]
    path.write_bytes(damaged(content, data, flips=1 if kind == "safetensors" else 3))  # two can hide its checksum
    try:
        found = read_weights(path)
    except ToolError as error:
        assert "\n" not in str(error)
    else:
        assert expected is None or weights_hash(found) == weights_hash(expected)


def damaged(content: bytes, data: st.DataObject, flips: int) -> bytes:
    """Cut, or with a few bits turned."""
    if data.draw(st.booleans()):
        return content[: data.draw(st.integers(1, len(content) - 1))]
    changed = bytearray(content)
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=flips)):
        changed[position] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)
