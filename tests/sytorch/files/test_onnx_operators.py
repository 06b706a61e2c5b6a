"""Every operation that is read agrees with onnxruntime, on random shapes, windows, paddings and constants."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some
from torch import nn

import sytorch
from tests.sytorch.files.graphs import by_onnxruntime, node, numbers, onnx, saved

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = some.integers(0, 2**32 - 1)


def agrees(path: Path, images: torch.Tensor, tolerance: float = 1e-4) -> nn.Sequential:
    """Whether the chain gives what onnxruntime gives; returns the chain."""
    network = sytorch.read_onnx(path)
    assert sytorch.chain_of(network).names
    expected = by_onnxruntime(path, images)
    with torch.no_grad():
        found = network(images)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    return network


@some.composite
def windows(draw: some.DrawFn, dilated: bool = True) -> dict[str, Any]:
    """Attributes of a window that fits a map of 9 x 8."""
    kernel = [draw(some.integers(1, 3)), draw(some.integers(1, 3))]
    made: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(some.integers(1, 3)), draw(some.integers(1, 3))]}
    if dilated and draw(some.booleans()):
        made["dilations"] = [draw(some.integers(1, 2)), draw(some.integers(1, 2))]
    how = draw(some.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if how == "pads":
        made["pads"] = [draw(some.integers(0, 2)) for _ in range(4)]
    elif how != "none":
        made["auto_pad"] = how
    return made


@few
@given(
    window=windows(),
    fixed=some.booleans(),
    groups=some.sampled_from([1, 2]),
    bias=some.sampled_from(["none", "third", "added", "one"]),
    seed=seeds,
)
def test_convolutions(
    *, tmp_path: Path, window: dict[str, Any], fixed: bool, groups: int, bias: str, seed: int
) -> None:
    """With paddings that differ from side to side, by number or by rule, groups, and a bias of its own or added."""
    assume(not ("auto_pad" in window and "dilations" in window))  # onnxruntime refuses some of these
    rng = np.random.default_rng(seed)
    constants = {"w": numbers(rng, 4, 4 // groups, *window["kernel_shape"])}
    third = ["b"] if bias == "third" else []
    nodes = [node("Conv", ["x", "w", *third], "c" if bias in ("added", "one") else "y", group=groups, **window)]
    if bias in ("added", "one"):
        nodes.append(node("Add", ["b", "c"] if fixed else ["c", "b"], "y"))
    if bias != "none":
        shape = {"third": (4,), "added": (4, 1, 1) if fixed else (1, 4, 1, 1), "one": ()}[bias]
        constants["b"] = numbers(rng, *shape)
    path = saved(tmp_path / "c.onnx", nodes, constants, [2 if fixed else "batch", 4, 9, 8])
    agrees(path, torch.from_numpy(numbers(rng, 2, 4, 9, 8)))


@few
@given(windows(), some.sampled_from(["MaxPool", "AveragePool"]), some.booleans(), seeds)
def test_pools(tmp_path: Path, window: dict[str, Any], op: str, counts: bool, seed: int) -> None:
    """What is read agrees; what torch has no pool for is refused by the name of the step."""
    rng = np.random.default_rng(seed)
    if op == "AveragePool":
        window = {**window, "count_include_pad": int(counts)}
        window.pop("dilations", None)
    assume(not ("auto_pad" in window and "dilations" in window))
    pads, kernel = window.get("pads", [0] * 4), window["kernel_shape"]
    assume(window.get("auto_pad", "")[:4] != "SAME" or all(map(operator.le, window["strides"], kernel)))  # it crashes
    assume(all(pad < size for pad, size in zip(pads, kernel * 2, strict=True)))  # onnxruntime asks for it
    path = saved(tmp_path / "p.onnx", [node(op, ["x"], "y", "pool", **window)], {}, ["n", 3, 9, 8])
    try:
        network = sytorch.read_onnx(path)
    except sytorch.FileError as error:
        assert f"step 0 ({op} 'pool')" in str(error)
        assert "pads" in str(error) and ("pads" in window or window["auto_pad"].startswith("SAME"))
        return
    assert len(network) <= 2
    agrees(path, torch.from_numpy(numbers(rng, 2, 3, 9, 8)))


@few
@given(
    turned=some.booleans(),
    alpha=some.sampled_from([1.0, 0.5, -1.5]),
    beta=some.sampled_from([1.0, 0.3]),
    shape=some.sampled_from([None, (), (1,), (4,), (1, 4), (1, 1)]),
    seed=seeds,
)
def test_gemm(
    *, tmp_path: Path, turned: bool, alpha: float, beta: float, shape: tuple[int, ...] | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    constants = {"w": numbers(rng, 4, 5) if turned else numbers(rng, 5, 4)}
    if shape is not None:
        constants["b"] = numbers(rng, *shape)
    gemm = node("Gemm", ["x", *constants], "y", transB=int(turned), alpha=alpha, beta=beta)
    path = saved(tmp_path / "g.onnx", [gemm], constants, ["n", 5])
    (layer,) = agrees(path, torch.from_numpy(numbers(rng, 3, 5)))
    assert isinstance(layer, nn.Linear) and (layer.bias is None) == (shape is None)


@few
@given(some.booleans(), some.booleans(), some.sampled_from([None, (4,), (1, 4), ()]), seeds)
def test_matmul(tmp_path: Path, turned: bool, first: bool, shape: tuple[int, ...] | None, seed: int) -> None:
    """With its matrix transposed by a step of its own, or not, and a bias added from either side, or none."""
    rng = np.random.default_rng(seed)
    constants = {"w": numbers(rng, 4, 5) if turned else numbers(rng, 5, 4)}
    nodes = [node("Transpose", ["w"], "t", perm=[1, 0])] * turned
    nodes.append(node("MatMul", ["x", "t" if turned else "w"], "y" if shape is None else "p"))
    if shape is not None:
        constants["b"] = numbers(rng, *shape)
        nodes.append(node("Add", ["b", "p"] if first else ["p", "b"], "y"))
    agrees(saved(tmp_path / "m.onnx", nodes, constants, ["n", 5]), torch.from_numpy(numbers(rng, 3, 5)))


@few
@given(some.sampled_from(["first", "behind a product", "behind a map", "last"]), some.floats(1e-6, 1e-1), seeds)
def test_batch_normalisation_in_every_place(tmp_path: Path, place: str, epsilon: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = {"first": 3, "behind a product": 4, "behind a map": 2, "last": 2}[place]
    names = ["s", "b", "m", "v"]
    constants = {name: numbers(rng, units, positive=name == "v") for name in names}

    def normalised(given: str, output: str) -> Any:
        return node("BatchNormalization", [given, *names], output, epsilon=epsilon)

    if place == "behind a product":
        constants["w"] = numbers(rng, 3, 4)
        nodes, shape = [node("MatMul", ["x", "w"], "p"), normalised("p", "n"), node("Relu", ["n"], "y")], [3]
    else:
        constants["w"] = numbers(rng, 2, 3, 2, 2)
        shape = [3, 5, 4]
        nodes = {
            "first": [normalised("x", "n"), node("Conv", ["n", "w"], "y")],
            "behind a map": [node("Conv", ["x", "w"], "c"), normalised("c", "n"), node("Relu", ["n"], "y")],
            "last": [node("Conv", ["x", "w"], "c"), node("Relu", ["c"], "r"), normalised("r", "y")],
        }[place]
    agrees(saved(tmp_path / "b.onnx", nodes, constants, ["n", *shape]), torch.from_numpy(numbers(rng, 3, *shape)))


@few
@given(some.permutations([1, 2, 3]), some.booleans(), some.sampled_from(["flatten", "reshape", "zeros", "rows"]), seeds)
def test_axes_and_shapes(tmp_path: Path, order: list[int], fixed: bool, how: str, seed: int) -> None:
    """Transposed with the batch in its place, then flattened or reshaped in any of the ways of saying so."""
    rng = np.random.default_rng(seed)
    shape, axes = (2, 3, 4), [0, *order]
    moved = [shape[axis - 1] for axis in order]
    targets = {
        "reshape": [1 if fixed else -1, 24],
        "zeros": [0, -1],
        "rows": [0, 0, math.prod(moved[1:])],
    }
    constants = {"w": numbers(rng, 24, 3)}
    nodes = [node("Transpose", ["x"], "t", perm=axes)]
    if how == "flatten":
        nodes.append(node("Flatten", ["t"], "f", axis=1))
    else:
        constants["shape"] = np.array(targets[how], dtype=np.int64)
        nodes.append(node("Reshape", ["t", "shape"], "f" if how != "rows" else "r"))
        if how == "rows":
            nodes.append(node("Flatten", ["r"], "f", axis=-2))
    nodes.append(node("MatMul", ["f", "w"], "y"))
    path = saved(tmp_path / "t.onnx", nodes, constants, [1 if fixed else "n", *shape])
    network = agrees(path, torch.from_numpy(numbers(rng, 1 if fixed else 3, *shape)))
    with torch.no_grad():  # the batch may have any size, also where the file has one
        assert network(torch.zeros(5, *shape)).shape == (5, 3)


def test_vectors_become_pictures(tmp_path: Path) -> None:
    """With the shape in a step of its own."""
    rng = np.random.default_rng(0)
    shape = onnx.helper.make_node("Constant", [], ["shape"], value_ints=[-1, 1, 6, 6])
    nodes = [
        shape,
        node("Reshape", ["x", "shape"], "r"),
        node("Conv", ["r", "w"], "c"),
        node("GlobalAveragePool", ["c"], "y"),
    ]
    path = saved(tmp_path / "v.onnx", nodes, {"w": numbers(rng, 2, 1, 3, 3)}, ["n", 36])
    assert [type(layer) for layer in agrees(path, torch.from_numpy(numbers(rng, 2, 36)))] == [
        nn.Unflatten,
        nn.Conv2d,
        nn.AdaptiveAvgPool2d,
    ]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_softmax_at_the_end_is_left_off(tmp_path: Path, op: str) -> None:
    rng, steps = np.random.default_rng(0), [node("Identity", ["x"], "i"), node("Dropout", ["i"], "d")]
    nodes = [*steps, node("MatMul", ["d", "w"], "l"), node(op, ["l"], "y", axis=-1)]
    path = saved(tmp_path / "s.onnx", nodes, {"w": numbers(rng, 4, 3)}, ["n", 4])
    network = sytorch.read_onnx(path)
    assert [type(layer) for layer in network] == [nn.Linear]
    images = torch.from_numpy(numbers(rng, 6, 4))
    with torch.no_grad():
        found = getattr(torch, "softmax" if op == "Softmax" else "log_softmax")(network(images), dim=1)
    torch.testing.assert_close(found, by_onnxruntime(path, images))


def test_float64_stays_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    nodes = [node("Gemm", ["x", "w", "b"], "g"), node("Relu", ["g"], "y")]
    path = saved(tmp_path / "d.onnx", nodes, constants, ["n", 4], kind=onnx.TensorProto.DOUBLE)
    network = agrees(path, torch.from_numpy(rng.normal(size=(3, 4))), tolerance=1e-12)
    assert network[0].weight.dtype == torch.float64


def test_layers_are_named_by_their_weights_or_their_nodes(tmp_path: Path) -> None:
    constants = {name: np.eye(3, dtype=np.float32) for name in ("features.0.weight", "onnx::MatMul_7", "W3", "append")}
    nodes = [
        node("MatMul", ["x", "features.0.weight"], "a", "/first/MatMul"),
        node("Relu", ["a"], "b", "/first/Relu"),
        node("MatMul", ["b", "onnx::MatMul_7"], "c", "/second/MatMul"),
        node("MatMul", ["c", "W3"], "d"),
        node("MatMul", ["d", "append"], "e"),
        node("Relu", ["e"], "y"),
    ]
    network = sytorch.read_onnx(saved(tmp_path / "n.onnx", nodes, constants, ["n", 3]))
    names = ["features_0", "first_Relu", "second_MatMul", "W3", "append_2", "relu_5"]
    assert [name for name, _ in network.named_children()] == names


def test_a_file_of_torchs_exporter_is_read(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed: uv sync --extra onnx")
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    ).eval()
    images, path = torch.randn(2, 2, 6, 6), tmp_path / "e.onnx"
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        network, (images,), path, input_names=["x"], dynamic_shapes=batch, dynamo=True, external_data=False
    )
    found = agrees(path, torch.randn(5, 2, 6, 6))
    assert "4" in dict(found.named_children()) or "node_conv2d" in str(found)
