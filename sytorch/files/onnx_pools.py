"""Average pools that an ONNX file writes as other operations: known by what these compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sytorch.files.onnx_graph import Step, import_onnx
from sytorch.files.stored import Array

ROUNDING = 1e-5  # of what a pool gives of numbers of size 1
IMAGES = 2  # on which both are run


def adaptive_pool(step: Step) -> list[nn.Module]:
    """The adaptive average pool that a step with parts is, or a mean over both sides of every map.

    torch's exporter writes ``AdaptiveAvgPool2d`` as a gathering of all windows and their means, where windows are of
    several sizes as sums and a division. Parts are linear in the image, as pools are; two linear maps that agree on
    normally distributed numbers are the same one, with probability 1.

    Raises:
        FileError: it is none.
    """
    sizes = (IMAGES, *(size or 1 for size in step.sizes[1:]))
    parts = step.parts or (step,)
    kinds = {stored.value.dtype for part in parts for stored in part.constants if stored is not None}
    kind = np.float64 if np.dtype(np.float64) in kinds else np.float32
    values = np.random.default_rng(0).normal(size=sizes).astype(kind)
    found = _computed(parts, values)
    if len(sizes) == 4 and found.shape[:2] == sizes[:2] and found.ndim in (2, 4):
        flat = [nn.Flatten()] if found.ndim == 2 else []
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(found.shape[2:] or 1), *flat]
        expected = nn.Sequential(*layers)(torch.from_numpy(values)).numpy()
        if np.allclose(found, expected, rtol=ROUNDING, atol=ROUNDING):
            return layers
    raise step.refuse("is no average pool of pictures")


def _computed(parts: Sequence[Step], values: Array) -> Array:
    """What steps make of numbers, by the package's own reference."""
    onnx = import_onnx()
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415  an optional extra

    first, last, helper = parts[0], parts[-1], onnx.helper
    constants = {
        name: onnx.numpy_helper.from_array(np.array(stored.value), name)
        for part in parts
        for name, stored in zip(part.node.input, part.constants, strict=True)
        if stored is not None
    }
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    given, made = first.node.input[first.data], last.node.output[0]
    ends = [helper.make_tensor_value_info(name, kind, None) for name in (given, made)]
    graph = helper.make_graph(
        [part.node for part in parts], "pool", ends[:1], ends[1:], initializer=list(constants.values())
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", first.opset)])
    (found,) = ReferenceEvaluator(model).run(None, {given: values})
    return np.asarray(found)
