"""The edit set: the images that a repair must put right. In files: ``*_edit_dataset.pt``, ``*_edit_metadata.json``."""

from __future__ import annotations

import functools
import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editset_helpers.file_checks import as_records, checked_images, checked_labels, note_if_plain, stored_pixels
from helpers.errors import ToolError, UsageError
from helpers.files.writing import load_tensors, read_json, save_tensors, write_json
from helpers.images.preprocessing import CIFAR, Preprocessing, preprocessing_from
from helpers.images.source import Split

# What the metadata call an image's number in its split; what reads the one never takes the other for it.
NUMBERS = {"test": "image_idx", "train": "training_idx"}
MOMENT = 2 * 10**9  # nanoseconds


@dataclass(frozen=True, eq=False)
class EditSet:
    """Images with the labels that the network is to give them.

    Attributes:
        images: float32, (N, 3, S, S), the network's inputs; in [0, 1] unless its preprocessing normalises.
        labels: int64, (N,).
        metadata: a dict for each image: its number (``image_idx``; of a training image ``training_idx``),
            ``true_label``, ``predicted_label``, ``true_probability``, ``predicted_probability``, ``margin``,
            ``true_class``, ``predicted_class``, ``type``; ``dataset_class`` where the label is not the dataset's. Sets
            by others may lack any of them.
        provenance: how the set was made: ``dataset``, ``dataset_hash``, ``split`` or ``source: files``,
            ``class_names``, ``weights_hash``, ``kind``, ``max_samples``, ``seed``, ``command``, ..., and
            ``preprocessing`` unless it is the usual; empty for sets by others.
        pixels: uint8, (N, S, S, 3), usually 32x32, what the images were made of, which shifted copies need; None where
            it is not known.
        positions: of a subset, where its images are in the whole set, int64, (N,); None for a whole set.
        label_order: where labels were put into the order of a dataset's classes, what became of each label of the file
            (-1: none has it); None where they are as in the file.
    """

    images: torch.Tensor
    labels: torch.Tensor
    metadata: list[dict[str, Any]]
    provenance: dict[str, Any] = field(default_factory=dict)
    pixels: torch.Tensor | None = None
    positions: NDArray[np.int64] | None = None
    label_order: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 of the images and the labels, in hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def preprocessing(self) -> Preprocessing:
        """How the images were prepared, by the provenance."""
        stated = self.provenance.get("preprocessing")
        return CIFAR if stated is None else preprocessing_from(stated)

    @property
    def file_positions(self) -> NDArray[np.int64]:
        """Where the images are in the set's file, int64, (N,)."""
        return np.arange(len(self), dtype=np.int64) if self.positions is None else self.positions

    def subset(self, max_samples: int | None, seed: int) -> EditSet:
        """At most ``max_samples`` of the images, those that `choose` names, in the order they have here."""
        return self.at(choose(len(self), max_samples, seed))

    def at(self, positions: NDArray[np.int64]) -> EditSet:
        """The images at these positions, (n,)."""
        chosen = torch.from_numpy(positions)
        return replace(
            self,
            images=self.images[chosen],
            labels=self.labels[chosen],
            metadata=[self.metadata[position] for position in positions],
            pixels=None if self.pixels is None else self.pixels[chosen],
            positions=self.file_positions[positions],
        )

    def claimed_indices(self, split: Split = "test") -> NDArray[np.int64]:
        """What the metadata say that the images' numbers in a split are, (N,); -1 where they say nothing.

        Whether it is so is for `editset_helpers.location` to find out.
        """
        return np.array([entry.get(NUMBERS[split], -1) for entry in self.metadata], dtype=np.int64)

    @property
    def source(self) -> str | None:
        """Where the images are from: ``test``, ``train`` or ``files``; None where the set does not say it."""
        told = self.provenance.get("source", self.provenance.get("split"))
        return told if told in (*NUMBERS, "files") else None

    @property
    def relabeled(self) -> int:
        """How many images have another label than their dataset gives them."""
        return sum("dataset_class" in entry for entry in self.metadata)

    def test_indices(self) -> NDArray[np.int64] | None:
        """`claimed_indices` where there is one for every image, else None."""
        claims = self.claimed_indices()
        return claims if (claims >= 0).all() else None


def choose(count: int, max_samples: int | None, seed: int) -> NDArray[np.int64]:
    """Choose positions out of ``count``: sorted, without repetition, the same for the same arguments.

    A larger ``max_samples`` chooses the same positions and more. None, or at least ``count``, chooses all.

    Raises:
        UsageError: ``max_samples`` is below 1, or ``seed`` is negative.
    """
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples must be at least 1, not {max_samples}.")
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {seed}.")
    if max_samples is None or max_samples >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(count)[:max_samples]).astype(np.int64)


