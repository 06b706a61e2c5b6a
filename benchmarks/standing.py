"""Where this toolkit's default is not ahead of an opponent: what a reader should hear first."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.row import Row

OURS = "ours-default"


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
