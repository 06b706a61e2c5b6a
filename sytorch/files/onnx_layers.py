"""What each operation of ONNX is in torch: layers, and which constants of the file their tensors are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sytorch.files.onnx_graph import Step
from sytorch.files.onnx_pools import adaptive_pool
from sytorch.files.onnx_windows import average_pool, max_pool, padded_sides
from sytorch.files.stored import Array, Stored
from sytorch.network.chain import Permute

Sizes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer, and what of the file its tensors are, by their names.

    Attributes:
        module: in evaluation mode.
        stored: ``weight``, ``bias``, ``running_mean``, ``running_var``.
    """

    module: nn.Module
    stored: dict[str, Stored]


def layers_of(step: Step) -> list[Layer]:
    """The layers that one step is; none where it does nothing.

    Args:
        step: of the row, but for ``Add`` and a softmax at the end.

    Raises:
        FileError: there are no such layers.
    """
    if step.parts:
        return _pool(step)
    if step.op not in LAYERS:
        known = ", ".join(sorted([*LAYERS, "Add", "Softmax"]))
        raise step.refuse(f"is none of the operations that are known here: {known}")
    try:
        return LAYERS[step.op](step)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise step.refuse("has attributes or constants that do not fit each other") from error


def with_bias(step: Step, layer: Layer) -> Layer:
    """A layer and the constant that an ``Add`` behind it adds: its bias."""
    module = layer.module
    if not isinstance(module, nn.Linear | nn.Conv2d) or module.bias is not None:
        raise step.refuse("adds to what is no product with weights, or has its constant already")
    weight, added = layer.stored["weight"], step.needed(1 - step.data)
    inner = (1, 1) if isinstance(module, nn.Conv2d) else ()
    return _affine(step, type(module), weight, _bias(step, added, len(weight.value), inner), _options(module))


def _options(module: nn.Module) -> dict[str, object]:
    names = ("stride", "padding", "dilation", "groups") if isinstance(module, nn.Conv2d) else ()
    return {name: getattr(module, name) for name in names}


def _bias(step: Step, stored: Stored, units: int, inner: Sizes = ()) -> Stored:
    """A constant that is added to units, of the shape ``(units, *inner)`` with ones before: as many numbers, or one."""
    shape = stored.value.shape
    padded = (1,) * (1 + len(inner) - len(shape)) + shape
    is_larger = len(shape) > 2 + len(inner) or set(padded[: -1 - len(inner)]) - {1}
    if is_larger or padded[-1 - len(inner) :] not in ((units, *inner), (1, *inner)):
        raise step.refuse(f"adds a constant of the shape {shape}, which is no number for each of {units} units")
    return replace(stored, shape=(units,))


def _affine(
    step: Step, kind: type[nn.Linear] | type[nn.Conv2d], weight: Stored, bias: Stored | None, options: dict[str, object]
) -> Layer:
    """A linear layer or a convolution of stored weights, (m, n) or (m, n, height, width)."""
    values = _tensor(step, weight)
    units, inputs, *kernel = values.shape
    if not values.numel():
        raise step.refuse("has no weights")
    groups = options.get("groups", 1)
    assert isinstance(groups, int)
    with torch.device("meta"):
        shape = {"kernel_size": tuple(kernel)} if kernel else {}
        module = kind(inputs * groups, units, bias=bias is not None, **shape, **options)  # type: ignore[arg-type]
    stored = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return _filled(step, module, stored)


def _filled(step: Step, module: nn.Module, stored: dict[str, Stored]) -> Layer:
    state = {name: _tensor(step, constant) for name, constant in stored.items()}
    module.load_state_dict(state, assign=True, strict=False)
    return Layer(module, stored)


def _tensor(step: Step, stored: Stored) -> torch.Tensor:
    value: Array = stored.value
    if value.dtype not in (np.float32, np.float64):
        raise step.refuse(f"has the constant {stored.name!r} of the type {value.dtype}, not float32 or float64")
    if not np.isfinite(value).all():
        raise step.refuse(f"has NaN or infinity in the constant {stored.name!r}")
    return torch.from_numpy(np.array(value))


def _gemm(step: Step) -> list[Layer]:
    attributes, weight, added = step.attributes, step.needed(1), step.constant(2)
    if attributes.get("transA", 0) or step.data != 0 or len(step.sizes) != 2:
        raise step.refuse("is no product of vectors, (N, n), with a matrix from the right, or transposes them (transA)")
    if not attributes.get("transB", 0):
        weight = weight.transposed((1, 0))
    weight = replace(weight, scale=attributes.get("alpha", 1.0))
    bias = None
    if added is not None:
        bias = replace(_bias(step, added, len(weight.value)), scale=attributes.get("beta", 1.0))
    if 0.0 in (weight.scale, 1.0 if bias is None else bias.scale):
        raise step.refuse("multiplies its constants by zero (alpha, beta)")
    return [_affine(step, nn.Linear, weight, bias, {})]


