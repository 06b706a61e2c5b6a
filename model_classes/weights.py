"""State dicts: read from files of several shapes, checked, named by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ToolError
from helpers.files.publishing import settle
from helpers.files.tensors import is_plain
from model_classes.changes import apply_to, base_of, check_changes, is_changes
from model_classes.checkpoints import find_state_dict, standard_names
from model_classes.weight_files import read_content

OUTPUT_WEIGHT = "classifier.6.weight"


def read_weights(
    path: Path, place: Path | None = None, base: tuple[Mapping[str, Tensor], str] | None = None
) -> dict[str, Tensor]:
    """The tensors of a state dict, in float32 and under torchvision's names; or of a file of changes and its base.

    Args:
        path: the file.
        place: where it will be, if it is not there yet: changes name their base from there.
        base: weights that are known already, and their hash; the base's file is not read where it is these.

    Raises:
        ToolError: the file cannot be read, or holds something other than named floating-point tensors.
    """
    settle(path)
    content = read_content(path)
    if not is_changes(content):
        return _state_dict(content, path)
    check_changes(content, place or path)
    known = base[0] if base is not None and base[1] == content["base_hash"] else None
    return apply_to(_base(content, place or path) if known is None else known, content, place or path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    state = find_state_dict(content, path)
    if not isinstance(state, Mapping) or not state:
        raise ToolError(f"The weights file {path} holds no state dict (names and tensors).")
    for name, value in state.items():
        if not (isinstance(name, str) and is_plain(value) and value.is_floating_point()):
            raise ToolError(
                f"The weights file {path} is no AlexNet's state dict: {name!r} is not a floating-point tensor."
            )
    return standard_names({name: value.detach().float().contiguous() for name, value in state.items()}, path)


def base_file(path: Path) -> Path | None:
    """The weights that a file of changes changes; None for whole weights. Raises `ToolError` as `read_weights`."""
    content = read_content(path, mapped=True)
    return base_of(content, path) if is_changes(content) else None


def _base(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The base of a file of changes, which is a whole state dict."""
    base = base_of(content, path)
    of_base = read_content(base)
    if is_changes(of_base):
        raise ToolError(
            f"{path} holds changes of {base}, which holds changes itself; make it again from whole weights."
        )
    weights = _state_dict(of_base, base)
    if weights_hash(weights) != content["base_hash"]:
        raise ToolError(f"{path} holds changes of other weights than {base} has now.")
    return weights


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], path: Path) -> None:
    """Raise `ToolError` unless ``weights`` has exactly the names and ``shapes`` expected, and finite values."""
    unexpected = [name for name in weights if name not in shapes]
    if missing := [name for name in shapes if name not in weights]:
        found = f" and has {_first(unexpected)}" if unexpected else ""
        raise ToolError(f"The weights file {path} is not an AlexNet's: it lacks {_first(missing)}{found}.")
    if unexpected:
        raise ToolError(f"The weights file {path} is not a plain AlexNet's: it also has {_first(unexpected)}.")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ToolError(f"In the weights file {path}, {_shape_difference(name, weights[name].shape, shape)}.")
    for name in shapes:
        if not torch.stack(torch.aminmax(weights[name])).isfinite().all():  # in one pass: NaN is both
            raise ToolError(f"In the weights file {path}, {name} has NaN or infinite values; train it again.")


def weights_hash(source: nn.Module | Mapping[str, Tensor]) -> str:
    """Hexadecimal SHA-256 of the names, shapes and float32 values, in the order of the names.

    It names the function, not the file: a float16 file and the float32 cast of it have the same hash.
    """
    state = source.state_dict() if isinstance(source, nn.Module) else source
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{name} {list(values.shape)}\n".encode(errors="surrogatepass"))
        digest.update(np.ascontiguousarray(values, dtype="<f4").data)
    return digest.hexdigest()


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape_difference(name: str, found: torch.Size, expected: torch.Size) -> str:
    difference = f"{name} has the shape {tuple(found)} instead of {tuple(expected)}"
    if name == OUTPUT_WEIGHT and found[1:] == expected[1:]:
        return f"{difference}: it knows {found[0]} classes, not {expected[0]}"
    return difference
