from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from editset_helpers.edit_set import EditSet, load_edit_set, metadata_path, save_edit_set
from helpers.errors import ToolError
from helpers.files.writing import load_tensors
from helpers.images.preprocessing import CIFAR


@pytest.fixture
def edit_set() -> EditSet:
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    metadata = [{"image_idx": 3 * row, "margin": -0.5 * row, "type": "misclassified"} for row in range(6)]
    return EditSet(images, torch.tensor([0, 9, 3, 3, 1, 5]), metadata, {"dataset_hash": "abc", "seed": 4})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "mine_edit_dataset.pt"


def test_what_is_saved_is_loaded(edit_set: EditSet, path: Path) -> None:
    save_edit_set(edit_set, path)
    loaded = load_edit_set(path)
    assert torch.equal(loaded.images, edit_set.images)
    assert torch.equal(loaded.labels, edit_set.labels)
    assert (loaded.metadata, loaded.provenance) == (edit_set.metadata, edit_set.provenance)
    assert loaded.content_hash == edit_set.content_hash
    assert sorted(file.name for file in path.parent.iterdir()) == ["mine_edit_dataset.pt", "mine_edit_metadata.json"]


def test_the_files_are_what_others_can_read(edit_set: EditSet, path: Path) -> None:
    save_edit_set(edit_set, path)
    content = torch.load(path, weights_only=True)
    assert content.keys() == {"images", "labels", "metadata", "provenance"}
    assert content["provenance"] == {**edit_set.provenance, "edit_set_hash": edit_set.content_hash}
    facts = json.loads((path.parent / "mine_edit_metadata.json").read_text())
    assert facts["metadata"] == content["metadata"] == edit_set.metadata
    assert facts["seed"] == 4


def test_an_old_file_is_read_once_and_what_takes_its_place_is_read_anew(edit_set: EditSet, path: Path) -> None:
    with mock.patch("editset_helpers.edit_set.load_tensors", wraps=load_tensors) as reads:
        for number, images in enumerate((edit_set.images, 1 - edit_set.images)):
            save_edit_set(replace(edit_set, images=images), path)
            os.utime(path, (10**9, 10**9))
            assert all(torch.equal(load_edit_set(path).images, images) for _ in range(2))
            assert reads.call_count == number + 1


def test_the_hash_tells_images_and_labels_apart(edit_set: EditSet) -> None:
    other_labels = EditSet(edit_set.images, edit_set.labels.flip(0), edit_set.metadata)
    other_images = EditSet(edit_set.images.flip(0), edit_set.labels, edit_set.metadata)
    assert len({edit_set.content_hash, other_labels.content_hash, other_images.content_hash}) == 3
    assert EditSet(edit_set.images.clone(), edit_set.labels, []).content_hash == edit_set.content_hash


