"""Which inputs decide whether an exported file is the network: the repaired images, else test images, else noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from edits.record.finished import check_same, images_source, repaired_images
from edits.record.history import told_of
from edits.record.report import RepairReport
from editset_helpers.class_order import load_for
from editset_helpers.copies import with_copies
from editset_helpers.edit_set import load_edit_set
from editset_helpers.regions import Region
from helpers.cli import DatasetName, say
from helpers.errors import ToolError, UsageError
from helpers.files.outputs import report_path
from helpers.images.datasets import ImageDataset, is_there, load_dataset
from helpers.images.input_spec import InputSpec

TEST_IMAGES, RANDOM = 500, 16


@dataclass(frozen=True, eq=False)
class Judges:
    """Inputs that an exported file is run on.

    Attributes:
        what: they are, for people.
        images: float32, (n, 3, S, S), n >= 1.
        labels: int64, (n,); None where there are none.
        margin: what every image has to have; None where nothing was promised.
        class_names: of the outputs; None where they are not known.
    """

    what: str
    images: torch.Tensor
    labels: torch.Tensor | None = None
    margin: float | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Exporting:
    """A network that is exported, and where images for it are.

    Attributes:
        weights, weights_hash: its file, and what names it.
        spec: what is remembered of it.
        outputs: how many it has.
        dataset: where test images are, if nothing tells of a repair.
        data_root: a folder of images to use instead; of a repair, where the images are now.
        edit_set: a file of images to run it on.
    """

    weights: Path
    weights_hash: str
    spec: InputSpec
    outputs: int
    dataset: DatasetName = DatasetName.CIFAR10
    data_root: Path | None = None
    edit_set: Path | None = None


def judges_of(asked: Exporting) -> Judges:
    """The images that are given; or those, and copies, of the repair by their margin; else test images; else noise.

    Of which repair it is the report beside the weights says, or their file itself. Where that is of other weights, or
    its images are not there, a note says that no promised margin is checked.

    Raises:
        ToolError: what is given is missing or damaged, or a report is.
    """
    if asked.edit_set is not None:
        return _given(asked, asked.edit_set)
    found = told_of(asked.weights)
    if found is not None:
        told, path = found[0], report_path(asked.weights)
        try:
            check_same("weights", str(asked.weights), told.weights_hash_after, asked.weights_hash)
            return _edit_images(told, path, asked.data_root, asked.spec)
        except ToolError as error:
            say(f"note: no margin that was promised is checked: {error} --edit-set names the images.")
    return _other_images(asked)


def _given(asked: Exporting, path: Path) -> Judges:
    test = _test_split(asked)
    if test is None:
        edit_set = load_edit_set(path, asked.outputs, asked.spec.preprocessing)
        return Judges(f"{len(edit_set):,} images of {path}", edit_set.images, edit_set.labels)
    edit_set = load_for(path, test)
    return Judges(f"{len(edit_set):,} images of {path}", edit_set.images, edit_set.labels, class_names=test.class_names)


def _test_split(asked: Exporting) -> ImageDataset | None:
    """The test images, where they are there and have the network's classes."""
    dataset, data_root, spec = asked.dataset, asked.data_root, asked.spec
    if data_root is not None:
        return load_dataset(dataset, "test", data_root, spec)
    if not is_there(dataset):
        return None
    try:
        test = load_dataset(dataset, "test", None, spec)
    except UsageError:
        return None
    return test if len(test.class_names) == asked.outputs else None


def _other_images(asked: Exporting) -> Judges:
    test = _test_split(asked)
    return _noise(asked.spec) if test is None else _test_images(test)


def _edit_images(told: RepairReport, path: Path, data_root: Path | None, spec: InputSpec) -> Judges:
    dataset, root = images_source(told, data_root)
    test = load_dataset(dataset, "test", root, spec)
    check_same("test images", told.dataset, told.dataset_hash, test.content_hash)
    edit_set = repaired_images(told, path, test).edit_set
    covered = with_copies(edit_set, Region(told.shifts, told.flip), test)
    copies = f" and {len(covered) - len(edit_set):,} copies" if len(covered) > len(edit_set) else ""
    what = f"{len(edit_set):,} edit images{copies} of {told.edit_set_path}"
    return Judges(what, covered.images, covered.labels, told.margin, test.class_names)


def _test_images(test: ImageDataset) -> Judges:
    images, labels = test.inputs(slice(TEST_IMAGES)), torch.from_numpy(test.labels[:TEST_IMAGES].copy())
    return Judges(f"{len(labels):,} test images of {test.name}", images, labels, class_names=test.class_names)


def _noise(spec: InputSpec) -> Judges:
    side = spec.preprocessing.input_size
    pixels = torch.rand(RANDOM, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Judges(f"{RANDOM} random images", spec.preprocessing.normalise(pixels), class_names=spec.classes)
