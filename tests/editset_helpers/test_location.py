"""Which test images an edit set holds: numbers permuted, doubled, missing; pixels disturbed; against another way."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from editset_helpers.edit_set import EditSet
from editset_helpers.location import Location, locate, numbered, own_training_images, without
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import INPUT_SIZE, RESIZED, to_inputs

Pixels = NDArray[np.uint8]
FEW = settings(max_examples=40, deadline=None)


def dataset(images: Pixels) -> ImageDataset:
    return ImageDataset("noise", "test", images, np.zeros(len(images), dtype=np.int64), ("a", "b"), "0" * 64)


def noise(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def edits(images: Pixels | torch.Tensor, numbers: list[int | None]) -> EditSet:
    inputs = images if isinstance(images, torch.Tensor) else to_inputs(images)
    metadata = [{} if number is None else {"image_idx": number} for number in numbers]
    return EditSet(inputs, torch.zeros(len(inputs), dtype=torch.int64), metadata)


def inside_of(location: Location) -> list[int]:
    assert location.outside is not None
    return np.flatnonzero(~location.outside).tolist()


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Pixels, list[int], list[int | None], int]:
    """Test images of which some repeat others, which of them are edited, what their numbers say, and foreign ones."""
    kinds = draw(st.integers(2, 6))
    shown = draw(st.lists(st.integers(0, kinds - 1), min_size=2, max_size=9))
    test = noise(kinds, draw(st.integers(0, 99)))[shown]
    chosen = draw(st.lists(st.integers(0, len(shown) - 1), min_size=1, max_size=6))
    claims = draw(st.lists(st.none() | st.integers(-2, 12), min_size=len(chosen), max_size=len(chosen)))
    return test, chosen, claims, draw(st.integers(0, 2))


@FEW
@given(scenes())
def test_whatever_the_numbers_say_the_pixels_decide(scene: tuple[Pixels, list[int], list[int | None], int]) -> None:
    """Against comparing the bytes of every pair; foreign images have no number."""
    test, chosen, claims, foreign = scene
    images = np.concatenate([test[chosen], noise(foreign, 12345)])
    location = locate(edits(images, [*claims, *[None] * foreign]), dataset(test))
    expected = [j for j in range(len(test)) if any((test[j] == test[i]).all() for i in chosen)]
    assert inside_of(location) == expected
    for image, index in zip(images[: len(chosen)], location.indices, strict=False):
        np.testing.assert_array_equal(test[index], image)
    assert location.indices[len(chosen) :].tolist() == [-1] * foreign
    for claim, index, position in zip(claims, location.indices.tolist(), chosen, strict=False):
        if claim is not None and 0 <= claim < len(test) and (test[claim] == test[position]).all():
            assert index == claim


@FEW
@given(st.permutations(range(8)))
def test_permuted_numbers_are_put_right_and_said(order: list[int]) -> None:
    test = noise(12)
    location = locate(edits(test[:8], list(order)), dataset(test))
    assert location.indices.tolist() == list(range(8)) == inside_of(location)
    wrong = sum(number != place for place, number in enumerate(order))
    assert location.note is None if wrong == 0 else location.note is not None and f"of {wrong} of 8" in location.note


@FEW
@given(
    st.integers(0, 4),
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2)),
    st.integers(1, 255),
    st.booleans(),
)
def test_one_disturbed_pixel_is_another_image(
    which: int, where: tuple[int, int, int], by: int, is_numbered: bool
) -> None:
    """It is near the one it was made from, so nobody knows; beside its original in the test set each is itself."""
    test, row = noise(5), np.index_exp[where]
    disturbed = test[which].copy()
    disturbed[row] = (int(disturbed[row]) + by) % 256
    moved = abs(int(disturbed[row]) - int(test[which][row]))
    alone = locate(edits(disturbed[None], [which if is_numbered else None]), dataset(test))
    if moved > 9:
        assert alone.outside is None and alone.note is not None and "nearly test images" in alone.note
        assert alone.indices.tolist() == [-1]
    both = np.concatenate([test, disturbed[None]])
    assert inside_of(locate(edits(disturbed[None], [which if is_numbered else None]), dataset(both))) == [5]
    assert inside_of(locate(edits(test[[which]], [5]), dataset(both))) == [which]


def compressed(images: Pixels, quality: int) -> Pixels:
    copies = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        copies.append(np.asarray(Image.open(stream)))
    return np.stack(copies)


@pytest.mark.parametrize("quality", [95, 75, 30])
@pytest.mark.parametrize("is_numbered", [True, False])
def test_copies_by_jpeg_are_undecided(digits_test: ImageDataset, quality: int, is_numbered: bool) -> None:
    rows = list(range(0, 596, 30))
    edit_set = edits(compressed(digits_test.images[rows], quality), [row if is_numbered else None for row in rows])
    location = locate(edit_set, digits_test)
    assert location.outside is None or inside_of(location) == rows  # of high quality as near as resizing anew
    assert location.outside is None or quality == 95
    if location.outside is None:
        assert location.note is not None and "drawdown is not given" in location.note


def test_images_that_others_resized_in_bytes_are_found(digits_test: ImageDataset) -> None:
    rows = list(range(3, 596, 40))
    off = (RESIZED - INPUT_SIZE) // 2
    resized = [
        np.asarray(Image.fromarray(digits_test.images[row]).resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))
        for row in rows
    ]
    inputs = torch.from_numpy(np.stack(resized)[:, off : off + 64, off : off + 64]).permute(0, 3, 1, 2).float() / 255
    for numbers in ([*rows], [None] * len(rows), [*rows[1:], rows[0]]):
        location = locate(edits(inputs, list(numbers)), digits_test)
        assert location.indices.tolist() == rows == inside_of(location)


def test_an_image_as_near_to_two_that_differ_is_undecided() -> None:
    one = np.full((1, 32, 32, 3), 100, dtype=np.uint8)
    other, between = one + np.uint8(4), to_inputs(one) + 2 / 255
    location = locate(edits(between, [0]), dataset(np.concatenate([one, other])))
    assert location.outside is None and location.indices.tolist() == [-1]


@pytest.mark.parametrize("number", [0, 7, 2**62])
def test_a_number_whose_image_is_nowhere_is_undecided(number: int) -> None:
    location = locate(edits(noise(1, 5), [number]), dataset(noise(3)))
    assert location.outside is None and location.note is not None and "1 only by number" in location.note


def test_a_set_of_everything_and_a_set_of_nothing_here() -> None:
    test = dataset(noise(4))
    everything = locate(edits(test.images, [0, 1, 2, 3]), test)
    assert inside_of(everything) == [0, 1, 2, 3] and "every test image" in str(everything.note)
    nothing = locate(edits(noise(2, 9), [None, None]), test)
    assert inside_of(nothing) == [] and nothing.note is None


def test_true_numbers_take_the_place_of_claims() -> None:
    test = dataset(noise(4))
    edit_set = edits(np.concatenate([test.images[[2, 0]], noise(1, 9)]), [0, None, None])
    edit_set = replace(edit_set, metadata=[{"type": "x", **facts} for facts in edit_set.metadata])
    assert numbered(edit_set, locate(edit_set, test)).metadata == [
        {"type": "x", "image_idx": 2},
        {"type": "x", "image_idx": 0},
        {"type": "x"},
    ]


def of_source(edit_set: EditSet, **provenance: str) -> EditSet:
    return replace(edit_set, provenance=provenance)


@FEW
@given(st.sets(st.integers(0, 5)), st.integers(0, 2), st.integers(0, 2))
def test_pictures_of_ones_own_take_only_their_own_and_near_images_away(
    listed: set[int], near: int, foreign: int
) -> None:
    """Of a set that does not say that its pictures are from elsewhere, near ones are undecided."""
    test, chosen = noise(9), sorted(listed)
    disturbed = test[6 : 6 + near].copy()
    disturbed[:, 3, 3] += np.uint8(128)
    images = np.concatenate([test[chosen], disturbed, noise(foreign, 7)])
    if not len(images):
        return
    edit_set = edits(images, [None] * len(images))
    location = locate(of_source(edit_set, source="files"), dataset(test))
    assert inside_of(location) == [*chosen, *range(6, 6 + near)]
    assert location.indices.tolist() == [*chosen, *[-1] * (near + foreign)]
    assert near or location.note is None
    if near:
        assert location.note is not None and f"{near} of {len(images)} edit images are nearly" in location.note
        assert locate(edit_set, dataset(test)).outside is None


def test_a_training_image_is_no_test_image_however_alike_they_are() -> None:
    test = noise(4)
    like = test[[2, 1, 0]].copy()
    like[1:, 3, 3] += np.uint8(128)
    metadata = [{"training_idx": 2}, {"training_idx": 1}, {"training_idx": 3}]
    edit_set = of_source(replace(edits(like, [None] * 3), metadata=metadata), split="train")
    location = locate(edit_set, dataset(test))
    assert inside_of(location) == [2] and location.note is None
    assert numbered(edit_set, location).metadata == [{**metadata[0], "image_idx": 2}, *metadata[1:]]


def test_training_images_in_a_set_are_found_with_their_twins() -> None:
    """A number whose image has other pixels is none."""
    training = replace(dataset(noise(5)[[0, 1, 2, 1, 4]]), split="train")
    metadata = [{"training_idx": 1}, {"training_idx": 2}, {"training_idx": 99}, {"image_idx": 4}]
    edit_set = replace(edits(training.images[[1, 0, 0, 4]], [None] * 4), metadata=metadata)
    nowhere = [np.zeros(0, dtype=np.int64)] * 4
    assert own_training_images(edit_set, training, nowhere).tolist() == [1, 3]


def test_training_images_without_a_number_are_found_by_their_pixels() -> None:
    training = replace(dataset(noise(5)[[0, 1, 2, 1, 4]]), split="train")
    edit_set = edits(training.images[[1, 4, 0]], [None] * 3)
    alike = [np.array([1, 2, 3]), np.array([0, 4]), np.array([2])]
    assert own_training_images(edit_set, training, alike).tolist() == [1, 3, 4]


def test_disputed_images_are_left_out() -> None:
    assert without(np.array([True, False, True, True]), [0, 1]).tolist() == [False, False, True, True]