def _matmul(step: Step) -> list[Layer]:
    if step.data != 0 or len(step.sizes) != 2 or step.needed(1).value.ndim != 2:
        raise step.refuse("is no product of vectors, (N, n), with a matrix from the right")
    return [_affine(step, nn.Linear, step.needed(1).transposed((1, 0)), None, {})]


def _conv(step: Step) -> list[Layer]:
    weight, added, attributes = step.needed(1), step.constant(2), step.attributes
    if step.data != 0 or weight.value.ndim != 4:
        raise step.refuse("is no two-dimensional convolution with constant weights")
    window, sides = padded_sides(step, weight.value.shape[2:])
    bias = None if added is None else _bias(step, added, len(weight.value))
    options: dict[str, object] = {"stride": window.stride, "dilation": window.dilation}
    options |= {"padding": window.padding, "groups": attributes.get("group", 1)}
    layer = _affine(step, nn.Conv2d, weight, bias, options)
    return [layer] if sides is None else [Layer(nn.ZeroPad2d(sides), {}), layer]


def _normalisation(step: Step) -> list[Layer]:
    kinds = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    per_unit = step.attributes.get("spatial", 1) == 1 or len(step.sizes) == 2
    if step.attributes.get("training_mode", 0) or not per_unit or len(step.sizes) not in kinds:
        raise step.refuse("does not normalise units, or channels of pictures, by statistics that are known")
    names = ("weight", "bias", "running_mean", "running_var")
    stored = {name: step.needed(place) for place, name in enumerate(names, 1)}
    with torch.device("meta"):
        module = kinds[len(step.sizes)](len(stored["weight"].value), eps=step.attributes.get("epsilon", 1e-5))
    module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
    return [_filled(step, module, stored)]


def _flatten(step: Step) -> list[Layer]:
    axis = step.attributes.get("axis", 1)
    axis += len(step.sizes) if axis < 0 else 0
    if axis < 1 or any(size != 1 for size in step.sizes[1:axis]):
        raise step.refuse("does not flatten every image to a vector")
    return [] if len(step.sizes) == 2 else [Layer(nn.Flatten(), {})]


def _reshape(step: Step) -> list[Layer]:
    asked = [int(size) for size in step.needed(1).value.reshape(-1)]
    if step.attributes.get("allowzero", 0) and 0 in asked:
        raise step.refuse("makes a shape without numbers")
    asked = [
        step.sizes[place] or 0 if size == 0 and 0 < place < len(step.sizes) else size
        for place, size in enumerate(asked)
    ]
    count = math.prod(size or 1 for size in step.sizes[1:])
    first, *rest = asked or [1]
    others = math.prod(size for size in rest if size != -1)
    if -1 in rest and others > 0:
        rest = [count // others if size == -1 else size for size in rest]
    keeps_batch = first in (0, -1, step.sizes[0]) and not (first == -1 and -1 in asked[1:])
    if not keeps_batch or not rest or math.prod(rest) != count or min(rest) < 1:
        raise step.refuse(f"to {asked} does not keep every image of the batch, {list(step.sizes)}, for itself")
    if tuple(rest) == step.sizes[1:]:
        return []
    flat = [] if len(step.sizes) == 2 else [Layer(nn.Flatten(), {})]
    return flat if len(rest) == 1 else [*flat, Layer(nn.Unflatten(1, tuple(rest)), {})]


def _transpose(step: Step) -> list[Layer]:
    axes = tuple(step.attributes.get("perm", range(len(step.sizes))[::-1]))
    if axes[:1] != (0,):
        raise step.refuse("moves the batch, which stays first here")
    return [] if axes == tuple(range(len(step.sizes))) else [Layer(Permute(axes), {})]


def _pool(step: Step) -> list[Layer]:
    return [Layer(module, {}) for module in adaptive_pool(step)]


def _global_pool(step: Step) -> list[Layer]:
    if len(step.sizes) != 4:
        raise step.refuse("is of no maps, (N, C, height, width)")
    return [Layer(nn.AdaptiveAvgPool2d(1), {})]


def _idle(step: Step) -> list[Layer]:
    trains = step.constant(2)
    if step.op == "Dropout" and trains is not None and trains.value.any():
        raise step.refuse("is in training mode")
    return []


LAYERS: dict[str, Callable[[Step], list[Layer]]] = {
    "AveragePool": lambda step: [Layer(module, {}) for module in average_pool(step)],
    "BatchNormalization": _normalisation,
    "Conv": _conv,
    "Dropout": _idle,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "Identity": _idle,
    "MatMul": _matmul,
    "MaxPool": lambda step: [Layer(max_pool(step), {})],
    "ReduceMean": _pool,
    "Relu": lambda _: [Layer(nn.ReLU(), {})],
    "Reshape": _reshape,
    "Transpose": _transpose,
}