def test_a_subset_keeps_rows_together(edit_set: EditSet) -> None:
    subset = edit_set.subset(3, seed=1)
    rows = [entry["image_idx"] // 3 for entry in subset.metadata]
    assert len(subset) == 3
    assert rows == sorted(rows)
    assert torch.equal(subset.images, edit_set.images[rows])
    assert subset.labels.tolist() == edit_set.labels[rows].tolist()
    assert subset.provenance == edit_set.provenance
    assert edit_set.subset(None, seed=1).content_hash == edit_set.content_hash


def test_the_json_file_goes_beside_the_tensors() -> None:
    assert metadata_path(Path("a/b/foo_edit_dataset.pt")) == Path("a/b/foo_edit_metadata.json")
    assert metadata_path(Path("foo.pt")) == Path("foo_edit_metadata.json")


def _foreign(path: Path, **changes: Any) -> Path:
    """A set by others, with changes; a key given as None is left out."""
    content = {"images": torch.rand(4, 3, 64, 64), "labels": torch.tensor([1, 2, 3, 4]), **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_sets_by_others_in_other_precisions(path: Path, dtype: torch.dtype) -> None:
    images = torch.rand(4, 3, 64, 64).to(dtype)
    loaded = load_edit_set(_foreign(path, images=images, labels=torch.tensor([1, 2, 3, 4], dtype=torch.int32)))
    assert (loaded.images.dtype, loaded.labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(loaded.images, images.float())
    assert (loaded.metadata, loaded.provenance) == ([{}] * 4, {})


def test_bytes_are_divided_by_255(path: Path) -> None:
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(load_edit_set(_foreign(path, images=images)).images, images.float() / 255)


def test_metadata_by_others_may_be_columns(path: Path) -> None:
    columns = {"image_idx": torch.tensor([7, 8, 9, 10]), "true_class": ["a", "b", "c", "d"], "type": "misclassified"}
    loaded = load_edit_set(_foreign(path, metadata=columns))
    assert loaded.metadata[2] == {"image_idx": 9, "true_class": "c", "type": "misclassified"}
    indices = loaded.test_indices()
    assert indices is not None
    assert indices.tolist() == [7, 8, 9, 10]


def _with_pixel(value: float) -> torch.Tensor:
    images = torch.rand(4, 3, 64, 64)
    images[2, 1, 5, 5] = value
    return images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "'images' and 'labels'"),
        ({"labels": None}, "'images' and 'labels'"),
        ({"images": torch.rand(4, 3, 32, 32)}, r"\(N, 3, 64, 64\), not \(4, 3, 32, 32\)"),
        ({"images": torch.rand(3, 64, 64)}, r"not \(3, 64, 64\)"),
        ({"images": [[0.5]]}, "not list"),
        ({"images": torch.rand(0, 3, 64, 64), "labels": torch.zeros(0, dtype=torch.int64)}, "no images"),
        ({"images": torch.zeros(4, 3, 64, 64, dtype=torch.int64)}, "float32, not int64"),
        ({"images": _with_pixel(float("nan"))}, "NaN"),
        ({"images": _with_pixel(float("inf"))}, "NaN or infinite"),
        ({"images": _with_pixel(1.01)}, r"\[0, 1\]"),
        ({"images": _with_pixel(-0.01)}, r"\[0, 1\]"),
        ({"labels": torch.tensor([1, 2, 3])}, r"shape \(4,\), not \(3,\)"),
        ({"labels": torch.tensor([[1], [2], [3], [4]])}, r"not \(4, 1\)"),
        ({"labels": [1, 2, 3, 4]}, "not list"),
        ({"labels": torch.rand(4)}, "integers, not float32"),
        ({"labels": torch.ones(4, dtype=torch.bool)}, "integers, not bool"),
        ({"labels": torch.tensor([1, 2, 10, 4])}, "0 to 9, not 10"),
        ({"labels": torch.tensor([1, -1, 3, 4])}, "0 to 9, not -1"),
        ({"metadata": [{}] * 3}, "list of 4 dicts"),
        ({"metadata": [1, 2, 3, 4]}, "list of 4 dicts"),
        ({"metadata": {"image_idx": [1, 2, 3]}}, "list of 4 dicts"),
        ({"metadata": "none"}, "list of 4 dicts"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_file(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        load_edit_set(_foreign(path, **changes))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


class _Harmful:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.touch(), "empty"),
        (lambda path: path.write_bytes(_foreign(path).read_bytes()[:5000]), "damaged or truncated"),
        (lambda path: path.write_bytes(pickle.dumps(_Harmful())), "not a plain tensor file"),
        (lambda path: path.write_bytes(pickle.dumps(np.zeros(3))), "not a plain tensor file"),
        (lambda path: path.write_text("image_idx,label\n1,2\n"), "not a plain tensor file|damaged"),
        (lambda path: torch.save(torch.zeros(3), path), "not a dict"),
    ],
)
def test_a_file_that_is_no_edit_set(path: Path, workplace: Path, write: Callable[[Path], Any], message: str) -> None:
    path.parent.mkdir(parents=True)
    write(path)
    with pytest.raises(ToolError, match=message):
        load_edit_set(path)
    assert not (workplace / "harmed").exists()


def test_labels_may_be_any_where_the_classes_are_unknown(path: Path) -> None:
    labels = torch.tensor([1, 2, 99, 4])
    assert load_edit_set(_foreign(path, labels=labels), num_classes=None).labels.tolist() == [1, 2, 99, 4]
    with pytest.raises(ToolError, match="0 or more, not -3"):
        load_edit_set(_foreign(path, labels=-torch.tensor([3, 1, 1, 1])), num_classes=None)


def _as_older_versions_wrote(edit_set: EditSet, path: Path) -> None:
    """The provenance in the JSON file only."""
    save_edit_set(edit_set, path)
    content = torch.load(path, weights_only=True)
    del content["provenance"]
    torch.save(content, path)


def test_older_files_have_their_provenance_beside_them(edit_set: EditSet, path: Path) -> None:
    _as_older_versions_wrote(edit_set, path)
    assert load_edit_set(path).provenance == edit_set.provenance
    metadata_path(path).unlink()
    assert load_edit_set(path).provenance == {}


def test_the_file_alone_says_how_it_was_made(edit_set: EditSet, path: Path) -> None:
    save_edit_set(edit_set, path)
    metadata_path(path).unlink()
    assert load_edit_set(path).provenance == edit_set.provenance
    metadata_path(path).write_text('{"seed": ')  # whatever is beside it
    assert load_edit_set(path).provenance == edit_set.provenance


def test_provenance_of_other_images_is_left_out_but_for_the_class_names(edit_set: EditSet, path: Path) -> None:
    _as_older_versions_wrote(edit_set, path)
    torch.save({"images": edit_set.images.flip(0), "labels": edit_set.labels}, path)
    assert load_edit_set(path).provenance == {}
    save_edit_set(replace(edit_set, provenance={"seed": 4, "class_names": ["a", "b"]}), path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "labels": content["labels"].flip(0)}, path)
    assert load_edit_set(path).provenance == {"class_names": ["a", "b"]}


