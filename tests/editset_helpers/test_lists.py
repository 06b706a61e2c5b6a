"""Lists that people write: what they hold, and that every fault is told with its line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from editset_helpers.lists import read_numbers, read_pictures, read_relabeled
from helpers.errors import ToolError
from helpers.images.datasets import ImageDataset
from helpers.images.folder import ImageFolder

NAMES = ("cat", "dog")
HERE = ImageDataset("x", "test", np.zeros((9, 32, 32, 3), np.uint8), np.zeros(9, np.int64), NAMES, "0" * 64)
CELLS = {"0": 0, " 8 ": 8, "9": None, "-1": None, "1.5": None, "": None, "٣": None, "9" * 30: None}
CLASSES = {"cat": 0, "DOG": 1, "1": 1, "2": None, "lion": None, "": None}
ROWS = st.lists(
    st.tuples(st.sampled_from(sorted(CELLS)), st.sampled_from(sorted(CLASSES)), st.integers(0, 2)),
    min_size=1,
    max_size=8,
)


def written(folder: str | Path, text: str, encoding: str = "utf-8") -> Path:
    path = Path(folder) / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


@settings(max_examples=60, deadline=None)
@given(ROWS, st.booleans(), st.booleans())
def test_a_row_is_read_or_told_with_its_line(
    rows: list[tuple[str, str, int]], is_swapped: bool, is_windows: bool
) -> None:
    """Columns in any order, empty lines between, a byte order mark, lines that end as Windows has them."""
    header = ["label", "note", "image"] if is_swapped else ["image", "note", "label"]
    lines, faults, found, line = [",".join(header)], list[int](), dict[int, set[int]](), 1
    for image, label, gap in rows:
        lines += [""] * gap + [",".join([label, "", image] if is_swapped else [image, "", label])]
        line += gap + 1
        number, position = CELLS[image], CLASSES[label]
        if number is not None and position is not None:
            found.setdefault(number, set()).add(position)
        elif image or label:
            faults.append(line)
    contradict = any(len(labels) > 1 for labels in found.values())
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, ("\r\n" if is_windows else "\n").join(lines), "utf-8-sig" if is_windows else "utf-8")
        if not faults and not contradict and found:
            assert read_relabeled(path, HERE) == tuple(sorted((n, *labels) for n, labels in found.items()))
            return
        with pytest.raises(ToolError) as caught:
            read_relabeled(path, HERE)
    told = str(caught.value)
    if len(faults) == 1:
        assert f"line {faults[0]}" in told
    elif faults:
        assert told.startswith(f"{len(faults)} of ")
    else:
        assert ("two labels" in told) == contradict


def test_every_faulty_row_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    rows = ["a.png,cat", "gone.png,cat", "half.png,cat", "a.png,", ",dog", "a.png", "a.png,cow", ".,cat", "\0,cat"]
    path = written(tmp_path, "\n".join(["path,label", *rows]))
    with pytest.raises(ToolError, match=f"8 of 9 rows of {path} cannot be used"):
        read_pictures(path, NAMES)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0].split(" has ")[0] for line in told] == [
        f"{path} line {line}" for line in range(3, 11)
    ]
    assert "No such file" in told[0] and "damaged" in told[1] and "has no label" in told[2] and "no path" in told[3]
    assert "has no label" in told[4] and "There is no class 'cow'" in told[5]


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["png", "jpg", "webp", "bmp", "gif", "tiff"]),
    st.sampled_from(["RGB", "L", "P", "RGBA"]),
)
def test_a_picture_is_what_the_image_folder_makes_of_it(size: tuple[int, int], kind: str, mode: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (root / place).mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).convert("RGB" if kind == "jpg" else mode)
            image.save(root / place / f"x.{kind}")
        path = written(root, f"path,label\ntest/dog/x.{kind},dog\n{root / 'test/dog'}/x.{kind},1")
        read = ImageFolder(root).read("test")
        for picture in read_pictures(path, NAMES):
            np.testing.assert_array_equal(picture.pixels, read.images[1])
            assert picture.label == 1


def test_one_picture_with_two_labels_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "same.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    with pytest.raises(ToolError, match="lines 2 and 4 give the same image two labels"):
        read_pictures(written(tmp_path, "path,label\na.png,cat\n\nsame.png,dog"), NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name the columns path and label"),
        ("file,class\na,b", "must name the columns"),
        ("path;label\na.png;cat", "must name the columns"),
        ("path,label\n\n,\n", "lists nothing"),
        ('path,label\n"a.png,cat\n', "line 2 is no line of a CSV file"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        read_pictures(written(tmp_path, text), NAMES)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"Cannot read .*No such file"):
        read_pictures(tmp_path / "gone.csv", NAMES)
    with pytest.raises(ToolError, match="no text in UTF-8"):
        read_numbers(written(tmp_path, "path,ä", "utf-16"), HERE)


def test_numbers_with_comments(tmp_path: Path) -> None:
    assert read_numbers(written(tmp_path, "# a comment\n7\n\n 3 # a cat?\r\n7"), HERE).tolist() == [3, 7]
    with pytest.raises(ToolError, match=r"line 3: 'x' is no number of a test image of x; they go from 0 to 8"):
        read_numbers(written(tmp_path, "1\n2\nx # y"), HERE)
