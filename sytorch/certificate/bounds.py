"""The proof of an answer: bounds that hold for any multipliers, computed apart from whoever found them."""

from __future__ import annotations

import numpy as np

from sytorch.metrics.last_layer import Coordinates
from sytorch.problem.arrays import Matrix
from sytorch.problem.margins import Requirements
from sytorch.problem.norms import Norm
from sytorch.problem.solution import Multipliers

ROUNDING = 1e-13  # of a sum, relative to its terms
ZERO = 1e-13  # a sum that is nothing but rounding, relative to its terms


def constraint_gradient(margins: Requirements, multipliers: Matrix) -> Matrix:
    """The gradient in ``D``, (C, d), of the sum of the margin constraints with these multipliers, (N, C)."""
    return margins.combine(multipliers).T @ margins.outputs.inputs


def slope(coordinates: Coordinates, margins: Requirements, multipliers: Multipliers) -> Matrix:
    """The gradient in the coordinates, (C, m), of all constraints weighted with their multipliers."""
    return coordinates.pull_back(constraint_gradient(margins, multipliers.margins) - multipliers.bounds)


def lower_bound(
    norm: Norm, coordinates: Coordinates, margins: Requirements, bound: float, multipliers: Multipliers
) -> float:
    """A value that the norm of no feasible change falls below (weak duality).

    For every feasible ``x``: ``norm(x) * dual(g) >= <g, x> >= required @ margins - bound * |bounds|_1``, where ``g`` is
    the gradient of the weighted constraints in the coordinates.

    Args:
        norm: what is minimised.
        coordinates: where it is taken.
        margins: the margin constraints.
        bound: the bound on every ``|D|``; may be infinite if the multipliers of the bound are zero.
        multipliers: any; negative ones of margins count as zero.
    """
    usable = Multipliers(np.maximum(multipliers.margins, 0.0), multipliers.bounds)
    return bound_from(weighed(margins, bound, usable), norm.dual_value(slope(coordinates, margins, usable)))


def weighed(margins: Requirements, bound: float, multipliers: Multipliers) -> float:
    """What all constraints ask for together, weighted with multipliers of which those of margins are not negative."""
    spent = float(np.abs(multipliers.bounds).sum())
    return margins.total(multipliers.margins) - (bound * spent if spent else 0.0)


def bound_from(value: float, dual_norm: float) -> float:
    """``value / dual_norm``, never below zero, infinite where a positive value meets a zero norm; of NaN nothing."""
    if not value > 0.0 or np.isnan(dual_norm):
        return 0.0
    return value / dual_norm if dual_norm > 0.0 else np.inf


def farkas(
    coordinates: Coordinates, margins: Requirements, bound: float, multipliers: Multipliers
) -> Multipliers | None:
    """The multipliers as a proof that no change ``x @ basis`` within the bound has the margins; else None.

    Those of the bound are completed, so that the weighted constraints have no gradient in the coordinates. Then for
    every such change ``total <= <bounds, D> <= bound * |bounds|_1``, which a larger total contradicts. Rounding counts
    against the proof; an infinite bound is refuted where ``bounds`` is zero but for rounding. Those of the margins add
    up to 1.
    """
    weights = np.where(np.isfinite(margins.required), np.maximum(multipliers.margins, 0.0), 0.0)
    gradient = bounds = constraint_gradient(margins, weights)
    if coordinates.basis is not None:
        left = coordinates.pull_back(gradient - multipliers.bounds)
        bounds = multipliers.bounds + left @ coordinates.inverse_basis.T
    together = float(weights.sum())
    proof = Multipliers(weights / together, bounds / together) if together > 0.0 else multipliers
    refuted = refuted_by(margins, proof)
    if np.isinf(bound):
        return proof if refuted > 0.0 and np.abs(proof.bounds).sum() <= ZERO * _terms(margins, proof) else None
    return proof if refuted > bound else None


def refuted_by(margins: Requirements, proof: Multipliers) -> float:
    """Every smaller bound is refuted by multipliers that `farkas` completed; rounding counts against them."""
    certain = margins.total(proof.margins) - ROUNDING * margins.total(proof.margins, magnitudes=True)
    return bound_from(certain, float(np.abs(proof.bounds).sum()) + ROUNDING * _terms(margins, proof))


def _terms(margins: Requirements, proof: Multipliers) -> float:
    """The sum of the magnitudes of which the gradient of the weighted constraints is made."""
    weights, inputs = margins.magnitudes(proof.margins), np.abs(margins.outputs.inputs)
    return float((weights.T @ inputs).sum()) + float(np.abs(proof.bounds).sum())


def refutation(margins: Requirements, bound: float, multipliers: Matrix) -> Multipliers | None:
    """The multipliers of margins, (N, C), as a proof that no change of any form is within the bound; else None."""
    any_change = Coordinates(margins.outputs.inputs, None)
    return farkas(any_change, margins, bound, Multipliers(multipliers, np.zeros((0, 0))))


def refuted_bound(margins: Requirements, multipliers: Matrix) -> float:
    """Every ``param_bound`` below this value is impossible, whatever form the change has (Farkas' lemma).

    A change with ``|D| <= b`` raises the weighted constraints by at most ``b`` times the L1 norm of their gradient.
    """
    multipliers = np.maximum(multipliers, 0.0)
    return bound_from(margins.total(multipliers), float(np.abs(constraint_gradient(margins, multipliers)).sum()))
