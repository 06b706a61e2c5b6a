"""Lists that people write: pictures with labels, images with other labels, numbers of images. Every fault is told."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from editset_helpers.selection import resolve_class
from helpers.cli import say
from helpers.errors import ToolError
from helpers.images.datasets import ImageDataset
from helpers.images.decoding import decode_file
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.text import printable

MOST_TOLD = 20
MOST_DIGITS = 18
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Picture:
    """A listed picture: the line that lists it, its file, its pixels, uint8 (S, S, 3), and its label."""

    line: int
    path: str
    pixels: NDArray[np.uint8]
    label: int


def read_pictures(path: Path, class_names: tuple[str, ...], preprocessing: Preprocessing = CIFAR) -> list[Picture]:
    """The pictures of a CSV with the columns ``path`` and ``label``, decoded as those of an image folder.

    Args:
        path: the CSV; its paths are relative to its folder, or absolute.
        class_names: the classes; a label is a name or a number.
        preprocessing: of the network that they are for.

    Raises:
        ToolError: the file is no such CSV, or a row is damaged: each such row is told, with its line.
    """

    def read(line: int, row: dict[str, str]) -> Picture:
        pixels = decode_file(path.parent / row["path"], preprocessing)
        return Picture(line, row["path"], pixels, resolve_class(row["label"], class_names))

    pictures = _checked(path, list(_rows(path, ("path", "label"))), read)
    _refuse_contradictions(path, [(picture.line, picture.pixels.tobytes(), picture.label) for picture in pictures])
    return pictures


def read_relabeled(path: Path, dataset: ImageDataset) -> tuple[tuple[int, int], ...]:
    """The images, ascending, and their labels, of a CSV with the columns ``image``, a number, and ``label``.

    Raises:
        ToolError: the file is no such CSV, or a row is damaged: each such row is told, with its line.
    """

    def read(line: int, row: dict[str, str]) -> tuple[int, int, int]:
        return line, _number(row["image"], dataset), resolve_class(row["label"], dataset.class_names)

    found = _checked(path, list(_rows(path, ("image", "label"))), read)
    _refuse_contradictions(path, found)
    return tuple(sorted({(number, label) for _, number, label in found}))


def read_numbers(path: Path, dataset: ImageDataset) -> NDArray[np.int64]:
    """The numbers of images, ascending, of a text file with one a line; what follows a ``#`` is a comment.

    Raises:
        ToolError: the file cannot be read, or a line holds no number of an image: each such line is told.
    """
    lines = [(line, {"image": text.partition("#")[0].strip()}) for line, text in enumerate(_text(path).splitlines(), 1)]
    filled = [(line, row) for line, row in lines if row["image"]]
    return np.unique(np.array(_checked(path, filled, lambda _, row: _number(row["image"], dataset)), dtype=np.int64))


def _number(text: str, dataset: ImageDataset) -> int:
    if not re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}", text) or int(text) >= len(dataset):
        raise ToolError(
            f"{printable(text)[:40]!r} is no number of a {dataset.split} image of {dataset.name}; they go from 0 to "
            f"{len(dataset) - 1}."
        )
    return int(text)


def _rows(path: Path, columns: tuple[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV that are not empty, by line, with these columns alone; what a row lacks is empty."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not set(columns) <= set(header):
            raise ToolError(
                f"The first line of {path} must name the columns {' and '.join(columns)}, separated by a comma."
            )
        places = {name: header.index(name) for name in columns}
        for row in reader:
            if any(cell.strip() for cell in row):
                yield (
                    reader.line_num,
                    {name: row[place].strip() if place < len(row) else "" for name, place in places.items()},
                )
    except csv.Error as error:
        raise ToolError(f"{path} line {reader.line_num} is no line of a CSV file: {error}.") from error


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} is no text in UTF-8; save it as such.") from error
    except OSError as error:
        raise ToolError(f"Cannot read {path}: {error.strerror}.") from error


def _checked(path: Path, rows: list[tuple[int, dict[str, str]]], read: Callable[[int, dict[str, str]], R]) -> list[R]:
    """What each row holds; raises `ToolError` where some hold nothing, after a sentence for each of them."""
    found, faults = list[R](), list[str]()
    for line, row in rows:
        if missing := [name for name, value in row.items() if not value]:
            faults.append(f"{path} line {line} has no {' and no '.join(missing)}.")
            continue
        try:
            found.append(read(line, row))
        except ToolError as error:
            faults.append(f"{path} line {line}: {error}")
    _refuse(path, faults, len(rows))
    return found


def _refuse(path: Path, faults: list[str], rows: int) -> None:
    if len(faults) == 1:
        raise ToolError(faults[0])
    for fault in faults[:MOST_TOLD]:
        say(printable(fault))
    if faults:
        more = f" (the first {MOST_TOLD} are told above)" if len(faults) > MOST_TOLD else ""
        raise ToolError(f"{len(faults)} of {rows} rows of {path} cannot be used{more}: correct or remove them.")
    if not rows:
        raise ToolError(f"{path} lists nothing.")


def _refuse_contradictions(path: Path, rows: Sequence[tuple[int, int | bytes, int]]) -> None:
    """Raise `ToolError` where two lines give one image two labels: no network can have both."""
    first: dict[int | bytes, tuple[int, int]] = {}
    for line, image, label in rows:
        before, known = first.setdefault(image, (line, label))
        if known != label:
            raise ToolError(f"{path} lines {before} and {line} give the same image two labels: remove one of them.")
