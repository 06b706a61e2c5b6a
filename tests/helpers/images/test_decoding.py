"""Image files of every kind: read as they look, or refused by name."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from helpers.cli import DatasetName
from helpers.errors import ToolError
from helpers.images import decoding as image_decoding
from helpers.images.datasets import load_dataset
from helpers.images.decoding import decode_file
from helpers.tables import printable

GREY: NDArray[np.uint8] = np.arange(1024, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def of_grey(levels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(levels[:, :, None], 3, axis=2)


def tiff(path: Path, content: bytes, bits: int, photometric: int = 1, sample_format: int = 1) -> None:
    """A grey image that Pillow itself would not write: 32x32, one strip, little-endian."""
    entries = [(256, 32), (257, 32), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 32)]
    entries += [(279, len(content)), (339, sample_format)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    path.write_bytes(start + content + struct.pack("<H", len(entries)) + directory + struct.pack("<I", 0))


def twelve_bits(levels: NDArray[np.uint8]) -> bytes:
    high = levels.astype(np.uint32).ravel() << 4
    pairs = (high[::2] << 12) | high[1::2]
    return b"".join(int(pair).to_bytes(3, "big") for pair in pairs)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: Image.fromarray(GREY / np.float32(255)).save(path.with_suffix(".tif")),
        lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path.with_suffix(".png")),
        lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path.with_suffix(".tif")),
        lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path.with_suffix(".pgm")),
        lambda path: Image.fromarray(GREY).convert("LA").save(path.with_suffix(".png")),
        lambda path: tiff(path.with_suffix(".tif"), (GREY.astype("<u2") * 257).tobytes(), 16),
        lambda path: tiff(path.with_suffix(".tif"), ((255 - GREY).astype("<u2") * 257).tobytes(), 16, photometric=0),
        lambda path: tiff(path.with_suffix(".tif"), (255 - GREY).tobytes(), 8, photometric=0),
        lambda path: tiff(
            path.with_suffix(".tif"), (1 - GREY / np.float32(255)).tobytes(), 32, photometric=0, sample_format=3
        ),
        lambda path: tiff(path.with_suffix(".tif"), twelve_bits(GREY), 12),
    ],
)
def test_grey_of_every_depth(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "image")
    (path,) = tmp_path.iterdir()
    assert (decode_file(path) == of_grey(GREY)).all()


def test_colours_of_every_kind(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    cmyk = image.convert("CMYK")
    cmyk.save(tmp_path / "cmyk.tif")
    assert (decode_file(tmp_path / "cmyk.tif") == np.asarray(cmyk.convert("RGB"))).all()
    cmyk.save(tmp_path / "cmyk.jpg", quality=95)
    assert (
        np.abs(
            decode_file(tmp_path / "cmyk.jpg").astype(int)
            - np.asarray(Image.open(tmp_path / "cmyk.jpg").convert("RGB"))
        ).max()
        == 0
    )
    bilevel = Image.fromarray(GREY > 100)
    bilevel.save(tmp_path / "bilevel.png")
    assert (decode_file(tmp_path / "bilevel.png") == of_grey(255 * (GREY > 100))).all()
    image.convert("LAB").save(tmp_path / "lab.tif")
    assert np.abs(decode_file(tmp_path / "lab.tif").astype(int) - COLOURS).mean() < 3
    image.convert("RGBA").save(tmp_path / "alpha.png")
    assert (decode_file(tmp_path / "alpha.png") == COLOURS).all()


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOURS).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    assert (decode_file(tmp_path / "palette.png") == np.asarray(palette.convert("RGB"))).all()


@pytest.mark.parametrize(("suffix", "extra"), [(".gif", {}), (".webp", {"lossless": True}), (".png", {})])
def test_the_first_frame_of_an_animation_counts(tmp_path: Path, suffix: str, extra: dict[str, Any]) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = tmp_path / f"animation{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **extra)
    assert (decode_file(path) == of_grey(GREY)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(COLOURS)
    image.save(tmp_path / "photo.png", exif=exif)
    upright = {
        1: image,
        2: ImageOps.mirror(image),
        3: image.rotate(180),
        4: ImageOps.flip(image),
        5: ImageOps.mirror(image).rotate(90),
        6: image.rotate(-90),
        7: ImageOps.mirror(image).rotate(-90),
        8: image.rotate(90),
    }[orientation]
    assert (decode_file(tmp_path / "photo.png") == np.asarray(upright)).all()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: Image.fromarray(GREY.astype(np.int32)).save(path), "signed or 32-bit integers"),
        (lambda path: tiff(path, GREY.astype("<i2").tobytes(), 16, sample_format=2), "signed or 32-bit integers"),
        (lambda path: tiff(path, GREY.tobytes(), 8, sample_format=2), "signed or 32-bit integers"),
        (lambda path: Image.fromarray(GREY.astype(np.float32)).save(path), "values from 0 to 255 instead of 0 to 1"),
        (lambda path: Image.fromarray(GREY / np.float32(-255)).save(path), "values from -1 to -?0 instead"),
        (lambda path: Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(path), "values from nan"),
        (lambda path: Path(path).mkdir(), "Cannot read the image"),
    ],
)
def test_what_has_no_known_range_is_refused(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "image.tif")
    with pytest.raises(ToolError, match=f"image\\.tif.* {message}|Cannot read the image"):
        decode_file(tmp_path / "image.tif")


def test_giant_images_are_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (3000, 2000)).save(tmp_path / "giant.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(ToolError, match=r"giant\.png is too large"):
        decode_file(tmp_path / "giant.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000_000)  # Pillow warns
    assert image_decoding.decode_files([tmp_path / "giant.png"], "").shape == (1, 32, 32, 3)


def _encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    options: dict[str, dict[str, Any]] = {".tif": {"compression": "tiff_deflate"}, ".webp": {"lossless": True}}
    Image.fromarray(COLOURS).save(stream, Image.registered_extensions()[suffix], **options.get(suffix, {}))
    return stream.getvalue()


FILES = {suffix: _encoded(suffix) for suffix in (".png", ".jpg", ".gif", ".bmp", ".webp", ".tif", ".ppm")}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(sorted(FILES)), data=st.data())
def test_damage_is_told_or_cannot_be_seen(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    content = bytearray(FILES[suffix])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
            content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / f"image{suffix}"
    path.write_bytes(content)
    try:
        found = decode_file(path)
    except ToolError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        assert found.shape == (32, 32, 3)
        if suffix == ".png":  # every chunk has a checksum
            assert (found == COLOURS).all()


@pytest.fixture
def odd_folder(image_folder: Path) -> Path:
    """Class folders and files as they are found: odd names, links, what systems leave behind."""
    for split in ("train", "test"):
        root = image_folder / split
        (root / "cat").rename(root / "caf\udce9 \x07")
        (root / "dog").rename(image_folder / f"{split} dogs")
        (root / "dog").symlink_to(f"../{split} dogs")
        (root / "dog" / "nested").mkdir()
        (root / "dog" / "folder.png").mkdir()
        for name in (".DS_Store", "Thumbs.db", "._0.png", "desktop.ini", "n\udcff.txt"):
            (root / "dog" / name).write_text("not an image")
        (root / ".hidden").mkdir()
        (root / "dog" / "0.png").rename(root / "dog" / "\udcff.png")
    return image_folder.rename(image_folder.with_name("pets \udcfe"))


def test_names_that_are_no_text_are_shown_as_escapes(workplace: Path, odd_folder: Path) -> None:
    dataset = load_dataset(DatasetName.CIFAR10, "test", odd_folder)
    assert (dataset.name, dataset.class_names) == (r"pets \xfe", (r"caf\xe9 \x07", "dog"))
    assert dataset.labels.tolist() == [0] * 5 + [1] * 5
    dataset.content_hash.encode()
    assert len(list((workplace / "data/cache").iterdir())) == 2


@given(st.binary())
def test_any_name_can_be_shown(name: bytes) -> None:
    shown = printable(os.fsdecode(name))
    assert shown.isprintable()
    shown.encode()


def test_names_that_would_look_the_same_are_refused(workplace: Path, odd_folder: Path) -> None:
    for split in ("train", "test"):
        (odd_folder / split / r"caf\xe9 \x07").mkdir()
    with pytest.raises(ToolError, match="look the same"):
        load_dataset(DatasetName.CIFAR10, "test", odd_folder)


def test_no_image_is_left_out_without_a_word(workplace: Path, image_folder: Path) -> None:
    Image.fromarray(COLOURS).save(image_folder / "test/cat/photo.jfif")
    assert len(load_dataset(DatasetName.CIFAR10, "test", image_folder)) == 11
    (image_folder / "test/cat/photo.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(ToolError, match=r"photo\.HEIC is empty, damaged or no image"):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)


def test_a_link_to_nothing_is_named(workplace: Path, image_folder: Path) -> None:
    (image_folder / "test/cat/gone.png").symlink_to("nowhere.png")
    with pytest.raises(ToolError, match=r"gone\.png is a link to nothing"):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)
    for split in ("train", "test"):
        (image_folder / split / "bird").symlink_to("unmounted")
    with pytest.raises(ToolError, match=r"train/bird is a link to nothing"):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)


def test_a_folder_that_must_not_be_read_is_named(
    workplace: Path, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(ToolError, match=r"Cannot read .*train: Permission denied"):
        load_dataset(DatasetName.CIFAR10, "test", image_folder)
