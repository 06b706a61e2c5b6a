"""Adaptive average pools, which exporters write as other operations, are read as what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sytorch
from edits.export.formats import FORMATS, INPUT
from tests.sytorch.files.graphs import by_onnxruntime, node, onnx, saved

pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed: uv sync --extra onnx")


def narrow_alexnet(pool: int | tuple[int | None, int | None]) -> nn.Sequential:
    """AlexNet's windows with few channels; inputs from 63 on, as for it."""
    torch.manual_seed(0)
    features = [
        *(nn.Conv2d(3, 4, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(4, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()),
        nn.MaxPool2d(3, 2),
    ]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.LazyLinear(5)).eval()


def exported(network: nn.Module, images: torch.Tensor, path: Path) -> Path:
    """As ``export.py`` writes it, with the input's name that these tests use."""
    with torch.no_grad():
        network(images)  # which says how many inputs the last layer has
    FORMATS["onnx"].write(network, images[:2], {}, path)
    model = onnx.load(path)
    for step in model.graph.node:
        step.input[:] = ["x" if name == INPUT else name for name in step.input]
    model.graph.input[0].name = "x"
    onnx.save(model, path)
    return path


def check_read(path: Path, network: nn.Module, images: torch.Tensor) -> nn.Sequential:
    """The chain, which gives what onnxruntime and the module give."""
    found = sytorch.read_onnx(path)
    with torch.no_grad():
        outputs, expected = found(images), network(images)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs, by_onnxruntime(path, images), rtol=1e-4, atol=1e-5)
    return found


SLOW_SIZES = (pytest.param(size, marks=pytest.mark.slow) for size in (100, 200))


@pytest.mark.parametrize("size", [64, 160, 224, 448, *SLOW_SIZES])  # maps of 1, 4, 6, 13, 2, 5 pixels, pooled to 6
def test_our_own_export_is_read_for_every_input_size(tmp_path: Path, size: int) -> None:
    network, images = narrow_alexnet(6), torch.randn(3, 3, size, size)
    found = check_read(exported(network, images, tmp_path / "n.onnx"), network, images)
    assert sum(isinstance(layer, nn.AdaptiveAvgPool2d | nn.AvgPool2d) for layer in found) == 1


@pytest.mark.parametrize("pool", [1, (1, 3), (5, 3), (None, 4), (7, 2), 32])
def test_any_pool_of_a_map_is_read(tmp_path: Path, pool: Any) -> None:
    """From 32 pixels: a map of five by five, pooled to more and to less, and one side alone."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=6), nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.LazyLinear(3))
    images = torch.randn(3, 3, 32, 32)
    check_read(exported(network.eval(), images, tmp_path / "n.onnx"), network, images)


def test_a_mean_over_maps_is_a_pool_and_a_vector(tmp_path: Path) -> None:
    axes = {"axes": np.array([2, 3])}
    means = node("ReduceMean", ["x", "axes"], "y", keepdims=0)
    found = sytorch.read_onnx(saved(tmp_path / "m.onnx", [means], axes, ["n", 4, 5, 3], opset=18))
    assert [type(layer) for layer in found] == [nn.AdaptiveAvgPool2d, nn.Flatten]
    images = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(found(images), images.mean(dim=(2, 3)))


def test_a_repair_behind_such_a_pool_is_written_and_read_again(tmp_path: Path) -> None:
    network, images = narrow_alexnet(6), torch.randn(3, 3, 64, 64)
    given, written = exported(network, images, tmp_path / "n.onnx"), tmp_path / "repaired.onnx"
    labels = network(images).topk(2).indices[:, 1]
    repaired = sytorch.repair(sytorch.read_onnx(given), images, labels, ordinary=torch.randn(20, 3, 64, 64))
    sytorch.write_onnx(repaired.model, given, written)
    assert (by_onnxruntime(written, images).argmax(dim=1) == labels).all()
    check_read(written, repaired.model, images)


def gathered(windows: list[list[int]], axes: list[int]) -> tuple[list[Any], dict[str, Any]]:
    """Four steps as torch's exporter writes a pool, of these rows and columns, and a mean over these axes."""
    rows = np.array(windows)[:, :, None, None]
    places = np.stack(np.broadcast_arrays(rows, np.array(windows)), axis=-1)
    nodes = [
        node("Transpose", ["x"], "t", perm=[2, 3, 0, 1]),
        node("GatherND", ["t", "places"], "g"),
        node("Transpose", ["g"], "w", perm=[4, 5, 0, 1, 2, 3]),
        node("ReduceMean", ["w", "axes"], "y", "mean", keepdims=0),
    ]
    return nodes, {"places": places, "axes": np.array(axes)}


@pytest.mark.parametrize(
    ("windows", "axes", "said"),
    [
        ([[0, 1], [0, 1]], [-3, -1], "step 0 (Transpose) to step 3 (ReduceMean 'mean') is no average pool of pictures"),
        ([[0, 1], [2, 3]], [-4, -1], "is no average pool of pictures"),
        ([[0, 1], [2, 3]], [0, -1], "is no average pool of pictures"),
    ],
)
def test_what_only_looks_like_a_pool_is_refused(tmp_path: Path, windows: Any, axes: list[int], said: str) -> None:
    path = saved(tmp_path / "n.onnx", *gathered(windows, axes), ["n", 2, 4, 4], opset=18)
    with pytest.raises(sytorch.FileError) as failure:
        sytorch.read_onnx(path)
    assert said in str(failure.value)
    sytorch.read_onnx(saved(path, *gathered([[0, 1], [2, 3]], [-3, -1]), ["n", 2, 4, 4], opset=18))


def test_a_pool_whose_parts_go_elsewhere_is_refused(tmp_path: Path) -> None:
    nodes, constants = gathered([[0, 1], [2, 3]], [-3, -1])
    again = node("ReduceMean", ["w", "other"], "z", keepdims=0)
    nodes[-1].output[0] = "m"
    path = saved(
        tmp_path / "n.onnx",
        [*nodes, again, node("Add", ["m", "z"], "y")],
        constants | {"other": np.array([-4, -2])},
        *(["n", 2, 4, 4],),
        opset=18,
    )
    with pytest.raises(sytorch.FileError, match=r"step 4 \(ReduceMean\) does not get just"):
        sytorch.read_onnx(path)
