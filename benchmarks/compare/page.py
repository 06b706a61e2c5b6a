"""The page of the comparison, in Markdown: what is not ahead, a table for each size, what others published."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.row import Row
from benchmarks.opponents.published import PUBLISHED
from helpers.files.writing import atomic_file
from helpers.text import as_markdown

HEADER = [
    "method",
    "edit accuracy (%)",
    "smallest margin",
    "drawdown (points)",
    "generalization (%)",
    "all test images (%)",
    "seconds",
    "peak memory (MB)",
    "licence",
    "outcome",
]
INTRODUCTION = """\
# Side by side

Every method gets the same misclassified test images and is judged by the same forward pass in float32: *drawdown* is
what the other test images lost, *generalization* is of mirrored and shifted copies of the edit images. Edit sets that
are larger than all misclassified test images are drawn from the misclassified training images. Each method runs in a
process of its own, whose peak memory, the network and its images included, is read before the judge starts. What
depends on the network alone (activations of training images, factors of metrics) is cached and not counted in the
seconds; checking the written weights is, where a method does it. Of fine-tuning, the seconds are those of the settings
that were taken.

![Drawdown against size](drawdown.svg)
![Copies right against size](generalization.svg)
![Time against size](seconds.svg)

The other methods have plots of their own: [drawdown](drawdown_others.svg), [copies](generalization_others.svg),
[time](seconds_others.svg).
"""
PUBLISHED_HEADER = ["method", "network and edits", "guarantee", "drawdown", "time", "source"]
PUBLISHED_INTRODUCTION = """\
## Published figures, not measured here

Other networks, images and machines: nothing in this table can be set against a row above. The times of APRNN's paper
are of two Xeon Silver 4216 with 384 GB and an RTX A6000. "Not read" means that the source has the figure and that it
was not at hand to copy from.
"""
OURS = "ours-default"
CHEAP = 1.0  # points of drawdown; what loses more is no rival in seconds


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``side_by_side.md``; returns its path."""
    path = folder / "side_by_side.md"
    last = max((row.measured for row in rows), default="")
    sections = [_section(size, list(group), last) for size, group in itertools.groupby(rows, key=lambda row: row.size)]
    parts = [INTRODUCTION, _standing(rows), _days(rows), *sections, _published()]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return path


def _standing(rows: Sequence[Row]) -> str:
    sentences = behind(rows)
    if not any(row.method == OURS for row in rows):
        return "The default is not in this table.\n"
    if not sentences:
        return (
            "Of the methods here that gave every edit image its margin, none has a lower drawdown than the default or "
            "more copies right on the same edit set, and none that lost less than a point took less time.\n"
        )
    lines = "".join(f"- {sentence}\n" for sentence in sentences)
    return f"Where the default is not ahead of all that gave every edit image its margin:\n\n{lines}"


def _days(rows: Sequence[Row]) -> str:
    *earlier, last = sorted({row.measured for row in rows if row.measured}) or [""]
    if not last:
        return ""
    others = f", but for the rows that name {' or '.join(earlier)} below their table" if earlier else ""
    return f"Measured on {last}{others}.\n"


def _section(size: str, rows: Sequence[Row], last: str) -> str:
    several = len({row.seed for row in rows}) > 1
    found = next((row.edit_images for row in rows if row.edit_images is not None), None)
    title = f"## {size} edit images" if size.isdecimal() else f"## All misclassified images ({found or 'none'})"
    table = as_markdown([HEADER, *(_line(row, several) for row in rows)], right=range(1, 8))
    notes = [f"- {_name(row, several)}: {note}" for row in rows if (note := _note(row, last))]
    return "\n".join([title, "", table, *notes, ""])


def _note(row: Row, last: str) -> str:
    day = f"measured on {row.measured}" if row.measured and row.measured != last else ""
    return "; ".join(filter(None, [row.message, day]))


def _published() -> str:
    lines = ([item.method, item.repaired, item.guarantee, item.drawdown, item.time, item.source] for item in PUBLISHED)
    return f"{PUBLISHED_INTRODUCTION}\n{as_markdown([PUBLISHED_HEADER, *lines], right=())}"


def _line(row: Row, several: bool) -> list[str]:
    return [
        _name(row, several),
        _number(row.edit_accuracy, 2),
        _number(row.smallest_margin, 3),
        _number(row.drawdown, 2),
        _number(row.generalization, 1),
        _number(row.test_accuracy, 2),
        _number(row.seconds, 2),
        _number(row.peak_memory_mb, 0),
        row.licence or "-",
        row.status,
    ]


def _name(row: Row, several: bool) -> str:
    return f"{row.label} (seed {row.seed})" if several else row.label


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value + 0.0:,.{digits}f}"


def behind(rows: Sequence[Row]) -> list[str]:
    """A sentence for each edit set and figure in which a method that gave every margin is ahead of the default.

    Seconds are compared with those that lose less than `CHEAP` points.
    """
    return [sentence for row in rows if row.method == OURS for sentence in _behind(row, _beside(row, rows))]


def _beside(ours: Row, rows: Sequence[Row]) -> list[Row]:
    """The other methods' repairs on the same edit set."""
    return [row for row in rows if row.key[1:] == ours.key[1:] and row != ours and row.status == "repaired"]


def _behind(ours: Row, others: Sequence[Row]) -> list[str]:
    where = f"{ours.size} images, seed {ours.seed}"
    if ours.status != "repaired":
        return [f"{where}: the default gave no repair ({ours.status})."]
    cheap = [row for row in others if row.drawdown is not None and row.drawdown < CHEAP]
    return [
        *_ahead(f"{where}: drawdown {{}}; less with", ".2f", "drawdown", ours, others, sign=1),
        *_ahead(f"{where}: {{}} % of the copies right; more with", ".1f", "generalization", ours, others, sign=-1),
        *_ahead(f"{where}: {{}} s; less, with a drawdown below {CHEAP:g}, with", ".2f", "seconds", ours, cheap, sign=1),
    ]


def _ahead(told: str, digits: str, column: str, ours: Row, others: Sequence[Row], *, sign: int) -> list[str]:
    """The sentence on one figure, the best first; none where nothing is ahead as far as it is printed."""
    values = {row.method: float(value) for row in (ours, *others) if (value := getattr(row, column)) is not None}
    printed = {method: format(value + 0.0, digits) for method, value in values.items()}
    own = ours.method
    ahead = [row for row in others if row.method in values and sign * values[row.method] < sign * values[own]]
    ahead = sorted(
        (row for row in ahead if printed[row.method] != printed[own]), key=lambda row: sign * values[row.method]
    )
    names = ", ".join(f"{row.label} ({printed[row.method]})" for row in ahead)
    return [f"{told.format(printed[own])} {names}."] if ahead else []
