"""Repaired weights as the change of one layer and the name of the base: 160 kB instead of 228 MB."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.errors import ToolError
from helpers.files.tensors import is_plain

FORMAT = "alexnet-repair changes 1"
TINY = 2.0**-24


def changes_content(changes: Mapping[str, Tensor], base: Path, base_hash: str, place: Path) -> dict[str, Any]:
    """What a file of changes holds.

    Args:
        changes: float64, by parameter name; what is added to the base, exactly.
        base: the base's weights file.
        base_hash: its `weights_hash`.
        place: where the file will lie; the base is named relative to it.
    """
    relative = os.path.relpath(base.resolve(), place.resolve().parent)
    return {"format": FORMAT, "base": relative, "base_hash": base_hash, "changes": dict(changes)}


def restorable(before: Tensor, after: Tensor) -> Tensor:
    """Float32 weights that base and difference give back to the bit: what is next to nothing beside the base is zero.

    A difference in float64 loses digits of a weight that is 2^-24 of the base's or less, and the sign of a zero.
    """
    return torch.where(after == before, before, torch.where(after.abs() <= TINY * before.abs(), 0.0, after))


def restored(before: Tensor, change: Tensor) -> Tensor:
    """A base with a float64 difference added, rounded to float32 once; where that is zero, the base to the bit."""
    return torch.where(change == 0, before, (before.double() + change.double()).float())


def is_changes(content: Any) -> bool:
    """Whether a loaded file is one of changes."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def check_changes(content: Mapping[str, Any], path: Path) -> None:
    """Raise `ToolError` unless all that `changes_content` writes is there."""
    changes = content.get("changes")
    texts = all(isinstance(content.get(key), str) for key in ("base", "base_hash"))
    if not (texts and isinstance(changes, Mapping) and all(is_plain(value) for value in changes.values())):
        raise ToolError(f"{path} says that it holds changes of weights, but lacks some of them; make it again.")


def base_of(content: Mapping[str, Any], path: Path) -> Path:
    """The base's file.

    Raises:
        ToolError: it is not where the changes say.
    """
    base: Path = path.parent / content["base"]
    if not base.is_file():
        raise ToolError(f"{path} holds changes of {base}, which does not exist; put those weights there.")
    return base


def apply_to(base: Mapping[str, Tensor], content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The changed weights, rounded to float32 once.

    Raises:
        ToolError: the changes do not fit the base.
    """
    changed = dict(base)
    for name, change in content["changes"].items():
        if name not in changed or changed[name].shape != change.shape:
            raise ToolError(f"The changes in {path} do not fit their base: {name}.")
        changed[name] = restored(changed[name], change)
    return changed
