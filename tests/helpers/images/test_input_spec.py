"""What is remembered beside weights: any file is either read as it was written, or refused in one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.files.outputs import preprocessing_path
from helpers.images import datasets
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import USUAL, InputSpec, keep_spec, read_classes, spec_of, spec_with
from helpers.images.preprocessing import CIFAR, IMAGENET, Preprocessing, stored_pixels

SIZES = st.tuples(st.integers(63, 300), st.integers(0, 80)).map(lambda pair: (pair[0], sum(pair)))
MEANS = st.tuples(*[st.floats(0, 1)] * 3)
STDS = st.tuples(*[st.floats(0.001, 1)] * 3)
NAMES = st.lists(st.text(st.characters(categories=("L", "N")), min_size=1), min_size=2, max_size=5, unique=True)
SPECS = st.builds(
    lambda sizes, mean, std, squeezed, names: InputSpec(
        Preprocessing(sizes[0], sizes[1], mean, std, squeezed), None if names is None else tuple(names)
    ),
    SIZES,
    MEANS,
    STDS,
    st.booleans(),
    st.none() | NAMES,
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
KEPT = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@KEPT
@given(spec=SPECS)
def test_what_is_kept_is_read_again(spec: InputSpec, tmp_path: Path) -> None:
    weights = tmp_path / "net.pth"
    keep_spec(spec, weights)
    assert spec_of(weights) == spec
    assert preprocessing_path(weights).exists() == (spec != USUAL)
    keep_spec(USUAL, weights)
    assert spec_of(weights) == USUAL and not preprocessing_path(weights).exists()


def test_of_a_link_to_weights_the_file_beside_these_counts(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "net.pth").symlink_to(tmp_path / "there/theirs.pth")
    keep_spec(InputSpec(IMAGENET), tmp_path / "there/theirs.pth")
    assert spec_of(tmp_path / "net.pth") == InputSpec(IMAGENET)
    keep_spec(InputSpec(Preprocessing(64, 70)), tmp_path / "net.pth")
    assert spec_of(tmp_path / "net.pth") == InputSpec(Preprocessing(64, 70))


@KEPT
@given(name=st.sampled_from(["input_size", "resize", "mean", "std", "squeezed", "classes", "extra"]), value=JSON)
def test_another_value_is_read_or_refused_in_a_sentence(name: str, value: Any, tmp_path: Path) -> None:
    content = {**InputSpec(IMAGENET, ("a", "b")).as_json(), name: value}
    preprocessing_path(tmp_path / "net.pth").write_text(json.dumps(content))
    try:
        read = spec_of(tmp_path / "net.pth")
    except ToolError as error:
        assert "net_preprocessing.json" in str(error) and "\n" not in str(error)
    else:
        assert name != "extra" and read.as_json()[name] == value


@KEPT
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    preprocessing_path(tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ToolError, match=r"net_preprocessing\.json"):
        spec_of(tmp_path / "net.pth")


@pytest.mark.parametrize("sizes", [(0, 0), (-224, 256), (62, 70), (224, 223), (224, 10**9), (224.0, 256), (True, 256)])
def test_impossible_sizes(sizes: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="input size"):
        Preprocessing(*sizes)


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (-0.2, 0.2, 0.2), (1.0, 1.0), (float("nan"), 1.0, 1.0), "111", None])
def test_impossible_deviations(std: Any) -> None:
    with pytest.raises(UsageError, match="three numbers"):
        Preprocessing(224, 256, std=std)


def test_options_change_what_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("dog\n\n cat \n")
    told = spec_with(InputSpec(IMAGENET), None, (227, None), (None, None), tmp_path / "names.txt")
    assert told == InputSpec(replace(IMAGENET, input_size=227), ("dog", "cat"))
    assert spec_with(USUAL, None, (64, 70)).preprocessing == Preprocessing(64, 70)
    assert spec_with(USUAL, None, normal=((0.5,) * 3, (0.5,) * 3)).preprocessing.squeezed
    assert spec_with(told, "cifar") == InputSpec(CIFAR, ("dog", "cat"))
    with pytest.raises(UsageError, match="cannot be 300 and 256"):
        spec_with(InputSpec(IMAGENET), None, (300, None))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "two names"), ("a\n", "two names"), ("a\nb\na\n", "'a' is there twice"), (None, "Cannot")],
)
def test_files_that_name_no_classes(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ToolError, match=message):
        read_classes(tmp_path / "names.txt")


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (256, 256), (256, 90), (32, 32), (225, 256)])
@pytest.mark.parametrize("made", [IMAGENET, Preprocessing(63, 63), Preprocessing(100, 133)])
def test_stored_pixels_are_torchvisions(size: tuple[int, int], made: Preprocessing) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    theirs = transforms.Compose([transforms.Resize(made.resize), transforms.CenterCrop(made.input_size)])(picture)
    assert np.array_equal(stored_pixels(picture, made), np.asarray(theirs))


def test_every_preprocessing_has_its_own_hash_and_the_usual_that_of_the_pixels(
    workplace: Path, image_folder: Path
) -> None:
    def load(spec: InputSpec) -> ImageDataset:
        return load_dataset(DatasetName.CIFAR10, "test", image_folder, spec)

    specs = [
        USUAL,
        InputSpec(IMAGENET),
        InputSpec(replace(IMAGENET, std=(0.2, 0.2, 0.2))),
        InputSpec(Preprocessing(64, 70)),
    ]
    assert len({load(spec).content_hash for spec in specs}) == len(specs)
    assert load(InputSpec(CIFAR, ("cat", "dog"))).content_hash == load(USUAL).content_hash
    turned = load(InputSpec(CIFAR, ("dog", "bird", "cat")))
    assert turned.content_hash != load(USUAL).content_hash
    assert (turned.class_names, turned.labels.tolist()) == (("dog", "bird", "cat"), [2] * 5 + [0] * 5)
    with pytest.raises(UsageError, match="images of 'cat'"):
        load(InputSpec(CIFAR, ("dog", "bird")))


def test_the_order_is_told_where_torchvision_has_another(
    workplace: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets._tell_order.cache_clear()
    load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert "counting order" not in capsys.readouterr().err
    for split in ("train", "test"):
        shutil.move(image_folder / split / "cat", image_folder / split / "10")
        shutil.move(image_folder / split / "dog", image_folder / split / "2")
    for _ in range(2):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert (
        capsys.readouterr().err.count("output 0 is '2'. Sorted as text, as torchvision does it, it would be '10'") == 1
    )
    load_dataset(DatasetName.CIFAR10, "test", image_folder, InputSpec(CIFAR, ("10", "2")))
    assert "counting order" not in capsys.readouterr().err
