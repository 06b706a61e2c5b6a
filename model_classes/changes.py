"""Repaired weights as what changed, where few rows of a layer did these alone, and the name of the base.

That is 2 MB for 100 edit images instead of 228 MB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.errors import ToolError
from helpers.files.tensors import is_plain

FORMATS = ("alexnet-repair changes 1", "alexnet-repair changes 2")  # the first has no rows
ROWS = ":rows"
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
    return {"format": FORMATS[-1], "base": relative, "base_hash": base_hash, "changes": thin(changes)}


def thin(changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Changes by name; of a parameter in which few rows changed only these, and where they are as ``NAME:rows``."""
    stored = dict[str, Tensor]()
    for name, change in changes.items():
        rows = change.reshape(len(change), -1).any(dim=1).nonzero()[:, 0]
        few = 2 * len(rows) < len(change)
        stored |= {name: change[rows], f"{name}{ROWS}": rows} if few else {name: change}
    return stored


def whole(stored: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Changes with all rows again, of which ``counts`` says how many there are where only some are stored."""
    changes = dict[str, Tensor]()
    for name, change in stored.items():
        if not name.endswith(ROWS):
            rows = stored.get(f"{name}{ROWS}")
            changes[name] = change if rows is None else _spread(change, rows, counts[name])
    return changes


def _spread(change: Tensor, rows: Tensor, count: int) -> Tensor:
    return torch.zeros(count, *change.shape[1:], dtype=change.dtype).index_copy_(0, rows, change)


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
    return isinstance(content, Mapping) and content.get("format") in FORMATS


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
    changed, stored = dict(base), content["changes"]
    try:
        for name, change in stored.items():
            if not name.endswith(ROWS):
                rows = stored.get(f"{name}{ROWS}", torch.arange(len(base[name])))
                after = restored(base[name][rows].view_as(change), change)
                changed[name] = base[name].index_copy(0, rows, after)
    except (KeyError, RuntimeError, IndexError) as error:
        raise ToolError(f"The changes in {path} do not fit their base: {name}.") from error
    return changed
