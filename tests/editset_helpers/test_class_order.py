"""Labels of an edit set in another order of classes: mapped by name, refused, or taken with a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editset_helpers.class_order import in_order_of, load_for
from editset_helpers.edit_set import EditSet, save_edit_set
from helpers.errors import ToolError, UsageError
from helpers.images.datasets import ImageDataset

NAMES = ("cat", "dog", "emu", "fox")
PATH = Path("mine.pt")
TEST = ImageDataset("pets", "test", np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64), NAMES, "here")


def edit_set(labels: list[int], metadata: list[dict[str, Any]] | None = None, **provenance: Any) -> EditSet:
    images = torch.zeros(len(labels), 3, 64, 64)
    return EditSet(images, torch.tensor(labels), metadata or [{}] * len(labels), provenance)


@settings(max_examples=60, deadline=None)
@given(st.permutations(NAMES), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.booleans())
def test_an_image_keeps_the_name_of_its_class(order: list[str], labels: list[int], is_whole: bool) -> None:
    """Whether the file names all classes, or the metadata those of its images."""
    metadata = [{"true_label": label, "true_class": order[label]} for label in labels]
    given_set = edit_set(labels, class_names=list(order)) if is_whole else edit_set(labels, metadata)
    found, note = in_order_of(given_set, TEST, PATH)
    assert [NAMES[label] for label in found.labels.tolist()] == [order[label] for label in labels]
    is_same = all(NAMES[label] == order[label] for label in labels)
    assert (note is None) == is_same == (found.label_order is None)
    if not is_same:
        assert note is not None and "mapped by name" in note and found.label_order is not None
        assert [found.label_order[label] for label in labels] == found.labels.tolist()
        again, nothing = in_order_of(found, TEST, PATH)
        assert nothing is None and torch.equal(again.labels, found.labels)
    for facts, label in zip(found.metadata, found.labels.tolist(), strict=True):
        assert facts.get("true_label", label) == label


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        ([0, 3], {"class_names": ["cat", "dog", "emu", "gnu"]}),
        ([0], {"class_names": ["Cat", "dog", "emu", "fox"]}),
        ([4], {"class_names": ["cat", "dog", "emu", "fox", "gnu"]}),
    ],
)
def test_classes_that_are_not_here_are_refused(labels: list[int], facts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"holds images of '(gnu|Cat)'.*--data-root it came from"):
        in_order_of(edit_set(labels, **facts), TEST, PATH)
    with pytest.raises(UsageError, match="holds images of"):
        in_order_of(edit_set(labels, [{"true_class": facts["class_names"][label]} for label in labels]), TEST, PATH)


def test_more_classes_than_the_images_have_do_not_matter() -> None:
    found, note = in_order_of(edit_set([2, 1], class_names=["gnu", "dog", "cat"]), TEST, PATH)
    assert found.labels.tolist() == [0, 1] and note is not None


def test_half_a_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mine\.pt"):
        in_order_of(edit_set([0, 1], [{"true_class": "dog"}, {}]), TEST, PATH)


@pytest.mark.parametrize("metadata", [[{}, {}], [{"true_class": "cat"}, {}], [{"true_class": 5}, {"true_class": []}]])
def test_labels_without_names_are_taken_with_a_note(metadata: list[dict[str, Any]]) -> None:
    found, note = in_order_of(edit_set([0, 3], metadata), TEST, PATH)
    assert found.labels.tolist() == [0, 3]
    assert note is not None and "could not be checked" in note and "cat, dog, emu, fox" in note
    _, nothing = in_order_of(edit_set([0, 3], metadata, dataset_hash="here"), TEST, PATH)
    assert nothing is None
    with pytest.raises(ToolError, match="0 to 3, not 4"):
        in_order_of(edit_set([0, 4], metadata), TEST, PATH)


def test_metadata_that_contradict_themselves_say_nothing() -> None:
    _, note = in_order_of(edit_set([0, 0], [{"true_class": "cat"}, {"true_class": "dog"}]), TEST, PATH)
    assert note is not None and "could not be checked" in note


def test_the_file_alone_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where the JSON file was not copied with it."""
    path = tmp_path / "mine_edit_dataset.pt"
    save_edit_set(edit_set([0, 1], class_names=["dog", "cat"]), path)
    (tmp_path / "mine_edit_metadata.json").unlink()
    assert load_for(path, TEST).labels.tolist() == [1, 0]
    assert capsys.readouterr().err.startswith("note: the classes of")
    with pytest.raises(UsageError, match="gnu"):
        load_for(path, replace(TEST, class_names=("dog", "gnu")))
