"""What the file of a selection is called, and whether the file of that name holds what is asked for.

A set is named by what is asked for: the kind or class, the correctness unless it is ``incorrect``, and ``_100_seed1``
where at most 100 images are. Where a file of that name holds anything else, such as another network's mistakes or
another folder's images, it is left as it is, and the first digits of the weights' and the images' hashes are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editset_helpers.edit_set import load_edit_set
from editset_helpers.selection import SUFFIX, Selection, default_name
from helpers.datasets import ImageDataset
from helpers.errors import UsageError

DIGITS = 8


@dataclass(frozen=True)
class Wanted:
    """What a file is to hold: a selection of test images by what a network says of them."""

    selection: Selection
    test: ImageDataset
    weights_hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """What its provenance says then."""
        facts = self.selection.facts(self.test.class_names)
        if self.selection.max_samples is None:
            del facts["seed"]  # all images are taken
        return {**facts, "dataset_hash": self.test.content_hash, "split": "test", "weights_hash": self.weights_hash}

    def misfit(self, path: Path) -> str | None:
        """Why a file does not hold this, or None; raises `ToolError` where it cannot be read."""
        provenance = load_edit_set(path, None).provenance
        for key, value in self.facts.items():
            if key not in provenance:
                return "does not say how it was made"
            if provenance[key] != value:
                return WHY.get(key, "holds another selection").format(found=provenance[key] or "none")
        return None


WHY = {
    "max_samples": "was made with --max-samples {found}",
    "seed": "was made with --seed {found}",
    "dataset_hash": "was made of other images",
    "weights_hash": "was made with other weights",
}


@dataclass(frozen=True)
class Place:
    """Where a set lies or is to be made; ``note`` says why not under its usual name."""

    path: Path
    exists: bool
    note: str | None = None


def place_of(wanted: Wanted, folder: Path) -> Place:
    """The file of a selection, which is there or can be made.

    Raises:
        UsageError: both names are taken by other sets, or there is no such class.
        ToolError: a file of that name is damaged.
    """
    usual = usual_path(wanted, folder)
    if not usual.exists() or (why := wanted.misfit(usual)) is None:
        return Place(usual, usual.exists())
    hashes = f"{wanted.weights_hash[:DIGITS]}_{wanted.test.content_hash[:DIGITS]}"
    other = usual.with_name(usual.name.replace(SUFFIX, f"_{hashes}{SUFFIX}"))
    if other.exists() and (still := wanted.misfit(other)) is not None:
        raise UsageError(f"{usual} {why}, and {other} {still}: remove one of them, or name a set yourself.")
    return Place(other, other.exists(), f"{usual} {why}, so {other} is used.")


def usual_path(wanted: Wanted, folder: Path) -> Path:
    """The file of a selection unless another set has its name; raises `UsageError` where there is no such class."""
    return folder / f"{default_name(wanted.selection, wanted.test.class_names)}{SUFFIX}"