def test_a_damaged_json_file_of_an_older_set_is_named(edit_set: EditSet, path: Path) -> None:
    _as_older_versions_wrote(edit_set, path)
    metadata_path(path).write_text('{"seed": ')
    with pytest.raises(ToolError, match=r"mine_edit_metadata\.json is not a readable JSON"):
        load_edit_set(path)


def test_images_with_gradients_and_senseless_numbers_are_read(path: Path) -> None:
    images = torch.rand(4, 3, 64, 64).requires_grad_()
    odd = [2**62, True, -1, "7"]
    loaded = load_edit_set(_foreign(path, images=images, metadata=[{"image_idx": number} for number in odd]))
    assert torch.equal(loaded.images, images.detach()) and not loaded.images.requires_grad
    assert len(loaded.content_hash) == 64
    assert loaded.claimed_indices().tolist() == [2**62, -1, -1, -1]


@pytest.mark.parametrize("pixels", [None, "text", torch.zeros(3, 32, 32, 3), torch.zeros(2, 32, 32, 3).byte()])
def test_pixels_that_are_none_are_left_out(edit_set: EditSet, path: Path, pixels: Any) -> None:
    path.parent.mkdir()
    torch.save({"images": edit_set.images, "labels": edit_set.labels, "pixels": pixels}, path)
    assert load_edit_set(path).pixels is None


def test_pixels_are_kept_and_stay_with_their_images(edit_set: EditSet, path: Path) -> None:
    pixels = torch.arange(len(edit_set), dtype=torch.uint8)[:, None, None, None].expand(-1, 32, 32, 3).contiguous()
    save_edit_set(replace(edit_set, pixels=pixels), path)
    found = load_edit_set(path).at(np.array([2, 0])).pixels
    assert found is not None and found[:, 0, 0, 0].tolist() == [2, 0]


def test_a_subset_of_a_subset_knows_where_its_images_are_in_the_file(edit_set: EditSet) -> None:
    assert edit_set.file_positions.tolist() == list(range(6))
    twice = edit_set.subset(5, seed=1).subset(3, seed=2)
    assert torch.equal(twice.images, edit_set.images[torch.from_numpy(twice.file_positions)])


def test_an_unwritable_place_is_named(edit_set: EditSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="Cannot write"):
        save_edit_set(edit_set, tmp_path / "file" / "mine_edit_dataset.pt")


def test_a_full_disk_leaves_the_old_set(edit_set: EditSet, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_edit_set(edit_set, path)

    def full(content: Any, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ToolError, match="No space left"):
        save_edit_set(edit_set.subset(2, seed=0), path)
    assert load_edit_set(path).content_hash == edit_set.content_hash
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("value", [0.5, -0.5])
def test_plain_pixels_for_a_network_that_normalises_are_told(
    path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = replace(CIFAR, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    foreign = _foreign(path, images=torch.full((4, 3, 64, 64), value))
    load_edit_set(foreign, preprocessing=wanted)
    assert ("it does not say how they were prepared" in capsys.readouterr().err) == (value > 0)
    _foreign(path, images=torch.full((4, 3, 64, 64), value), provenance={"preprocessing": wanted.as_json()})
    load_edit_set(foreign, preprocessing=wanted)
    assert "prepared" not in capsys.readouterr().err
