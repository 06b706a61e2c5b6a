"""Edit sets joined into one, whose images know which set they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from editset_helpers.building import of_dataset
from editset_helpers.edit_set import EditSet, save_edit_set
from editset_helpers.selection import SUFFIX
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset

DIGITS = 12


@dataclass(frozen=True, eq=False)
class Member:
    """An edit set that is joined with others: its file, and its images, labelled in the dataset's order."""

    path: Path
    edit_set: EditSet


def join(members: list[Member], test: ImageDataset) -> EditSet:
    """All images of several edit sets, in their order; a picture that an earlier set holds, too, is taken from there.

    An image's metadata say which set it came from, ``edit_set``, and where it was in it, ``edit_image``; those of a
    set that was joined itself keep what they say.

    Args:
        members: the sets.
        test: the dataset that their labels are of.

    Raises:
        UsageError: a picture has two labels; the message names both images.
    """
    places: dict[bytes, tuple[Member, int]] = {}
    chosen = [np.array(_new_images(member, places, test.class_names), dtype=np.int64) for member in members]
    parts = [member.edit_set.at(positions) for member, positions in zip(members, chosen, strict=True)]
    metadata = [
        {"edit_set": str(member.path), "edit_image": int(place), **facts}
        for member, part in zip(members, parts, strict=True)
        for place, facts in zip(part.file_positions, part.metadata, strict=True)
    ]
    pixels = [part.pixels for part in parts if part.pixels is not None]
    facts = {"dataset": test.name, "dataset_hash": test.content_hash, **of_dataset(test), **_source(members)}
    return EditSet(
        images=torch.cat([part.images for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        metadata=metadata,
        pixels=torch.cat(pixels) if len(pixels) == len(parts) else None,
        provenance={**facts, "kind": "joined", "edit_sets": [str(member.path) for member in members]},
    )


def _source(members: list[Member]) -> dict[str, str]:
    """Where the images are from, the widest of what the sets say; nothing where one says nothing."""
    kinds = {member.edit_set.source for member in members}
    return {} if None in kinds else {"source": next(kind for kind in ("files", "train", "test") if kind in kinds)}


def _new_images(member: Member, places: dict[bytes, tuple[Member, int]], class_names: tuple[str, ...]) -> list[int]:
    """Positions of the pictures that no earlier set holds; they are added to ``places``."""
    fresh = []
    for position, image in enumerate(member.edit_set.images):
        picture = image.contiguous().numpy().tobytes()
        if places.setdefault(picture, (member, position))[0] is member:
            fresh.append(position)
        if (label := int(member.edit_set.labels[position])) != (other := _label(*places[picture])):
            raise UsageError(
                f"{_name(member, position)} is to be {class_names[label]}, and {_name(*places[picture])}, the same "
                f"picture, {class_names[other]}: no network can do both; leave one of them out."
            )
    return fresh


def _label(member: Member, position: int) -> int:
    return int(member.edit_set.labels[position])


def _name(member: Member, position: int) -> str:
    facts = member.edit_set.metadata[position]
    place = facts.get("edit_image", member.edit_set.file_positions[position])
    return f"image {place} of {facts.get('edit_set', member.path)}"


def keep_joined(edit_set: EditSet, folder: Path) -> Path:
    """Write a joined set under a name that says what it holds, unless it is there; raises `ToolError` if it cannot."""
    path = folder / f"joined_{edit_set.content_hash[:DIGITS]}{SUFFIX}"
    if not path.is_file():
        save_edit_set(edit_set, path)
    return path
