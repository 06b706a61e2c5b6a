"""The whole program as a method: build, solve within the limit, take the point whatever it is."""

from __future__ import annotations

import functools

import numpy as np
import torch

from benchmarks.case import NO_LICENCE, Attempt, Case, Run, Timer, last_layer_state
from benchmarks.whole_solvers import Point, WholeSolver
from benchmarks.whole_weights import whole_program
from sytorch import margin

OPTIMAL = "optimal"


def whole(solver: WholeSolver, licence: str = NO_LICENCE) -> Run:
    """The method that hands the whole program to a solver."""
    return functools.partial(_run, solver, licence)


def _run(solver: WholeSolver, licence: str, case: Case) -> Attempt:
    margins = margin(case.outputs, case.edit_set.labels.numpy(), case.safe_margin)
    timer = Timer()
    program = whole_program(margins, case.bound)
    point = solver(program, case.time_limit)
    size = f"{program.matrix.shape[0]:,} rows, {program.matrix.shape[1]:,} columns"
    if point.x is None or not np.isfinite(point.x).all():
        return Attempt(None, timer.seconds, point.status, point.message or size, licence, point.peak_mb)
    state = last_layer_state(case, torch.from_numpy(program.change(point.x)))
    return Attempt(state, timer.seconds, "found", _told(point, size), licence, point.peak_mb)


def _told(point: Point, size: str) -> str:
    stopped = "" if point.status == OPTIMAL else f"stopped: {point.status}"
    return "; ".join(part for part in (stopped, point.message, size) if part)
