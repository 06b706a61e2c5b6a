from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10

from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.images import decoding as image_decoding
from helpers.images.datasets import ImageDataset, load_dataset


def test_digits_are_split_by_class_and_nothing_is_lost(digits_train: ImageDataset, digits_test: ImageDataset) -> None:
    from sklearn.datasets import load_digits

    whole = np.bincount(load_digits().target)
    train, test = np.bincount(digits_train.labels), np.bincount(digits_test.labels)
    assert (train + test == whole).all()
    assert (test == whole // 3).all()
    assert digits_test.class_names == tuple("0123456789")
    assert digits_test.content_hash != digits_train.content_hash


def test_digits_keep_their_shape_when_enlarged(digits_test: ImageDataset) -> None:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    third_zero = bundle.images[np.flatnonzero(bundle.target == 0)[2]]
    first_zero_of_test = digits_test.images[np.flatnonzero(digits_test.labels == 0)[0]]
    assert first_zero_of_test.shape == (32, 32, 3)
    assert (first_zero_of_test[..., 0] == first_zero_of_test[..., 2]).all()
    blocks = first_zero_of_test[..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), third_zero.ravel())[0, 1] > 0.98
    assert first_zero_of_test.max() > 200


def test_digits_take_no_data_root(workplace: Path) -> None:
    with pytest.raises(UsageError, match="--data-root"):
        load_dataset(DatasetName.DIGITS, "test", workplace)


def test_an_image_folder_is_read_in_order(workplace: Path, image_folder: Path) -> None:
    dataset = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert (dataset.name, dataset.split, dataset.class_names) == ("pets", "test", ("cat", "dog"))
    assert dataset.labels.tolist() == [0] * 5 + [1] * 5
    assert len(load_dataset(DatasetName.CIFAR10, "train", image_folder)) == 6
    for position, image in enumerate(dataset.images):
        path = image_folder / "test" / ("cat", "dog")[position // 5] / f"{position % 5}.png"
        assert (image == np.asarray(Image.open(path))).all()


def test_the_content_hash_is_that_of_images_labels_and_names(workplace: Path, image_folder: Path) -> None:
    dataset = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    names = json.dumps(["cat", "dog"]).encode()
    expected = hashlib.sha256(dataset.images.tobytes() + dataset.labels.tobytes() + names).hexdigest()
    assert dataset.content_hash == expected


def test_numbers_in_names_are_in_counting_order(workplace: Path, image_folder: Path) -> None:
    for split in ("train", "test"):
        (image_folder / split / "cat").rename(image_folder / split / "10")
        (image_folder / split / "dog").rename(image_folder / split / "9")
    (image_folder / "test/9/0.png").rename(image_folder / "test/9/11.png")
    dataset = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert dataset.class_names == ("9", "10")
    assert (dataset.images[4] == np.asarray(Image.open(image_folder / "test/9/11.png"))).all()


def test_any_type_and_size_becomes_rgb_of_32(workplace: Path, image_folder: Path) -> None:
    folder, rng = image_folder / "test/cat", np.random.default_rng(1)
    large = rng.integers(0, 256, (90, 77, 3), dtype=np.uint8)
    Image.fromarray(large).save(folder / "a.BMP")
    grey = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "b.tif")
    Image.fromarray(grey.astype(np.uint16) * 256 + 255).save(folder / "c.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey])).save(folder / "d.webp", lossless=True, exact=True)
    (folder / "notes.txt").write_text("not an image, not a fault")
    (folder / ".hidden.png").write_text("nor this")
    images = load_dataset(DatasetName.CIFAR10, "test", image_folder).images[5:9]
    assert (images[0] == np.asarray(Image.fromarray(large).resize((32, 32), Image.Resampling.BILINEAR))).all()
    for of_grey in images[1:]:
        assert (of_grey == grey[..., None]).all()


def _truncate(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".webp", ".tiff"])
@pytest.mark.parametrize("damage", [_truncate, lambda path: path.touch(), lambda path: path.write_text("no image")])
def test_a_damaged_image_is_named(
    workplace: Path, image_folder: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    damaged = image_folder / f"test/dog/damaged{suffix}"
    damage(damaged)
    with pytest.raises(ToolError, match=r"test/dog/damaged\."):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)


def _add_empty(root: Path, *splits: str) -> None:
    for split in splits:
        (root / split / "bird").mkdir()


