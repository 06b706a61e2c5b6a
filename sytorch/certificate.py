"""The proof of an answer: bounds that hold for any multipliers, computed apart from whoever found them."""

from __future__ import annotations

import numpy as np

from sytorch.arrays import Matrix
from sytorch.constraints import Margins
from sytorch.metric import Coordinates
from sytorch.norms import Norm


def pressure(margins: Margins, multipliers: Matrix) -> Matrix:
    """The gradient in ``D``, (C, d), of the sum of the margin constraints with these multipliers, (N, C)."""
    return margins.combine(multipliers).T @ margins.outputs.inputs


def lower_bound(
    norm: Norm, coordinates: Coordinates, margins: Margins, bound: float, multipliers: Matrix, bound_multipliers: Matrix
) -> float:
    """A value that the norm of no feasible change falls below (weak duality).

    For every feasible ``x``: ``norm(x) * dual(g) >= <g, x> >= required @ multipliers - bound * |bound_multipliers|_1``,
    where ``g`` is the gradient of the weighted constraints in the coordinates.

    Args:
        norm: what is minimised.
        coordinates: where it is taken.
        margins: the margin constraints.
        bound: the bound on every ``|D|``; may be infinite if ``bound_multipliers`` is zero.
        multipliers: (N, C); negative ones count as zero.
        bound_multipliers: (C, d), positive for ``D <= bound``, negative for ``D >= -bound``.
    """
    multipliers = np.maximum(multipliers, 0.0)
    spent = float(np.abs(bound_multipliers).sum())
    value = margins.total(multipliers) - (bound * spent if spent else 0.0)
    gradient = coordinates.pull_back(pressure(margins, multipliers) - bound_multipliers)
    return bound_from(value, norm.dual_value(gradient))


def bound_from(value: float, dual_norm: float) -> float:
    """``value / dual_norm``, never below zero, infinite where a positive value meets a zero norm."""
    if value <= 0.0:
        return 0.0
    return value / dual_norm if dual_norm > 0.0 else np.inf


def refuted_bound(margins: Margins, multipliers: Matrix) -> float:
    """Every ``param_bound`` below this value is impossible, whatever form the change has (Farkas' lemma).

    A change with ``|D| <= b`` raises the weighted constraints by at most ``b`` times the L1 norm of their gradient.
    """
    multipliers = np.maximum(multipliers, 0.0)
    return bound_from(margins.total(multipliers), float(np.abs(pressure(margins, multipliers)).sum()))


def relative_gap(objective: float, bound: float) -> float:
    """How far the objective may be above the optimum, relative to the objective."""
    return max(objective - bound, 0.0) / objective if objective > 0.0 else 0.0
