"""Which inputs decide whether an exported file is the network: the repaired images, else test images, else noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from edits.outcome.finished import check_same, read_repair, repaired_images
from edits.outcome.report import RepairReport
from editset_helpers.copies import with_copies
from editset_helpers.regions import Region
from helpers.cli import DatasetName
from helpers.errors import UsageError
from helpers.files.outputs import report_path
from helpers.files.writing import read_json
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
        weights_hash: of the network that the margin was promised of.
    """

    what: str
    images: torch.Tensor
    labels: torch.Tensor | None = None
    margin: float | None = None
    class_names: tuple[str, ...] | None = None
    weights_hash: str | None = None


def judges_of(
    weights: Path, spec: InputSpec, outputs: int, dataset: DatasetName, data_root: Path | None = None
) -> Judges:
    """The images, and copies, of the report beside weights, by their margin; else some test images; else noise.

    Args:
        weights: the network's file.
        spec: what is remembered of it.
        outputs: how many it has.
        dataset: where test images are, if there is no report.
        data_root: a folder of images to use instead; with a report, where the images are now.

    Raises:
        ToolError: the edit set or the test images of the report are missing, or have changed since.
    """
    path = report_path(weights)
    record = read_json(path) if path.is_file() else {}  # a baseline's, of its training, is there, too
    if isinstance(record, dict) and record.get("status") == "repaired":
        return _edit_images(read_repair(path), path, data_root, spec)
    if data_root is not None or is_there(dataset):
        try:
            test = load_dataset(dataset, "test", data_root, spec)
        except UsageError:
            if data_root is not None:
                raise
        else:
            if data_root is not None or len(test.class_names) == outputs:
                return _test_images(test)
    return _noise(spec)


def _edit_images(told: RepairReport, path: Path, data_root: Path | None, spec: InputSpec) -> Judges:
    root = data_root or (None if told.data_root is None else Path(told.data_root))
    dataset = DatasetName.DIGITS if root is None and told.dataset == DatasetName.DIGITS else DatasetName.CIFAR10
    test = load_dataset(dataset, "test", root, spec)
    check_same("test images", told.dataset, told.dataset_hash, test.content_hash)
    edit_set = repaired_images(told, path, test)
    covered = with_copies(edit_set, Region(told.shifts, told.flip), test)
    copies = f" and {len(covered) - len(edit_set):,} copies" if len(covered) > len(edit_set) else ""
    what = f"{len(edit_set):,} edit images{copies} of {told.edit_set_path}"
    return Judges(what, covered.images, covered.labels, told.margin, test.class_names, told.weights_hash_after)


def _test_images(test: ImageDataset) -> Judges:
    images, labels = test.inputs(slice(TEST_IMAGES)), torch.from_numpy(test.labels[:TEST_IMAGES].copy())
    return Judges(f"{len(labels):,} test images of {test.name}", images, labels, class_names=test.class_names)


def _noise(spec: InputSpec) -> Judges:
    side = spec.preprocessing.input_size
    pixels = torch.rand(RANDOM, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Judges(f"{RANDOM} random images", spec.preprocessing.normalise(pixels), class_names=spec.classes)
