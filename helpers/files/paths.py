"""Where the scripts read and write by default, relative to the folder they are run in."""

from __future__ import annotations

from pathlib import Path

from helpers.cli import DatasetName

DATA = Path("data")
CACHE = DATA / "cache"


def baseline_weights(dataset: DatasetName) -> Path:
    """The baseline's weights: ``alexnet_base.pth``, with the dataset's name in it unless that is CIFAR-10."""
    return Path("artifacts") / f"alexnet_base{_suffix(dataset)}.pth"


def repaired_weights(dataset: DatasetName) -> Path:
    """Where a repair goes unless ``--output`` says otherwise."""
    return Path("artifacts") / f"alexnet_repaired{_suffix(dataset)}.pth"


def edit_sets(dataset: DatasetName) -> Path:
    """The folder of a dataset's edit sets; CIFAR-10's is ``data/edit_sets`` itself."""
    folder = Path("data/edit_sets")
    return folder if dataset is DatasetName.CIFAR10 else folder / dataset.value


def _suffix(dataset: DatasetName) -> str:
    return "" if dataset is DatasetName.CIFAR10 else f"_{dataset.value}"
