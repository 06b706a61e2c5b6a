"""State dicts: read from files of several shapes, checked, named by a hash.

Older repaired files were written from ``Sequential(features, avgpool, flatten, classifier)``: there ``0.3.weight`` is
``features.3.weight`` and ``3.6.weight`` is ``classifier.6.weight``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ToolError
from helpers.files import load_tensors
from model_classes.changes import apply_to, base_of, is_changes

WRAPPERS = ("state_dict", "model_state_dict", "model")
OUTPUT_WEIGHT = "classifier.6.weight"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, in float32 and under torchvision's names; or of a file of changes and its base.

    Raises:
        ToolError: the file cannot be read, or holds something other than named floating-point tensors.
    """
    content = _unwrapped(load_tensors(path, "weights"))
    if is_changes(content):
        base = read_weights(base_of(content, path))
        if weights_hash(base) != content["base_hash"]:
            raise ToolError(f"{path} holds changes of other weights than {base_of(content, path)} has now.")
        return apply_to(base, content, path)
    if not isinstance(content, Mapping) or not content:
        raise ToolError(f"The weights file {path} holds no state dict (names and tensors).")
    for name, value in content.items():
        if not (isinstance(name, str) and _is_plain_float(value)):
            raise ToolError(f"The weights file {path} is no state dict: {name!r} is not a floating-point tensor.")
    return _standard_names({name: value.detach().float().contiguous() for name, value in content.items()})


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], path: Path) -> None:
    """Raise `ToolError` unless ``weights`` has exactly the names and ``shapes`` expected, and finite values."""
    if missing := [name for name in shapes if name not in weights]:
        raise ToolError(f"The weights file {path} is not an AlexNet's: it lacks {_first(missing)}.")
    if unexpected := [name for name in weights if name not in shapes]:
        raise ToolError(f"The weights file {path} is not a plain AlexNet's: it also has {_first(unexpected)}.")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ToolError(f"In the weights file {path}, {_shape_difference(name, weights[name].shape, shape)}.")
    for name in shapes:
        if not torch.isfinite(weights[name]).all():
            raise ToolError(f"In the weights file {path}, {name} has NaN or infinite values; train it again.")


def weights_hash(source: nn.Module | Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of the names, shapes and float32 values, in the order of the names.

    It names the function, not the file: a float16 file and the float32 cast of it have the same hash.
    """
    state = source.state_dict() if isinstance(source, nn.Module) else source
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{name} {list(values.shape)}\n".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").data)
    return digest.hexdigest()


def _unwrapped(content: Any) -> Any:
    """What a checkpoint's usual outer dict holds, or ``content`` itself."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _is_plain_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.layout is torch.strided


def _standard_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the prefix of `DataParallel`; give the groups of a `Sequential` their names, first and last."""
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    numbered = [re.fullmatch(r"(\d+)(\.\d+\.\w+)", name) for name in weights]
    groups = {int(match[1]) for match in numbered if match}
    if len(groups) < 2 or not all(numbered):
        return weights
    names = {min(groups): "features", max(groups): "classifier"}
    return {
        names.get(int(match[1]), match[1]) + match[2]: value
        for match, value in zip(numbered, weights.values(), strict=True)
        if match
    }


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape_difference(name: str, found: torch.Size, expected: torch.Size) -> str:
    difference = f"{name} has the shape {tuple(found)} instead of {tuple(expected)}"
    if name == OUTPUT_WEIGHT and found[1:] == expected[1:]:
        return f"{difference}: it knows {found[0]} classes, not {expected[0]}"
    return difference
