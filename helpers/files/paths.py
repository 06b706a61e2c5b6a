"""Where the scripts read and write by default, relative to the folder they are run in.

Names have the dataset's in them unless that is CIFAR-10. An image folder with CIFAR-10's classes is a copy of it; any
other has its own name, so that nothing of one dataset takes the place of another's.
"""

from __future__ import annotations

import re
from pathlib import Path

from helpers.cli import DatasetName

DATA = Path("data")
CACHE = DATA / "cache"
CIFAR_CLASSES = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
LONGEST = 40


def baseline_weights(dataset: DatasetName, data_root: Path | None = None) -> Path:
    """The baseline's weights: ``alexnet_base.pth``, ``alexnet_base_digits.pth``, ``alexnet_base_pets.pth``."""
    return Path("artifacts") / f"alexnet_base{_suffix(dataset, data_root)}.pth"


def repaired_weights(dataset: DatasetName, data_root: Path | None = None) -> Path:
    """Where a repair goes unless ``--output`` says otherwise."""
    return Path("artifacts") / f"alexnet_repaired{_suffix(dataset, data_root)}.pth"


def edit_sets(dataset: DatasetName, data_root: Path | None = None) -> Path:
    """The folder of a dataset's edit sets; CIFAR-10's is ``data/edit_sets`` itself."""
    return Path("data/edit_sets") / _suffix(dataset, data_root).removeprefix("_")


def _suffix(dataset: DatasetName, data_root: Path | None) -> str:
    if dataset is not DatasetName.CIFAR10:
        return f"_{dataset.value}"
    if data_root is None or _is_cifar(data_root):
        return ""
    name = re.sub(r"[^\w-]+", "_", data_root.resolve().name)[:LONGEST]
    return f"_{name}_folder" if name in {*DatasetName, "experiments"} else f"_{name}"


def _is_cifar(root: Path) -> bool:
    """Whether a folder holds no image folder of other classes than CIFAR-10's; also where it is not there at all."""
    train = root / "train"
    if not train.is_dir():
        return True
    return {path.name for path in train.iterdir() if path.is_dir() and not path.name.startswith(".")} == CIFAR_CLASSES