def _remove_dogs(root: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(root / split / "dog")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "not a folder"),
        (lambda root: shutil.rmtree(root / "train"), "no folder .*train"),
        (lambda root: _add_empty(root, "test"), "differ: bird"),
        (lambda root: _add_empty(root, "train", "test"), "test/bird holds no images"),
        (_remove_dogs, "1 class folder"),
    ],
)
def test_a_faulty_image_folder_is_explained(
    workplace: Path, image_folder: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(image_folder)
    with pytest.raises(ToolError, match=message) as caught:
        load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert caught.value.exit_code == 1


@pytest.fixture
def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files decoded so far."""
    seen: list[Path] = []
    decode = image_decoding.decode_file

    def counted(path: Path, *how: Any) -> Any:
        seen.append(path)
        return decode(path, *how)

    monkeypatch.setattr(image_decoding, "decode_file", counted)
    return seen


def test_a_second_load_decodes_nothing(workplace: Path, image_folder: Path, decoded_files: list[Path]) -> None:
    first = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    second = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert len(decoded_files) == 10
    assert isinstance(second.images, np.memmap)
    assert (second.images == first.images).all()
    assert (second.labels == first.labels).all()
    assert second.content_hash == first.content_hash


def test_a_changed_image_is_noticed(workplace: Path, image_folder: Path) -> None:
    before = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    changed = image_folder / "test/dog/4.png"
    Image.new("RGB", (32, 32), "red").save(changed)
    os.utime(changed, (1, 1))
    after = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert after.images[9, 0, 0].tolist() == [255, 0, 0]
    assert after.content_hash != before.content_hash
    changed.unlink()
    assert len(load_dataset(DatasetName.CIFAR10, "test", image_folder)) == 9


@pytest.mark.parametrize("kind", ["npy", "json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_text("{}"),
    ],
)
def test_a_damaged_cache_is_built_again(
    workplace: Path, image_folder: Path, decoded_files: list[Path], kind: str, damage: Callable[[Path], Any]
) -> None:
    first = load_dataset(DatasetName.CIFAR10, "test", image_folder)
    (cached,) = (workplace / "data/cache").glob(f"*.{kind}")
    damage(cached)
    assert (load_dataset(DatasetName.CIFAR10, "test", image_folder).images == first.images).all()
    assert len(decoded_files) == 20
    load_dataset(DatasetName.CIFAR10, "test", image_folder)
    assert len(decoded_files) == 20


def test_a_cache_that_cannot_be_written_is_only_mentioned(
    workplace: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "data").write_text("a file where the folder should be")
    assert len(load_dataset(DatasetName.CIFAR10, "test", image_folder)) == 10
    assert "not cached" in capsys.readouterr().err


def _write_batch(path: Path, entry: dict[str, Any]) -> list[str]:
    path.write_bytes(pickle.dumps(entry))
    return [path.name, hashlib.md5(path.read_bytes()).hexdigest()]


@pytest.fixture
def archive(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A packed archive of torchvision's shape with 4 training and 2 test images; torchvision knows its checksums."""
    batches = workplace / "build/cifar-10-batches-py"
    batches.mkdir(parents=True)
    pixels = np.arange(6 * 3072, dtype=np.uint32).reshape(6, 3072).astype(np.uint8)
    train = _write_batch(batches / "data_batch_1", {"data": pixels[:4], "labels": [0, 1, 0, 1]})
    test = _write_batch(batches / "test_batch", {"data": pixels[4:], "labels": [1, 0]})
    meta = _write_batch(batches / "batches.meta", {"label_names": ["cat", "dog"]})
    packed: Path = workplace / "data" / CIFAR10.filename
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(batches, "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "train_list", [train])
    monkeypatch.setattr(CIFAR10, "test_list", [test])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    return packed


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_the_archive_is_unpacked_and_read(archive: Path, no_network: None) -> None:
    dataset = load_dataset(DatasetName.CIFAR10, "test")
    assert (dataset.name, dataset.class_names, dataset.labels.tolist()) == ("cifar10", ("cat", "dog"), [1, 0])
    flat = (np.arange(4 * 3072, 5 * 3072) % 256).reshape(3, 32, 32)
    assert (dataset.images[0] == flat.transpose(1, 2, 0)).all()
    assert load_dataset(DatasetName.CIFAR10, "train").labels.tolist() == [0, 1, 0, 1]


def test_the_archive_can_be_a_data_root_and_goes_before_a_folder(archive: Path, image_folder: Path) -> None:
    shutil.copytree(image_folder, Path("data/cifar10"))
    assert len(load_dataset(DatasetName.CIFAR10, "test")) == 2
    archive.rename(image_folder / archive.name)
    assert len(load_dataset(DatasetName.CIFAR10, "test", image_folder)) == 2
    shutil.rmtree("data/cifar-10-batches-py")
    assert len(load_dataset(DatasetName.CIFAR10, "test")) == 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "test_batch").write_bytes(b"half"),
        lambda folder: (folder / "data_batch_1").unlink(),
        lambda folder: (folder / "batches.meta").unlink(),
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
)
def test_an_interrupted_extraction_is_done_again(
    archive: Path, no_network: None, damage: Callable[[Path], Any]
) -> None:
    before = load_dataset(DatasetName.CIFAR10, "test")
    folder = Path("data/cifar-10-batches-py")
    damage(folder)
    (folder / "notes.txt").write_text("mine")
    after = load_dataset(DatasetName.CIFAR10, "test")
    assert (after.images == before.images).all()
    assert load_dataset(DatasetName.CIFAR10, "train").labels.tolist() == [0, 1, 0, 1]
    assert (folder / "notes.txt").read_text() == "mine"
    assert not list(Path("data").glob(".*"))


