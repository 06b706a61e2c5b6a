"""Names of edit sets and what they hold: whatever lies about, what is used holds what is asked for."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from editset_helpers.building import candidates, select
from editset_helpers.edit_set import load_edit_set, save_edit_set
from editset_helpers.generation import Source, Wanted, find_or_make, place_of
from editset_helpers.selection import Selection, default_name
from helpers.errors import ToolError
from helpers.images.datasets import ImageDataset

NAMES = ("hot dog", "hot_dog", "cat")
SEEDS = st.integers(0, 2)
SELECTIONS = st.builds(
    Selection,
    st.sampled_from(["misclassified", "by-class", "indices"]),
    st.sampled_from([*NAMES, "0", "2"]),
    st.sampled_from(["incorrect", "correct", "any"]),
    st.none() | st.integers(1, 4),
    SEEDS,
    predicted_class=st.sampled_from([None, None, *NAMES]),
    indices=st.sampled_from([(3,), (0, 11), tuple(range(9)), tuple(range(1, 10))]),
    relabeled=st.sampled_from([(), (), ((3, 1),), ((3, 2),)]),
)


def images(content_hash: str) -> ImageDataset:
    rng = np.random.default_rng(len(content_hash))
    pixels = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    return ImageDataset("x", "test", pixels, np.arange(12, dtype=np.int64) % 3, NAMES, content_hash)


HERE = [images("a" * 64), images("b" * 64)]
LOGITS = torch.eye(3)[torch.tensor([1, 1, 2, 0, 2, 0] * 2)]


@settings(max_examples=200, deadline=None)
@given(SELECTIONS, SELECTIONS)
def test_selections_of_one_name_are_one_selection(one: Selection, other: Selection) -> None:
    names = [default_name(selection, NAMES) for selection in (one, other)]
    facts = [Wanted(selection, HERE[0], "w").facts for selection in (one, other)]
    assert (names[0] == names[1]) == (facts[0] == facts[1])


HELD = SELECTIONS.filter(lambda selection: len(candidates(selection, HERE[0], LOGITS.argmax(dim=1).numpy())) > 0)
WORLDS = st.tuples(HELD, st.sampled_from(HERE), st.sampled_from(["1" * 64, "2" * 64]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(WORLDS, st.booleans()), min_size=1, max_size=4), WORLDS)
def test_what_is_used_holds_what_is_asked_for(
    before: list[tuple[tuple[Selection, ImageDataset, str], bool]], asked: tuple[Selection, ImageDataset, str]
) -> None:
    """Sets of other selections, images and networks lie about, some of them under the name of what is asked for."""
    with tempfile.TemporaryDirectory() as name:
        folder, wanted = Path(name), Wanted(*asked)
        for world, takes_the_name in before:
            place = place_of(Wanted(*world), folder)
            path = folder / f"{default_name(asked[0], NAMES)}_edit_dataset.pt" if takes_the_name else place.path
            save_edit_set(made(*world), path)
        place = place_of(wanted, folder)
        if place.exists:
            assert wanted.misfit(place.path) is None
            assert load_edit_set(place.path).content_hash == made(*asked).content_hash
        else:
            assert not place.path.exists()
        assert (place.note is None) == (place.path.stem == f"{default_name(asked[0], NAMES)}_edit_dataset")


def made(selection: Selection, test: ImageDataset, weights: str) -> Any:
    found = select(selection, test, LOGITS)
    return replace(found, provenance={**found.provenance, "weights_hash": weights})


class Network(nn.Module):
    """Says of every image the class whose colour it has most of."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean(dim=(2, 3))


def test_a_set_is_made_once_and_beside_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(HERE[0], Network(), Path("w.pth"), "1" * 64)
    few, whole = Selection("misclassified", max_samples=2), Selection("misclassified")
    first = find_or_make(whole, source, tmp_path, "command")
    assert first.name == "misclassified_edit_dataset.pt" and "generating it" in capsys.readouterr().err
    assert find_or_make(whole, source, tmp_path, "command") == first and capsys.readouterr().err == ""
    save_edit_set(load_edit_set(find_or_make(few, source, tmp_path, "command")), first)  # a left-over set of two
    capsys.readouterr()
    second = find_or_make(whole, source, tmp_path, "command")
    assert second != first and len(load_edit_set(second)) > 2
    assert "was made with --max-samples 2, so" in capsys.readouterr().err
    others = [
        replace(source, weights_hash="2" * 64),
        replace(source, images=HERE[1]),
        replace(source, images=HERE[1], weights_hash="2" * 64),
    ]
    paths = [find_or_make(whole, other, tmp_path, "command") for other in others]
    assert len({first, second, *paths}) == 5
    for one, other in itertools.pairwise([source, *others, source]):
        assert find_or_make(whole, one, tmp_path, "") != find_or_make(whole, other, tmp_path, "")


def test_a_damaged_set_of_that_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "misclassified_edit_dataset.pt").touch()
    with pytest.raises(ToolError, match=r"misclassified_edit_dataset\.pt is empty"):
        place_of(Wanted(Selection("misclassified"), HERE[0], "w"), tmp_path)
