"""Cached arrays: a name holds all that decides the content, and a cache that is damaged or full is no obstacle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edits.network.training_images import TrainingImages
from edits.network.training_metric import cached_metric
from helpers import array_cache
from helpers.array_cache import Fact, cache_path, keep_array, read_array
from helpers.images.datasets import ImageDataset
from model_classes.alexnet import blank_alexnet
from sytorch import KroneckerMetric

FACTS = st.dictionaries(
    st.sampled_from(["weights", "images", "ridge", "count", "can_flip"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
)


@settings(deadline=None)
@given(FACTS, FACTS)
def test_other_facts_have_another_name(some: dict[str, Fact], others: dict[str, Fact]) -> None:
    assume(json.dumps(some, sort_keys=True) != json.dumps(others, sort_keys=True))
    assert cache_path("x", **some) != cache_path("x", **others)
    assert cache_path("x", **some) == cache_path("x", **dict(reversed(some.items()))) != cache_path("y", **some)


@settings(deadline=None)
@given(st.floats(1e-12, 1e3))
def test_ridges_that_differ_in_their_last_digit_have_their_own_files(ridge: float) -> None:
    names = {cache_path("factors", ridge=value) for value in (ridge, np.nextafter(ridge, 0), np.nextafter(ridge, 1e9))}
    assert len(names) == 3


def test_the_format_and_the_preprocessing_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {cache_path("x", count=1)}
    for name, value in (("FORMAT", -1), ("PREPROCESSING", "none")):
        with monkeypatch.context() as patched:
            patched.setattr(array_cache, name, value)
            names.add(cache_path("x", count=1))
    assert len(names) == 3


def test_images_that_may_be_mirrored_have_their_own_files(digits_train: ImageDataset) -> None:
    """The digits as an image folder are the same images, and mirrored ones count there."""
    facts = [TrainingImages(blank_alexnet(), "w", digits_train, can_flip).facts for can_flip in (False, True)]
    assert cache_path("factors", **facts[0]) != cache_path("factors", **facts[1])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00v\x00{'descr'", b"nonsense", b"PK\x05\x06" + bytes(18)])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache.npy").write_bytes(content)
    assert read_array(tmp_path / "cache.npy", (3,)) is None


@pytest.mark.parametrize(
    ("shape", "dtype", "fits"),
    [
        ((4, 3), np.float32, True),
        ((4, None), np.float32, True),
        ((3, 4), np.float32, False),
        ((4, 3, 1), np.float32, False),
        ((5, 3), np.float32, False),
        ((4, 3), np.float64, False),
    ],
)
def test_an_array_of_another_shape_or_type_is_no_cache(
    tmp_path: Path, shape: tuple[int | None, ...], dtype: Any, fits: bool
) -> None:
    keep_array(tmp_path / "x.npy", np.ones((4, 3), dtype=np.float32))
    found = read_array(tmp_path / "x.npy", shape, dtype)
    assert (found is not None) == fits
    if found is not None:
        found[0] = 7.0  # a copy of one's own
    again = read_array(tmp_path / "x.npy", (4, 3))
    assert again is not None and (again == 1).all()


def test_a_cache_that_cannot_be_written_is_mentioned_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    for name in ("a.npy", "b.npy"):
        keep_array(tmp_path / "cache" / name, np.ones(3))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "not kept for the next run" in told and "a.npy" in told


def test_a_metric_is_the_same_with_and_without_a_cache(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    metric = KroneckerMetric(*(torch.rand(n, n, generator=rng, dtype=torch.float64) for n in (3, 2)))
    (tmp_path / "file").touch()
    found = [
        cached_metric(lambda: metric, (folder / "i.npy", folder / "o.npy"), 2)
        for folder in (tmp_path / "file", tmp_path, tmp_path)
    ]
    for one in found[1:]:
        assert one.outputs is not None and found[0].outputs is not None
        assert torch.equal(one.inputs, found[0].inputs) and torch.equal(one.outputs, found[0].outputs)
    keep_array(tmp_path / "i.npy", np.ones((3, 2), dtype=np.float32))
    assert torch.equal(
        cached_metric(lambda: metric, (tmp_path / "i.npy", tmp_path / "o.npy"), 2).inputs, found[0].inputs
    )
