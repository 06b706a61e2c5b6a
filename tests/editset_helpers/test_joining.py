"""Joined edit sets: each picture once, each with the set and the place it came from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from editset_helpers.edit_set import EditSet, load_edit_set
from editset_helpers.joining import Member, join, keep_joined
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset
from tests.conftest import CHECKOUT  # noqa: F401 - the suite's profile

PICTURES = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
SETS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=4)


def dataset() -> ImageDataset:
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8).numpy()
    return ImageDataset("some", "test", images, LABELS[:1].numpy(), ("a", "b", "c"), "0" * 64)


def member(number: int, chosen: list[int]) -> Member:
    return Member(Path(f"{number}.pt"), EditSet(PICTURES[chosen], LABELS[chosen], [{} for _ in chosen]))


@given(sets=SETS)
def test_every_picture_is_there_and_comes_from_the_first_set_that_has_it(sets: list[list[int]]) -> None:
    joined = join([member(number, chosen) for number, chosen in enumerate(sets)], dataset())
    expected = [
        (number, place, picture)
        for number, chosen in enumerate(sets)
        for place, picture in enumerate(chosen)
        if all(picture not in earlier for earlier in sets[:number])
    ]
    assert [(f"{number}.pt", place) for number, place, _ in expected] == [
        (facts["edit_set"], facts["edit_image"]) for facts in joined.metadata
    ]
    assert torch.equal(joined.images, PICTURES[[picture for *_, picture in expected]])
    assert torch.equal(joined.labels, LABELS[[picture for *_, picture in expected]])
    again = join([Member(Path("joined.pt"), joined), member(9, sets[0])], dataset())
    assert again.metadata == joined.metadata and again.content_hash == joined.content_hash


@given(sets=SETS, picture=st.integers(0, 5))
def test_a_picture_with_two_labels_is_refused(sets: list[list[int]], picture: int) -> None:
    other = Member(Path("x.pt"), EditSet(PICTURES[[picture]], (LABELS[[picture]] + 1) % 3, [{}]))
    members = [member(number, chosen) for number, chosen in enumerate([*sets, [picture]])]
    with pytest.raises(UsageError, match=r"image 0 of x\.pt is to be [abc], and image \d of \d\.pt, the same picture"):
        join([*members, other], dataset())


def test_a_joined_set_is_kept_once_under_a_name_of_its_own() -> None:
    joined = join([member(0, [0, 1]), member(1, [1, 2])], dataset())
    with tempfile.TemporaryDirectory() as folder:
        path = keep_joined(joined, Path(folder))
        assert keep_joined(joined, Path(folder)) == path
        kept = load_edit_set(path)
    assert kept.content_hash == joined.content_hash and kept.metadata == joined.metadata
    assert kept.provenance["edit_sets"] == ["0.pt", "1.pt"]
