"""What every method is given, and what it gives back."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import sytorch
from edits.methods.last_layer import rounding_allowance
from edits.network.applying import apply_changes
from edits.network.workbench import Workbench
from edits.options import LAST_LAYER
from editset_helpers.edit_set import EditSet

NO_LICENCE = "no"


@dataclass(frozen=True, eq=False)
class Case:
    """One edit set to put right.

    Attributes:
        bench: the network and its images.
        edit_set: the images to put right.
        margin: by how much each has to be right.
        bound: of the linear programs, on every change of a weight.
        time_limit: seconds.
        seed: of whatever is random.
        folder: for files that nobody needs afterwards.
    """

    bench: Workbench
    edit_set: EditSet
    margin: float
    bound: float
    time_limit: float
    seed: int
    folder: Path

    @functools.cached_property
    def outputs(self) -> sytorch.AffineOutputs:
        """The edit images' logits, affine in the change of the last layer."""
        return sytorch.symbolic(self.bench.model, LAST_LAYER)(self.edit_set.images)

    @property
    def safe_margin(self) -> float:
        """A margin that rounding to float32 does not take away."""
        return self.margin + rounding_allowance(self.outputs)


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a method made of a case; whether that is a repair is for the judge to say.

    Attributes:
        state: the network's weights; None where there is no point to judge.
        seconds: from the edit images and cached activations and factors to the weights.
        status: ``found``, or why there are no weights: ``time limit``, ``licence refused``, ...
        message: what a reader of the row should know, one or two sentences.
        licence: whether a licence has to be bought for it, in a word.
    """

    state: dict[str, torch.Tensor] | None
    seconds: float
    status: str = "found"
    message: str = ""
    licence: str = NO_LICENCE


Run = Callable[[Case], Attempt]


class Timer:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._started


def last_layer_state(case: Case, change: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weights with a change of the last layer, (C, n + 1), rounded to float32; the network is left alone."""
    parts = {f"{LAST_LAYER}.weight": change[:, :-1].float(), f"{LAST_LAYER}.bias": change[:, -1].float()}
    return apply_changes(case.bench.model, parts, float("inf"))


def threads() -> int:
    """How many threads a solver may use: as many as torch is told to, else every core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else os.cpu_count() or 1
