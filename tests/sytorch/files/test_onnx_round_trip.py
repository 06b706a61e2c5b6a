"""A layer of an ONNX file is repaired and written back: only its numbers differ, and onnxruntime gives the margins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sytorch
from tests.sytorch.files.graphs import Array, by_onnxruntime, node, numbers, onnx, saved

MARGIN, BOUND = 0.2, 20.0


def chain(path: Path, *, alpha: float = 1.0) -> Path:
    """Every way of having weights: Conv, normalisation, Gemm with alpha, either order, MatMul and Add, a softmax."""
    rng = np.random.default_rng(0)
    constants = {
        "conv.weight": numbers(rng, 3, 1, 3, 3),
        "conv.bias": numbers(rng, 3),
        "scale": numbers(rng, 3, positive=True),
        "shift": numbers(rng, 3),
        "mean": numbers(rng, 3),
        "variance": numbers(rng, 3, positive=True),
        "first.weight": numbers(rng, 16, 27) / 3,
        "first.bias": numbers(rng, 16),
        "second": numbers(rng, 16, 12) / 2,
        "second.bias": numbers(rng, 1, 12, positive=True),
        "last": numbers(rng, 12, 4) / 2,
        "last.bias": numbers(rng, 4),
    }
    nodes = [
        node("Conv", ["x", "conv.weight", "conv.bias"], "a", "convolve", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], "b", "normalise"),
        node("Relu", ["b"], "c"),
        node("Transpose", ["c"], "d", perm=[0, 2, 3, 1]),
        node("Flatten", ["d"], "e"),
        node("Gemm", ["e", "first.weight", "first.bias"], "f", "first", transB=1, alpha=alpha, beta=0.5),
        node("Relu", ["f"], "g"),
        node("MatMul", ["g", "second"], "h", "second"),
        node("Add", ["second.bias", "h"], "i"),
        node("Relu", ["i"], "j"),
        node("Gemm", ["j", "last", "last.bias"], "k", "last"),
        node("Softmax", ["k"], "y"),
    ]
    saved(path, nodes, constants, ["batch", 1, 6, 6])
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"made by": "somebody else"})
    onnx.save(model, path)
    return path


def arrays(path: Path) -> dict[str, Array]:
    return {proto.name: onnx.numpy_helper.to_array(proto) for proto in onnx.load(path).graph.initializer}


def without(path: Path, names: set[str]) -> bytes:
    """All of a file but some constants."""
    model = onnx.load(path)
    for proto in model.graph.initializer:
        if proto.name in names:
            proto.ClearField("raw_data")
            proto.ClearField("float_data")
    return bytes(model.SerializeToString(deterministic=True))


def apply(network: torch.nn.Sequential, layer: str, change: torch.Tensor) -> None:
    module: Any = network.get_submodule(layer)
    module.weight += change[:, :-1].float().view_as(module.weight)
    module.bias += change[:, -1].float()


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, labels[:, None])[:, 0] - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


@pytest.mark.parametrize(
    ("layer", "differing"),
    [
        ("last", {"last", "last.bias"}),
        ("second", {"second", "second.bias"}),
        ("first", {"first.weight", "first.bias"}),
        ("conv", {"conv.weight", "conv.bias"}),
    ],
)
def test_a_repair_changes_its_layer_and_nothing_else(tmp_path: Path, layer: str, differing: set[str]) -> None:
    given, written = chain(tmp_path / "given.onnx", alpha=0.5), tmp_path / "repaired.onnx"
    before = given.read_bytes()
    network = sytorch.read_onnx(given)
    torch.manual_seed(2)
    ordinary, images = torch.randn(40, 1, 6, 6), torch.randn(2, 1, 6, 6)
    labels = network(images).topk(2).indices[:, 1]
    metric = sytorch.kronecker_metric(network, layer, lambda: [ordinary], 40)
    view = sytorch.linearise(network, layer, images)
    if layer in ("conv", "first"):
        wanted = sytorch.margin(view.affine_outputs, labels, MARGIN)
        answer = sytorch.relinearise(view, wanted, MARGIN, metric=metric, bound=BOUND)
    else:
        answer = sytorch.fixed_pattern_program(view, labels, MARGIN, metric, bound=BOUND).answer()
    apply(network, layer, torch.from_numpy(answer.unwrap().change))
    sytorch.write_onnx(network, given, written)
    assert given.read_bytes() == before
    old, new = arrays(given), arrays(written)
    assert {name for name in old if not np.array_equal(old[name], new[name])} == differing
    assert without(written, differing) == without(given, differing)
    found = by_onnxruntime(written, images).log()  # the file ends with its softmax still
    assert margins(found, labels).min() > MARGIN - 1e-3
    again = sytorch.read_onnx(written).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_a_change_of_some_units_leaves_the_others_bytes(tmp_path: Path) -> None:
    given, written = chain(tmp_path / "given.onnx", alpha=0.3), tmp_path / "written.onnx"
    network: Any = sytorch.read_onnx(given)
    network.first.weight[2] += 0.25
    network.normalise.running_mean[1] -= 1.0
    sytorch.write_onnx(network, given, written)
    old, new = arrays(given), arrays(written)
    kept = [row for row in range(16) if row != 2]
    assert np.array_equal(old["first.weight"][kept], new["first.weight"][kept])
    np.testing.assert_allclose(0.3 * new["first.weight"][2], network.first.weight[2], rtol=1e-6)
    assert (old["mean"] != new["mean"]).tolist() == [False, True, False]
    images = torch.randn(5, 1, 6, 6)
    torch.testing.assert_close(by_onnxruntime(written, images), network(images).softmax(1))


def test_without_a_change_the_file_is_the_same(tmp_path: Path) -> None:
    given = chain(tmp_path / "given.onnx")
    sytorch.write_onnx(sytorch.read_onnx(given), given, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == given.read_bytes()


def test_the_given_file_may_be_replaced(tmp_path: Path) -> None:
    given = chain(tmp_path / "given.onnx")
    network: Any = sytorch.read_onnx(given)
    network.last.bias += 1.0
    sytorch.write_onnx(network, given, given)
    assert torch.equal(sytorch.read_onnx(given).state_dict()["last.bias"], network.last.bias)
    assert [path.name for path in tmp_path.iterdir()] == ["given.onnx"]


def _as_numbers(model: Any) -> None:
    """Numbers instead of bytes, as older exporters write them."""
    for proto in model.graph.initializer:
        values = onnx.numpy_helper.to_array(proto)
        proto.ClearField("raw_data")
        proto.float_data.extend(values.reshape(-1).tolist())


def _as_steps(model: Any) -> None:
    """Constants in steps of their own."""
    for proto in reversed(model.graph.initializer):
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [proto.name], value=proto))
    del model.graph.initializer[:]


@pytest.mark.parametrize("form", [_as_numbers, _as_steps])
def test_constants_stay_where_and_how_they_are(tmp_path: Path, form: Callable[[Any], None]) -> None:
    given, written = chain(tmp_path / "given.onnx"), tmp_path / "written.onnx"
    model = onnx.load(given)
    form(model)
    onnx.save(model, given)
    network: Any = sytorch.read_onnx(given)
    network.second.weight[3] += 1.0
    sytorch.write_onnx(network, given, written)
    assert len(onnx.load(written).graph.node) == len(model.graph.node)
    assert not any(proto.HasField("raw_data") for proto in onnx.load(written).graph.initializer)
    assert torch.equal(sytorch.read_onnx(written).state_dict()["second.weight"], network.second.weight)


def tied(path: Path) -> Path:
    constants = {"w": np.eye(3, dtype=np.float32), "one": np.ones((), dtype=np.float32)}
    nodes = [
        *(node("MatMul", ["x", "w"], "a", "first"), node("Add", ["a", "one"], "b"), node("Relu", ["b"], "c")),
        node("MatMul", ["c", "w"], "y", "second"),
    ]
    return saved(path, nodes, constants, ["n", 3])


def _change(name: str, amount: Any) -> Callable[[torch.nn.Sequential], None]:
    def change(network: torch.nn.Sequential) -> None:
        network.state_dict()[name] += amount

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change("first.weight", 1.0), "one constant, 'w', for 'first.weight' and another layer"),
        (_change("first.bias", torch.tensor([0.0, 1.0, 0.0])), "one number, 'one', for all 3"),
        (_change("second.weight", torch.nan), "'second.weight' holds NaN"),
        (lambda network: network.append(torch.nn.Linear(3, 3)), "only one of them has '3.bias'"),
        (lambda network: network.double() and None, "'first.weight' is (3, 3) in torch.float64"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    given = tied(tmp_path / "given.onnx")
    network = sytorch.read_onnx(given)
    change(network)
    with pytest.raises(sytorch.FileError) as failure:
        sytorch.write_onnx(network, given, tmp_path / "written.onnx")
    assert said in str(failure.value)
    assert not (tmp_path / "written.onnx").exists()


def test_one_number_for_all_units_may_become_another(tmp_path: Path) -> None:
    given, written = tied(tmp_path / "given.onnx"), tmp_path / "written.onnx"
    network: Any = sytorch.read_onnx(given)
    network.first.bias += 1.0
    sytorch.write_onnx(network, given, written)
    assert arrays(written)["one"] == 2.0


def test_constants_in_another_file_are_read_and_not_written(tmp_path: Path) -> None:
    given = chain(tmp_path / "given.onnx")
    expected = sytorch.read_onnx(given).state_dict()
    onnx.save(onnx.load(given), given, save_as_external_data=True, location="weights.bin", size_threshold=0)
    network = sytorch.read_onnx(given)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(sytorch.FileError, match="in another file"):
        sytorch.write_onnx(network, given, tmp_path / "written.onnx")


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    given = chain(tmp_path / "given.onnx")
    with pytest.raises(sytorch.FileError, match="cannot be written"):
        sytorch.write_onnx(sytorch.read_onnx(given), given, tmp_path / "none" / "written.onnx")
