"""One method on one edit set as a row of the table: the columns, in their order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """The columns. None is an empty cell.

    Accuracies are in per cent, ``drawdown`` in percentage points; both are the judge's. ``size`` is what was asked for,
    a number or ``all``. ``status`` is ``repaired`` where every edit image has the margin, ``margin missed`` where the
    judge found otherwise, else the reason why there was nothing to judge. ``measured`` is the day, as in 2026-11-26.
    """

    method: str
    size: str
    seed: int
    label: str
    edit_images: int | None = None
    edit_accuracy: float | None = None
    smallest_margin: float | None = None
    drawdown: float | None = None
    generalization: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    peak_memory_mb: float | None = None
    licence: str = ""
    largest_change: float | None = None
    status: str
    message: str = ""
    margin: float
    param_bound: float
    time_limit: float
    weights_hash: str
    measured: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What the row is about."""
        return self.method, self.size, self.seed

    @property
    def ran_out(self) -> bool:
        """Whether time or memory ended it before it had a repair."""
        stopped = self.status == "margin missed" and self.message.startswith("stopped: time limit")
        return stopped or self.status.startswith("time limit") or self.status == "out of memory"