def metadata_path(path: Path) -> Path:
    """``foo_edit_dataset.pt`` -> ``foo_edit_metadata.json``."""
    return path.with_name(path.name.removesuffix(".pt").removesuffix("_edit_dataset") + "_edit_metadata.json")


def save_edit_set(edit_set: EditSet, path: Path) -> None:
    """Write the tensors with all that is known of them, then the same for people as JSON; each is whole or not there.

    A hash tells that provenance and images belong together.

    Raises:
        ToolError: a file cannot be written.
    """
    facts = {**edit_set.provenance, "edit_set_hash": edit_set.content_hash}
    tensors = {"images": edit_set.images, "labels": edit_set.labels}
    tensors |= {} if edit_set.pixels is None else {"pixels": edit_set.pixels}
    save_tensors(path, {**tensors, "metadata": edit_set.metadata, "provenance": facts})
    write_json(metadata_path(path), {**facts, "metadata": edit_set.metadata})


def load_edit_set(path: Path, num_classes: int | None = 10, preprocessing: Preprocessing | None = None) -> EditSet:
    """Load and check an edit set of one's own or of that shape.

    uint8 images are divided by 255, and refused where the network normalises. Metadata may be absent, or a dict of
    columns. Older files have their provenance in the JSON file only. It is left out where it is of other images, as
    after an interrupted write; class names and preprocessing stay, for whoever changed the images kept them.

    Args:
        path: the ``.pt`` file.
        num_classes: labels must be below it; None for any.
        preprocessing: of the network that the images are for; None for what the file says.

    Raises:
        UsageError: the images are inputs of another preprocessing.
        ToolError: the file is missing, damaged, or no edit set; the message says what is wrong.
    """
    content = _content(path)
    if not isinstance(content, dict) or not {"images", "labels"} <= content.keys():
        raise ToolError(f"The edit set {path} is not a dict with 'images' and 'labels'.")
    facts = content["provenance"] if "provenance" in content else _facts_beside(path)
    prepared = _preprocessing(facts, preprocessing, path)
    images = checked_images(content["images"], path, prepared)
    if not _says_preparation(facts):
        note_if_plain(images, path, prepared)
    labels = checked_labels(content["labels"], len(images), num_classes, path)
    metadata, pixels = as_records(content.get("metadata"), len(images), path), stored_pixels(content, len(images))
    edit_set = EditSet(images, labels, metadata, pixels=pixels)
    return replace(edit_set, provenance=_provenance(facts, edit_set.content_hash))


def _content(path: Path) -> Any:
    """What a file holds; the last one is remembered, for a repair asks first how a set was made, then for its images.

    Not where it was written a moment ago: what takes its place then could have the same time.
    """
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return load_tensors(path, "edit set")
    if time.time_ns() - facts.st_mtime_ns < MOMENT:
        return load_tensors(path, "edit set")
    return _remembered(path.absolute(), facts.st_ino, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=1)
def _remembered(path: Path, *_file: int) -> Any:
    return load_tensors(path, "edit set")


def forget_content() -> None:
    """Let go of the file that is remembered: who has chosen some of its images needs the others no more."""
    _remembered.cache_clear()


def _facts_beside(path: Path) -> Any:
    """What the JSON file of an older set says; a set by others has none."""
    facts = read_json(metadata_path(path)) if metadata_path(path).is_file() else {}
    return {key: value for key, value in facts.items() if key != "metadata"} if isinstance(facts, dict) else {}


def _says_preparation(facts: Any) -> bool:
    return isinstance(facts, dict) and bool(facts.keys() & {"preprocessing", "dataset_hash"})


def _preprocessing(facts: Any, wanted: Preprocessing | None, path: Path) -> Preprocessing:
    """What a file's images were made by: what it says, the usual where a set made here says nothing, or what is wanted.

    Raises:
        UsageError: another is wanted.
        ToolError: the file says something impossible.
    """
    if not _says_preparation(facts):
        return wanted or CIFAR
    try:
        stated = preprocessing_from(facts["preprocessing"]) if "preprocessing" in facts else CIFAR
    except UsageError as error:
        raise ToolError(f"The edit set {path} does not say how its images were prepared: {error}") from error
    if wanted not in (None, stated):
        raise UsageError(
            f"The images of the edit set {path} were prepared in another way than this network's ({stated.described} "
            f"instead of {wanted.described}): make the set with these weights."
        )
    return stated


def _provenance(facts: Any, content_hash: str) -> dict[str, Any]:
    if not isinstance(facts, dict):
        return {}
    if facts.get("edit_set_hash") != content_hash:
        return {key: facts[key] for key in ("class_names", "preprocessing") if key in facts}
    return {key: value for key, value in facts.items() if key != "edit_set_hash"}
