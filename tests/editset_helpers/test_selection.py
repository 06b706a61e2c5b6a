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
from helpers.images.source import Split

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


@pytest.mark.parametrize("split", ["test", "train"])
def test_only_images_taken_for_a_class(digits_test: ImageDataset, logits: torch.Tensor, split: Split) -> None:
    """Against one image at a time; the numbers of training images have a name of their own."""
    dataset, predicted = replace(digits_test, split=split), logits.argmax(dim=1).tolist()
    pairs = list(enumerate(zip(digits_test.labels.tolist(), predicted, strict=True)))
    key, other = ("image_idx", "training_idx") if split == "test" else ("training_idx", "image_idx")
    ways: list[tuple[Selection, list[int]]] = [
        (Selection("misclassified"), [row for row, (true, said) in pairs if said == 7 != true]),
        (Selection("by-class", "2"), [row for row, (true, said) in pairs if (true, said) == (2, 7)]),
        (Selection("by-class", "7", "correct"), [row for row, (true, said) in pairs if (true, said) == (7, 7)]),
        (Selection("by-class", "7", "any"), [row for row, (true, said) in pairs if (true, said) == (7, 7)]),
    ]
    for selection, expected in ways:
        found = select(replace(selection, predicted_class="7", split=split), dataset, logits)
        assert [entry[key] for entry in found.metadata] == expected != []
        assert not any(other in entry for entry in found.metadata)
        assert (found.source, found.provenance["predicted_class"]) == (split, "7")


def test_nobody_taken_for_a_class_is_explained(digits_test: ImageDataset) -> None:
    perfect = torch.nn.functional.one_hot(torch.from_numpy(digits_test.labels), 10).float()
    with pytest.raises(ToolError, match="takes no test image wrongly for 4"):
        select(Selection("misclassified", predicted_class="4"), digits_test, perfect)
    with pytest.raises(ToolError, match="takes no test image of class 2 wrongly for 4"):
        select(Selection("by-class", "2", predicted_class="4"), digits_test, perfect)
    with pytest.raises(UsageError, match="no class 'x'"):
        Selection("misclassified", predicted_class="x").check(digits_test)


def test_given_labels_take_the_place_of_the_datasets(digits_test: ImageDataset, logits: torch.Tensor) -> None:
    """An image that is called what its given label says is right; one that was right may now be wrong."""
    predicted = logits.argmax(dim=1).numpy()
    wrong, right = (np.flatnonzero((predicted == digits_test.labels) == is_right)[:2] for is_right in (False, True))
    given = {int(wrong[0]): int(predicted[wrong[0]]), int(right[0]): int(predicted[right[0]] + 1) % 10}
    relabeled = tuple(sorted(given.items()))
    whole = select(Selection("misclassified", relabeled=relabeled), digits_test, logits)
    usual = [entry["image_idx"] for entry in select(Selection("misclassified"), digits_test, logits).metadata]
    assert [entry["image_idx"] for entry in whole.metadata] == sorted({*usual, int(right[0])} - {int(wrong[0])})
    some = select(
        Selection("indices", indices=tuple(sorted([*given, int(right[1])])), relabeled=relabeled), digits_test, logits
    )
    entries = {entry["image_idx"]: entry for entry in some.metadata}
    assert {number: entry["true_label"] for number, entry in entries.items() if number in given} == given
    assert entries[int(wrong[0])]["margin"] > 0 > entries[int(right[0])]["margin"]
    assert {number for number, entry in entries.items() if "dataset_class" in entry} == set(given)
    assert some.relabeled == 2 and some.labels.tolist() == [entry["true_label"] for entry in some.metadata]
    assert some.provenance["relabeled"] == {str(number): str(label) for number, label in relabeled}
    assert entries[int(wrong[0])]["dataset_class"] == str(digits_test.labels[wrong[0]])


@pytest.mark.parametrize("number", [-1, 596, 10**9])
def test_a_number_that_no_image_has_is_refused(digits_test: ImageDataset, number: int) -> None:
    with pytest.raises(UsageError, match=f"no test image {number} of digits: .* 0 to 595"):
        Selection("indices", indices=(3, number)).check(digits_test)


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
    assert (
        default_name(replace(cat, predicted_class="DOG", split="train"), CIFAR) == "class_3_cat_taken_for_5_dog_train"
    )
    assert default_name(Selection("indices", indices=(3, 17)), CIFAR) == "images_3_17"
    assert default_name(Selection("indices", indices=tuple(range(9))), CIFAR) == "images_05060eca"