def test_a_folder_without_room_is_named(archive: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extractall", refuse)
    with pytest.raises(ToolError, match="Cannot unpack CIFAR-10 in data: No space left on device"):
        load_dataset(DatasetName.CIFAR10, "test")


def test_a_download_that_breaks_off_leaves_the_old_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:100])

    def break_off(url: str, root: Path, name: str, md5: str) -> None:
        (root / name).write_bytes(whole[:200])
        raise urllib.error.URLError("gone")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", break_off)
    with pytest.raises(ToolError, match="gone"):
        load_dataset(DatasetName.CIFAR10, "test")
    assert archive.read_bytes() == whole[:100]
    monkeypatch.setattr(
        "torchvision.datasets.utils.download_url", lambda url, root, name, md5: (root / name).write_bytes(whole)
    )
    assert len(load_dataset(DatasetName.CIFAR10, "test")) == 2
    assert archive.read_bytes() == whole
    assert sorted(path.name for path in archive.parent.iterdir()) == ["cache", "cifar-10-batches-py", archive.name]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_told_or_mended(archive: Path, no_network: None, data: st.DataObject) -> None:
    paths = [archive, *(archive.parent / "cifar-10-batches-py" / name for name in ("data_batch_1", "batches.meta"))]
    whole = archive.read_bytes()
    try:
        load_dataset(DatasetName.CIFAR10, "train")
        for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, unique=True)):
            content = bytearray(path.read_bytes())
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            assert load_dataset(DatasetName.CIFAR10, "train").labels.tolist() == [0, 1, 0, 1]
        except ToolError as error:
            assert "Three ways out" in str(error)
    finally:
        archive.write_bytes(whole)


@pytest.mark.parametrize("damage", ["absent", "packed", "unpacked"])
def test_without_images_and_network_the_three_ways_out_are_told(archive: Path, no_network: None, damage: str) -> None:
    if damage == "absent":
        archive.unlink()
    elif damage == "packed":
        archive.write_bytes(archive.read_bytes()[:100])
    else:
        load_dataset(DatasetName.CIFAR10, "train")
        Path("data/cifar-10-batches-py/test_batch").write_bytes(b"")
        archive.unlink()
    with pytest.raises(ToolError, match=r"no route to host|not found or corrupted") as caught:
        load_dataset(DatasetName.CIFAR10, "test")
    assert caught.value.exit_code == 1
    for way in ("network", "--data-root", "--dataset digits"):
        assert way in str(caught.value)


def test_the_real_test_images(cifar_test: ImageDataset, cifar_root: Path) -> None:
    assert cifar_test.images.shape == (10_000, 32, 32, 3)
    assert (np.bincount(cifar_test.labels) == 1000).all()
    assert cifar_test.class_names[3] == "cat"
    files = sorted((cifar_root / "test/cat").iterdir())
    assert (cifar_test.images[3042] == np.asarray(Image.open(files[42]))).all()
