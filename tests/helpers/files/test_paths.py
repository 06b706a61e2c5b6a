"""What is made for one dataset never has the name of another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.cli import DatasetName
from helpers.files.paths import CIFAR_CLASSES, baseline_weights, edit_sets, repaired_weights

CIFAR10, DIGITS = DatasetName.CIFAR10, DatasetName.DIGITS


def _folder(root: Path, classes: set[str]) -> Path:
    for name in classes:
        (root / "train" / name).mkdir(parents=True)
    return root


def test_the_usual_names_stay(workplace: Path) -> None:
    copy = _folder(workplace / "my copy", CIFAR_CLASSES)
    (workplace / "archive").mkdir()
    for root in (None, copy, workplace / "archive", workplace / "nowhere"):
        assert baseline_weights(CIFAR10, root) == Path("artifacts/alexnet_base.pth")
        assert repaired_weights(CIFAR10, root) == Path("artifacts/alexnet_repaired.pth")
        assert edit_sets(CIFAR10, root) == Path("data/edit_sets")
    assert baseline_weights(DIGITS) == Path("artifacts/alexnet_base_digits.pth")
    assert edit_sets(DIGITS) == Path("data/edit_sets/digits")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pets", "pets"),
        ("my pets", "my_pets"),
        ("digits", "digits_folder"),
        ("cifar10", "cifar10_folder"),
        ("experiments", "experiments_folder"),
        ("ä" * 100, "ä" * 40),
    ],
)
def test_a_folder_of_other_classes_has_its_own_name(name: str, told: str, workplace: Path) -> None:
    root = _folder(workplace / name, {"cat", "dog"})
    assert baseline_weights(CIFAR10, root) == Path(f"artifacts/alexnet_base_{told}.pth")
    assert repaired_weights(CIFAR10, root) == Path(f"artifacts/alexnet_repaired_{told}.pth")
    assert edit_sets(CIFAR10, root) == Path(f"data/edit_sets/{told}")
