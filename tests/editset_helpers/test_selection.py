from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from editset_helpers.building import select
from editset_helpers.edit_set import choose
from editset_helpers.selection import Correctness, Selection, default_name, resolve_class
from helpers.errors import ToolError, UsageError
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def logits(digits_test: ImageDataset) -> torch.Tensor:
    """Right for about half of the digits."""
    noise = torch.randn(len(digits_test), 10, generator=torch.Generator().manual_seed(0))
    return noise + 1.5 * torch.nn.functional.one_hot(torch.from_numpy(digits_test.labels), 10)


def test_a_choice_is_sorted_repeatable_and_nested() -> None:
    few, many = choose(1000, 20, seed=7), choose(1000, 300, seed=7)
    assert few.tolist() == sorted(set(few.tolist()))
    assert len(few) == 20
    assert few.tolist() == choose(1000, 20, seed=7).tolist() != choose(1000, 20, seed=8).tolist()
    assert set(few) < set(many)
    assert 350 < many.mean() < 650


@pytest.mark.parametrize("max_samples", [None, 5, 6])
def test_all_are_chosen_where_no_more_are_asked_for(max_samples: int | None) -> None:
    assert choose(5, max_samples, seed=3).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("max_samples", "seed", "option"), [(0, 0, "--max-samples"), (-1, 0, "--max"), (1, -1, "--seed")]
)
def test_a_senseless_choice_is_refused(max_samples: int, seed: int, option: str) -> None:
    with pytest.raises(UsageError, match=option):
        choose(5, max_samples, seed)


def test_misclassified_images_are_all_of_them(digits_test: ImageDataset, logits: torch.Tensor) -> None:
    edit_set = select(Selection("misclassified"), digits_test, logits)
    wrong = [
        row for row, label in enumerate(digits_test.labels) if logits[row].tolist().index(max(logits[row])) != label
    ]
    assert 100 < len(wrong) < 500
    assert [entry["image_idx"] for entry in edit_set.metadata] == wrong
    assert torch.equal(edit_set.images, to_inputs(digits_test.images[wrong]))
    assert edit_set.labels.tolist() == digits_test.labels[wrong].tolist()
    assert edit_set.provenance["dataset_hash"] == digits_test.content_hash
    assert edit_set.provenance["candidates"] == len(wrong)


def test_metadata_says_what_the_network_thinks(digits_test: ImageDataset, logits: torch.Tensor) -> None:
    for entry in select(Selection("misclassified", max_samples=30, seed=1), digits_test, logits).metadata:
        row = logits[entry["image_idx"]].double().numpy()
        probabilities = np.exp(row) / np.exp(row).sum()
        true, predicted = digits_test.labels[entry["image_idx"]], row.argmax()
        assert (entry["true_label"], entry["predicted_label"]) == (true, predicted)
        assert (entry["true_class"], entry["predicted_class"]) == (str(true), str(predicted))
        assert entry["true_probability"] == pytest.approx(probabilities[true], rel=1e-6)
        assert entry["predicted_probability"] == pytest.approx(probabilities[predicted], rel=1e-6)
        assert entry["margin"] == pytest.approx(row[true] - row[predicted], abs=1e-6)
        assert entry["type"] == "misclassified"


@pytest.mark.parametrize("correctness", ["incorrect", "correct", "any"])
def test_one_class_by_correctness(digits_test: ImageDataset, logits: torch.Tensor, correctness: Correctness) -> None:
    edit_set = select(Selection("by-class", "4", correctness), digits_test, logits)
    assert set(edit_set.labels.tolist()) == {4}
    is_right = logits.argmax(dim=1).numpy() == digits_test.labels
    right, total = int(is_right[digits_test.labels == 4].sum()), int((digits_test.labels == 4).sum())
    assert len(edit_set) == {"incorrect": total - right, "correct": right, "any": total}[correctness]
    assert {entry["type"] for entry in edit_set.metadata} == {f"class_homogeneous_{correctness}"}
    if correctness != "any":
        assert {entry["margin"] > 0 for entry in edit_set.metadata} == {correctness == "correct"}


def test_selecting_some_is_a_subset_of_all(digits_test: ImageDataset, logits: torch.Tensor) -> None:
    whole = select(Selection("misclassified"), digits_test, logits)
    some = select(Selection("misclassified", max_samples=40, seed=5), digits_test, logits)
    assert whole.subset(40, seed=5).metadata == some.metadata
    assert whole.subset(40, seed=5).content_hash == some.content_hash


def test_nothing_to_select_is_explained(digits_test: ImageDataset) -> None:
    perfect = torch.nn.functional.one_hot(torch.from_numpy(digits_test.labels), 10).float()
    with pytest.raises(ToolError, match="every test image right"):
        select(Selection("misclassified"), digits_test, perfect)
    with pytest.raises(ToolError, match="every test image of class 2 right"):
        select(Selection("by-class", "2"), digits_test, perfect)
    with pytest.raises(ToolError, match="no test image of class 2 right"):
        select(Selection("by-class", "2", "correct"), digits_test, -perfect)


@pytest.mark.parametrize(("target", "position"), [("3", 3), ("cat", 3), ("Cat", 3), ("0", 0), ("truck", 9)])
def test_a_class_is_named_or_numbered(target: str, position: int) -> None:
    assert resolve_class(target, CIFAR) == position


def test_a_name_goes_before_a_number() -> None:
    assert resolve_class("1", ("1", "2", "10")) == 0
    assert resolve_class("10", ("1", "2", "10")) == 2


@pytest.mark.parametrize("target", ["10", "-1", "lion", "", "3.0", "٣", None])
def test_an_unknown_class_is_refused_with_those_there_are(target: str | None) -> None:
    with pytest.raises(UsageError, match=r"0 airplane.*3 cat.*9 truck") as caught:
        resolve_class(target, CIFAR)
    assert caught.value.exit_code == 2


def test_names_of_files() -> None:
    cat = Selection("by-class", "cat")
    assert default_name(Selection("misclassified"), CIFAR) == "misclassified"
    assert default_name(cat, CIFAR) == "class_3_cat"
    assert default_name(replace(cat, correctness="correct"), CIFAR) == "class_3_cat_correct"
    assert default_name(Selection("by-class", "1"), ("a", "hot dog / b")) == "class_1_hot_dog_b"
    assert default_name(replace(cat, max_samples=9, seed=2), CIFAR) == "class_3_cat_9_seed2"
