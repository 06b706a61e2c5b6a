"""The state dict within a checkpoint, and the names that torchvision gives its tensors.

Older repaired files were written from ``Sequential(features, avgpool, flatten, classifier)``: there ``0.3.weight`` is
``features.3.weight`` and ``3.6.weight`` is ``classifier.6.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from helpers.errors import ToolError

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
DEEPEST = 6
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
GROUPS = {"features", "classifier"}


def find_state_dict(content: Any, path: Path, depth: int = 0) -> Any:
    """What lies within the outer dicts of a checkpoint; ``content`` itself where it is none.

    An entry with a usual name counts first; else the only one that holds tensors, optimizers left aside.

    Raises:
        ToolError: several entries hold tensors, and none has a usual name.
    """
    if not isinstance(content, Mapping) or depth == DEEPEST:
        return content
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    for key in USUAL_KEYS:
        if key in inner and _holds_tensors(inner[key], depth):
            return find_state_dict(inner[key], path, depth + 1)
    if any(isinstance(value, Tensor) for value in content.values()):
        return content
    holders = {key: value for key, value in inner.items() if _holds_tensors(value, depth)}
    if len(holders) > 1:
        names = " and ".join(sorted(map(str, holders)))
        raise ToolError(f"The weights file {path} holds several networks, {names}: save the state_dict() of one.")
    for value in holders.values():
        return find_state_dict(value, path, depth + 1)
    return content


def _holds_tensors(content: Mapping[Any, Any], depth: int) -> bool:
    if "param_groups" in content or depth == DEEPEST:
        return False
    return any(
        isinstance(value, Tensor) or (isinstance(value, Mapping) and _holds_tensors(value, depth + 1))
        for value in content.values()
    )


def standard_names(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Drop what wrappers add to names (`DataParallel`, `torch.compile`, a Lightning module's attribute).

    The groups of a `Sequential` get their names, first and last.

    Raises:
        ToolError: two tensors would have one name.
    """
    parts = {name: [part for part in name.split(".") if part not in WRAPPERS] for name in weights}
    while _have_a_common_prefix(list(parts.values())):
        parts = {name: rest[1:] for name, rest in parts.items()}
    named = {".".join(rest): weights[name] for name, rest in parts.items()}
    if len(named) < len(weights):
        raise ToolError(f"The weights file {path} holds several tensors of one name; save the plain state_dict().")
    return _named_groups(named)


def _have_a_common_prefix(names: list[list[str]]) -> bool:
    firsts = {name[0] if len(name) > 2 else "" for name in names}
    return len(firsts) == 1 and not firsts & {"", *GROUPS}


def _named_groups(weights: dict[str, Tensor]) -> dict[str, Tensor]:
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
