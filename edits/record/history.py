"""What a repaired file itself says of its repairs, so that it can be moved without its report; and the way back."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from edits.record.finished import read_repair
from edits.record.report import STEP, RepairReport
from helpers.errors import ToolError
from helpers.files.outputs import report_path
from helpers.files.writing import read_json
from model_classes.weight_files import read_history

FORMAT = "alexnet-repair history 1"
MOST = 50_000_000  # signs of all ways back; a header of safetensors holds 100 million
NEEDED = {"edit_set_hash", "weights_hash_before", "weights_hash_after"}
PROMISED = (
    *("edit_set_hash", "edit_set_size", "edit_images", "margin", "param_bound", "shifts", "flip"),
    *("weights_hash_before", "first_weights_hash"),
)
OF_STEPS = ("weights_hash_after", "edit_set_hash", "edit_set_size", "margin")
SAME, VALUES = ":as in base", ":rows"  # what a way back says of rows of a parameter

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class History:
    """The repairs that a network has been through.

    Attributes:
        repairs: what each was asked, the first one first: fields of its report. Of those before the last one the
            figures, too; of those that were made before files told this, only what reports say of earlier repairs.
        back: of each repair, how the network before it comes from that after it and that which the repair counts from,
            see `way_back`; empty where that is not kept, or the network before is the one that it counts from.
    """

    repairs: list[dict[str, Any]]
    back: list[str]

    @property
    def last(self) -> RepairReport:
        """The report of the last one, as far as it is told."""
        *earlier, told = self.repairs
        known = {name: told[name] for name in told.keys() & {field.name for field in fields(RepairReport)}}
        steps = [{name: step.get(name) for name in STEP} for step in earlier]
        return RepairReport(**{"message": None, "data_root": None, **known, "earlier": steps})

    @property
    def before(self) -> History | None:
        """That of the network before the last one; None where it had none, or not all is known of it."""
        known = len(self.repairs) > 1 and self.repairs[-2].keys() >= NEEDED
        return History(self.repairs[:-1], self.back[:-1]) if known else None

    @property
    def text(self) -> str:
        """For the file; without the oldest ways back where these would be too long."""
        kept, room = list[str](), MOST
        for way in reversed(self.back):
            room -= len(way)
            kept.append(way if room >= 0 else "")
        return json.dumps({"format": FORMAT, "repairs": self.repairs, "back": kept[::-1]})

    def then(self, report: RepairReport, back: str) -> History:
        """With one more repair, which its report before any figure tells."""
        steps = [{**known, **step} for known, step in zip(self.repairs, report.earlier, strict=True)]
        return History([*steps, told_by(report)], [*self.back, back])


def told_by(report: RepairReport) -> dict[str, Any]:
    """What a report says of its own repair, without what it does not say."""
    told = {name: value for name, value in report.as_json().items() if value not in (None, [], {})}
    return {name: value for name, value in told.items() if name != "earlier"}


def of_report(report: RepairReport) -> History:
    """What a report tells, for a file that says nothing."""
    return History([*report.earlier, told_by(report)], [""] * (len(report.earlier) + 1))


def told_of(weights: Path) -> tuple[RepairReport, History] | None:
    """The report of repaired weights, and their history; None where neither a report nor the file tells of a repair.

    The file's own words count where the report beside it is of other weights; they have no figures.

    Raises:
        ToolError: one of them is damaged, or the file cannot be read.
    """
    path, history = report_path(weights), history_of(weights)
    content = read_json(path) if path.is_file() else {}
    if isinstance(content, dict) and content.get("status") == "repaired":
        report = read_repair(path)
        if history is None:
            return report, of_report(report)
        own = history.repairs[-1]
        if own["weights_hash_after"] == report.weights_hash_after:
            if differing := _altered(history, report):
                raise ToolError(
                    f"{path} was altered: {differing}, as {weights} says itself. Remove the report; what the file says "
                    "counts then."
                )
            return report, history
    return None if history is None else (history.last, history)


def _altered(history: History, report: RepairReport) -> str | None:
    """What a report says otherwise than the weights' own history, which is of the same weights; None where nothing."""
    if len(history.repairs) != len(report.earlier) + 1:
        return f"there were {len(history.repairs)} repairs"
    pairs: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]]
    pairs = [(history.repairs[-1], vars(report), PROMISED)]
    pairs += [(own, told, OF_STEPS) for own, told in zip(history.repairs, report.earlier, strict=False)]
    for own, told, names in pairs:
        for name in names:
            if name in own and name in told and own[name] != told[name]:
                return f"{name} is {own[name]}"
    return None


def history_of(weights: Path) -> History | None:
    """What the file says; raises `ToolError` where that is damaged, or the file cannot be read."""
    text = read_history(weights)
    if not text:
        return None
    try:
        told = json.loads(text)
        history = History(told["repairs"], told["back"])
        sound = told["format"] == FORMAT and history.repairs[-1].keys() >= NEEDED and history.last.status == "repaired"
        sound &= len(history.back) == len(history.repairs) and all(isinstance(way, str) for way in history.back)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        sound = False
    if not sound:
        raise ToolError(f"What {weights} says of its repairs is damaged; its weights can still be read.")
    return history


def way_back(after: State, before: State, base: State) -> str:
    """How to get from the weights after a repair to those before it, bit for bit, given those that it counts from.

    Of each parameter the rows that differ: where they are, and what they were unless that is as in the base. Detectors
    of earlier images do not differ, those of new images were as in the base: what is left is mostly the last layer.
    """
    stored = dict[str, Tensor]()
    for name in before:
        rows = _differing(after[name], before[name])
        if len(rows):
            changed = _differing(before[name][rows], base[name][rows])
            own = torch.zeros(len(rows), dtype=torch.bool).index_fill_(0, changed, value=True)
            stored |= {name + SAME: rows[~own], name + VALUES: rows[own], name: before[name][rows[own]].contiguous()}
    return base64.b85encode(zlib.compress(safetensors.torch.save(stored), 1)).decode()


def gone_back(after: State, way: str, base: State) -> dict[str, Tensor]:
    """The weights before; see `way_back`. Raises `ValueError` where the way does not fit them."""
    before = dict(after)
    try:
        stored = safetensors.torch.load(zlib.decompress(base64.b85decode(way)))
        for name in stored:
            if name in before:
                same, own = stored[name + SAME], stored[name + VALUES]
                rows = before[name].index_copy(0, same, base[name][same])
                before[name] = rows.index_copy(0, own, stored[name])
    except (KeyError, IndexError, RuntimeError, zlib.error, safetensors.SafetensorError) as error:
        raise ValueError("the way back does not fit the weights") from error
    return before


def _differing(some: Tensor, others: Tensor) -> Tensor:
    """Rows with other bits: of numbers alone, 0 would be -0."""
    bits = (values.contiguous().view(torch.int32).reshape(len(values), -1) for values in (some, others))
    return (next(bits) != next(bits)).any(dim=1).nonzero()[:, 0]
