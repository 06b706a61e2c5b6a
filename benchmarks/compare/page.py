"""The page of the comparison, in Markdown: what is not ahead, a table for each size, what others published."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.compare.row import Row
from benchmarks.opponents.published import PUBLISHED
from helpers.files.writing import atomic_file

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
what the other test images lost, *generalization* is of mirrored and shifted copies of the edit images. Each runs in a
process of its own, whose peak memory, the network and its images included, is read before the judge starts. What
depends on the network alone (activations of training images, factors of metrics) is cached and not counted in the
seconds. Of fine-tuning, the seconds are those of the settings that were taken.

![Drawdown against size](drawdown.svg)
![Time against size](seconds.svg)

The other methods have [plots](drawdown_others.svg) of [their own](seconds_others.svg).
"""
PUBLISHED_HEADER = ["method", "network and edits", "guarantee", "drawdown", "time", "source"]
PUBLISHED_INTRODUCTION = """\
## Published figures, not measured here

Other networks, images and machines: nothing in this table can be set against a row above. The times of APRNN's paper
are of two Xeon Silver 4216 with 384 GB and an RTX A6000. "Not read" means that the source has the figure and that it
was not at hand to copy from.
"""
OURS = "ours-default"


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
            "Of the opponents here that gave every edit image its margin, none has a lower drawdown than the default "
            "on the same edit set, and no whole program took less time.\n"
        )
    return "Where the default is not ahead:\n\n" + "".join(f"- {sentence}\n" for sentence in sentences)


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
    table = [HEADER, ["---", *["---:"] * 7, "---", "---"], *(_line(row, several) for row in rows)]
    notes = [f"- {_name(row, several)}: {note}" for row in rows if (note := _note(row, last))]
    return "\n".join([title, "", *map(_joined, table), "", *notes, ""])


def _note(row: Row, last: str) -> str:
    day = f"measured on {row.measured}" if row.measured and row.measured != last else ""
    return "; ".join(filter(None, [row.message, day]))


def _published() -> str:
    lines = [[item.method, item.repaired, item.guarantee, item.drawdown, item.time, item.source] for item in PUBLISHED]
    table = [PUBLISHED_HEADER, ["---"] * len(PUBLISHED_HEADER), *lines]
    return "\n".join([PUBLISHED_INTRODUCTION, *map(_joined, table), ""])


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


def _joined(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def behind(rows: Sequence[Row]) -> list[str]:
    """A sentence for each opponent that is ahead in drawdown with every margin, or, as a whole program, in time."""
    return [sentence for row in rows if row.method == OURS for sentence in _behind(row, _beside(row, rows))]


def _beside(ours: Row, rows: Sequence[Row]) -> list[Row]:
    """The other families' rows on the same edit set."""
    return [row for row in rows if row.key[1:] == ours.key[1:] and row.family != ours.family]


def _behind(ours: Row, others: Sequence[Row]) -> list[str]:
    where = f"{ours.size} images, seed {ours.seed}"
    if ours.drawdown is None or ours.seconds is None or ours.status != "repaired":
        return [f"{where}: the default gave no repair ({ours.status})."]
    repaired = [row for row in others if row.status == "repaired"]
    return [
        *(
            f"{where}: {row.label} has a drawdown of {row.drawdown:.2f} points, the default {ours.drawdown:.2f}."
            for row in repaired
            if row.drawdown is not None and row.drawdown < ours.drawdown
        ),
        *(
            f"{where}: {row.label} took {row.seconds:.2f} s, the default {ours.seconds:.2f} s."
            for row in repaired
            if row.family == "whole LP" and row.seconds is not None and row.seconds < ours.seconds
        ),
    ]
