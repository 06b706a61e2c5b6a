"""ONNX files of a few nodes, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed: uv sync --extra onnx")
onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed: uv sync --extra onnx")
OPSET = 17
Array = NDArray[Any]


def node(op: str, given: Sequence[str], output: str, name: str = "", **attributes: Any) -> Any:
    return onnx.helper.make_node(op, list(given), [output], name=name, **attributes)


def model(
    nodes: Sequence[Any],
    constants: Mapping[str, Array],
    shape: Sequence[int | str],
    output: str = "y",
    *,
    opset: int = OPSET,
    kind: int = 1,
    infer: bool = True,
) -> Any:
    """A model with the input ``x``; kind 1 is float32, 11 float64. The output's shape is inferred, or some."""
    given = onnx.helper.make_tensor_value_info("x", kind, list(shape))
    made = onnx.helper.make_tensor_value_info(output, kind, None)
    protos = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(list(nodes), "g", [given], [made], protos)
    found = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    if infer:
        found.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(found).graph.output[0])
    else:
        found.graph.output[0].type.tensor_type.shape.dim.add()
    return found


def saved(path: Path, *args: Any, **kwargs: Any) -> Path:
    onnx.save(model(*args, **kwargs), path)
    return path


def by_onnxruntime(path: Path, images: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": images.numpy()})
    return torch.from_numpy(found)


def numbers(rng: np.random.Generator, *shape: int, positive: bool = False) -> Array:
    values = rng.uniform(0.5, 2.0, shape) if positive else rng.normal(size=shape)
    return values.astype(np.float32)
