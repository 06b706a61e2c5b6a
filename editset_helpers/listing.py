"""The edit sets of a folder, the damaged ones among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editset_helpers.edit_set import load_edit_set
from helpers.errors import ToolError


@dataclass(frozen=True)
class Listed:
    """One file. What a set by others does not say is None; ``problem`` says why a file is no edit set.

    ``source`` is as `EditSet.source`.
    """

    path: str
    images: int | None = None
    source: str | None = None
    dataset: str | None = None
    weights_hash: str | None = None
    seed: int | None = None
    problem: str | None = None


def list_edit_sets(folder: Path) -> list[Listed]:
    """Every ``.pt`` file of the folder and the folders in it, by name; empty where there is no folder."""
    return [_listed(path) for path in sorted(folder.rglob("*.pt")) if not path.name.startswith(".")]


def _listed(path: Path) -> Listed:
    try:
        edit_set = load_edit_set(path, num_classes=None)
    except ToolError as error:
        return Listed(str(path), problem=str(error))
    facts = edit_set.provenance
    told = [facts.get(key) for key in ("dataset", "weights_hash", "seed")]
    return Listed(str(path), len(edit_set), edit_set.source, *told)
