"""The edit set: the images that a repair must put right. In files: ``*_edit_dataset.pt``, ``*_edit_metadata.json``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.choice import choose
from editset_helpers.file_checks import as_records, checked_images, checked_labels
from helpers.errors import ToolError
from helpers.files import load_tensors, read_json, save_tensors, write_json


@dataclass(frozen=True, eq=False)
class EditSet:
    """Images with the labels that the network is to give them.

    Attributes:
        images: float32, (N, 3, 64, 64), in [0, 1].
        labels: int64, (N,).
        metadata: a dict for each image: ``image_idx``, ``true_label``, ``predicted_label``, ``true_probability``,
            ``predicted_probability``, ``margin``, ``true_class``, ``predicted_class``, ``type``. Sets by others may
            lack any of them.
        provenance: how the set was made: ``dataset``, ``dataset_hash``, ``split``, ``weights_hash``, ``seed``,
            ``command``, ...; empty for sets by others.
    """

    images: torch.Tensor
    labels: torch.Tensor
    metadata: list[dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the images and the labels, in hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, max_samples: int | None, seed: int) -> EditSet:
        """At most ``max_samples`` of the images, those that `choose` names, in the order they have here."""
        positions = choose(len(self), max_samples, seed)
        chosen = torch.from_numpy(positions)
        metadata = [self.metadata[position] for position in positions]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], metadata=metadata)

    def test_indices(self) -> NDArray[np.int64] | None:
        """``image_idx`` of every image, (N,); None where the metadata lacks it for any."""
        indices = [entry.get("image_idx") for entry in self.metadata]
        if not all(isinstance(index, int) for index in indices):
            return None
        return np.array(indices, dtype=np.int64)


def metadata_path(path: Path) -> Path:
    """``foo_edit_dataset.pt`` -> ``foo_edit_metadata.json``."""
    return path.with_name(path.name.removesuffix(".pt").removesuffix("_edit_dataset") + "_edit_metadata.json")


def save_edit_set(edit_set: EditSet, path: Path) -> None:
    """Write the tensors, then the metadata; each is whole or not there, and a hash tells that they belong together.

    Raises:
        ToolError: a file cannot be written.
    """
    content = {"images": edit_set.images, "labels": edit_set.labels, "metadata": edit_set.metadata}
    save_tensors(path, content)
    facts = {**edit_set.provenance, "edit_set_hash": edit_set.content_hash, "metadata": edit_set.metadata}
    write_json(metadata_path(path), facts)


def load_edit_set(path: Path, num_classes: int | None = 10) -> EditSet:
    """Load and check an edit set of one's own or of that shape.

    uint8 images are divided by 255. Metadata may be absent, or a dict of columns. The JSON file may be absent, or
    belong to other images, as after an interrupted write; its provenance is then left out.

    Args:
        path: the ``.pt`` file.
        num_classes: labels must be below it; None for any.

    Raises:
        ToolError: the file is missing, damaged, or no edit set; the message says what is wrong.
    """
    content = load_tensors(path, "edit set")
    if not isinstance(content, dict) or not {"images", "labels"} <= content.keys():
        raise ToolError(f"The edit set {path} is not a dict with 'images' and 'labels'.")
    images = checked_images(content["images"], path)
    labels = checked_labels(content["labels"], len(images), num_classes, path)
    metadata = as_records(content.get("metadata"), len(images), path)
    edit_set = EditSet(images, labels, metadata)
    return EditSet(images, labels, metadata, _provenance(metadata_path(path), edit_set.content_hash))


def _provenance(path: Path, content_hash: str) -> dict[str, Any]:
    facts = read_json(path) if path.is_file() else None
    if not isinstance(facts, dict) or facts.get("edit_set_hash") != content_hash:
        return {}
    return {key: value for key, value in facts.items() if key not in {"metadata", "edit_set_hash"}}
