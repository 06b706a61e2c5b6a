"""Why no change is possible: which images contradict each other, which bounds are refuted, and one that is enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sytorch.certificate.bounds import bound_from, constraint_gradient, refutation, refuted_by
from sytorch.last_layer.by_class import fits
from sytorch.last_layer.problem import Problem
from sytorch.last_layer.shortfall import CannotMeetError, least_bound
from sytorch.problem.arrays import Matrix
from sytorch.problem.errors import Contradiction, LicenceError, SolverFailedError, SolverTimeLimitError
from sytorch.problem.margins import Margins, Requirements
from sytorch.problem.solution import Multipliers
from sytorch.solvers.counted import CountedSolver

NOTHING = 1e-9  # of a sum, what rounding may leave
SPARE = 1e-3  # of a bound that is said to be enough
NO_ANSWER = (CannotMeetError, LicenceError, SolverFailedError, SolverTimeLimitError)


def contradicting_pair(margins: Requirements, bound: float) -> Multipliers | None:
    """A proof by two images with different labels whose inputs are too close for any change within the bound.

    The sum of ``z_i[y_i] - z_i[y_k] >= margin`` and of the same with i and k exchanged contains ``D`` only in
    ``(e_yi - e_yk) D (h_i - h_k)``, which is at most ``2 * bound * |h_i - h_k|_1``.
    """
    if not (isinstance(margins, Margins) and np.isfinite(bound)):
        return None
    inputs, labels = margins.outputs.inputs, margins.labels
    needed = margins.required[:, labels]
    needed = needed + needed.T
    squares = np.einsum("ij,ij->i", inputs, inputs)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * inputs @ inputs.T, 0.0))
    rounding = 1e-6 * np.sqrt(squares.max())
    close = np.triu((labels[:, None] != labels) & (needed > 2 * bound * (distances - rounding)), 1)
    for first, second in zip(*np.nonzero(close), strict=True):
        if needed[first, second] <= 2 * bound * np.abs(inputs[first] - inputs[second]).sum() * (1 - NOTHING):
            continue
        both = margins.of(np.array([first, second]))  # of all images it takes a second with a thousand classes
        weights = np.zeros(both.required.shape)
        weights[0, labels[second]] = weights[1, labels[first]] = 1.0
        if proof := refutation(both, bound, weights):
            everywhere = np.zeros(margins.required.shape)
            everywhere[[first, second]] = proof.margins
            return replace(proof, margins=everywhere)
    return None


def diagnose(problem: Problem, solver: CountedSolver, proof: Multipliers, quick: bool = False) -> Contradiction:
    """Explain a refutation by the least bound of any change, which is enough where all changes are searched.

    The multipliers that prove it are Farkas' proof for all changes, thinned out to few images. Where the least bound is
    not found, for the time may be up, or not looked for, the proof that is known stays.

    Args:
        problem: without a solution.
        solver: of the program that finds the least bound.
        proof: with which solving ended, of `farkas`.
        quick: whether to stay with that one where many margins are missing, as ``l2`` by ascent always does.
    """
    margins, bound, least, sufficient = problem.margins, problem.bound, None, None
    if problem.is_small or not (quick or solver.by_ascent or fits(problem)):  # a column for every weight
        least = _least_bound(margins, bound, solver)
    if least and (found := refutation(margins, bound, least[0])):
        proof, sufficient = found, None
        if problem.admits_any_change and np.isfinite(least[1]):
            sufficient = least[1] * (1 + SPARE)
    everywhere = refutation(margins, bound, proof.margins)
    proof, unbounded = everywhere or proof, refutation(margins, np.inf, proof.margins)
    return Contradiction(
        images=_thinned(margins, proof.margins, bound) if everywhere else (),
        refuted_bound=np.inf if unbounded else refuted_by(margins, proof),
        sufficient_bound=None if unbounded else sufficient,
        multipliers=proof,
        proved_for_all_changes=everywhere is not None,
    )


def _least_bound(margins: Requirements, bound: float, solver: CountedSolver) -> tuple[Matrix, float] | None:
    """The least bound of any change and the multipliers of margins that prove it; None if it is not found."""
    try:
        proof, enough = least_bound(margins, bound, solver)
    except NO_ANSWER:
        return None
    return None if proof is None else (proof.margins, enough)


def _thinned(margins: Requirements, multipliers: Matrix, bound: float) -> tuple[int, ...]:
    """Leave out one image after the other, the least weighty first, while the rest still refutes the bound."""
    total, gradient = margins.total(multipliers), constraint_gradient(margins, multipliers)
    nothing = NOTHING * total
    kept = set(np.flatnonzero(multipliers.any(axis=1)).tolist())
    for image in sorted(kept, key=lambda i: float(multipliers[i].sum())):
        part, share = _of_one_image(margins, multipliers, image)
        if total - share > nothing and bound_from(total - share, float(np.abs(gradient - part).sum())) > bound:
            total, gradient = total - share, gradient - part
            kept.remove(image)
    return tuple(sorted(kept))


def _of_one_image(margins: Requirements, multipliers: Matrix, image: int) -> tuple[Matrix, float]:
    """What one image adds to the gradient and to the total of the weighted constraints."""
    alone, own = margins.of(np.array([image])), multipliers[[image]]
    return constraint_gradient(alone, own), alone.total(own)
