"""Why no change is possible: which images contradict each other, and the least bound that is not refuted."""

from __future__ import annotations

import numpy as np

from sytorch.arrays import Matrix, Vector
from sytorch.certificate import Multipliers, bound_from, pressure, refuted_bound
from sytorch.constraints import Margins
from sytorch.errors import Contradiction
from sytorch.generation import CannotMeetError, minimise_by_generation
from sytorch.metric import IdentityMetric
from sytorch.norms import NormName, norm
from sytorch.tally import TalliedSolver

TOLERANCE = 1e-3
ANY_CHANGE = 1e6  # a larger change of a weight is none: float arithmetic ends there, and so does every proof


def contradicting_pair(margins: Margins, bound: float) -> Contradiction | None:
    """Two images with different labels whose inputs are too close for any change within the bound.

    The sum of ``z_i[y_i] - z_i[y_k] >= margin`` and of the same with i and k exchanged contains ``D`` only in
    ``(e_yi - e_yk) D (h_i - h_k)``, which is at most ``2 * bound * |h_i - h_k|_1``.
    """
    inputs, labels = margins.outputs.inputs, margins.labels
    needed = margins.required[:, labels]
    needed = needed + needed.T
    squares = np.einsum("ij,ij->i", inputs, inputs)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * inputs @ inputs.T, 0.0))
    rounding = 1e-6 * np.sqrt(squares.max())
    if not np.isfinite(bound):
        return None
    close = np.triu((labels[:, None] != labels) & (needed > 2 * bound * (distances - rounding)), 1)
    for first, second in zip(*np.nonzero(close), strict=True):
        smallest = bound_from(float(needed[first, second]), 2 * float(np.abs(inputs[first] - inputs[second]).sum()))
        if smallest > bound:
            return _pair(margins, int(first), int(second), smallest)
    return None


def _pair(margins: Margins, first: int, second: int, refuted: float) -> Contradiction:
    multipliers = np.zeros(margins.required.shape)
    multipliers[first, margins.labels[second]] = multipliers[second, margins.labels[first]] = 1.0
    return _contradiction(margins, (first, second), refuted, None, multipliers, every=True)


def _contradiction(
    margins: Margins, images: tuple[int, ...], refuted: float, sufficient: float | None, weights: Matrix, *, every: bool
) -> Contradiction:
    proof = Multipliers(weights, pressure(margins, weights))
    return Contradiction(images, refuted, sufficient, multipliers=proof, proved_for_all_changes=every)


def diagnose(margins: Margins, bound: float, solver: TalliedSolver, known: Matrix) -> Contradiction:
    """Explain why the program has no solution.

    The least bound is the smallest largest entry of any change: the program with ``linf`` in the weights themselves and
    no bound. Its multipliers are Farkas' proof, which is then thinned out to few images. Without a bound, it is proved
    for changes up to `ANY_CHANGE`.

    First-order methods are for programs too large for that one: there, the multipliers that they found, which refute
    the bound already, are the proof.

    Args:
        margins, bound: the program.
        solver: of the program that finds the least bound.
        known: multipliers, (N, C), with which solving ended.
    """
    bound = min(bound, ANY_CHANGE)
    if solver.is_first_order:
        smallest = refuted_bound(margins, known)
        images = _thinned(margins, known, bound) if smallest > bound else ()
        return _contradiction(margins, images, smallest, None, known, every=smallest > bound)
    coordinates = IdentityMetric().coordinates(margins.outputs.inputs)
    largest = norm(NormName.LINF, coordinates.rows.shape[1] * margins.required.shape[1])
    try:
        solution = minimise_by_generation(
            largest, coordinates, margins, np.inf, solver, tolerance=TOLERANCE, enough=bound
        )
        multipliers, smallest = solution.multipliers.margins, solution.objective
    except CannotMeetError as error:
        multipliers, smallest = error.multipliers, np.inf
    refuted = refuted_bound(margins, multipliers)
    if refuted <= bound:
        return _contradiction(margins, (), refuted, smallest, multipliers, every=False)
    images = _thinned(margins, multipliers, bound)
    if np.isinf(smallest):
        return _contradiction(margins, images, smallest, None, multipliers, every=True)
    return _contradiction(margins, images, refuted, smallest, multipliers, every=True)


def _thinned(margins: Margins, multipliers: Matrix, bound: float) -> tuple[int, ...]:
    """Leave out one image after the other, the least weighty first, while the rest still refutes the bound."""
    total, gradient = margins.total(multipliers), pressure(margins, multipliers)
    kept = set(np.flatnonzero(multipliers.any(axis=1)).tolist())
    for image in sorted(kept, key=lambda i: float(multipliers[i].sum())):
        part, share = _of_one_image(margins, multipliers, image)
        if bound_from(total - share, float(np.abs(gradient - part).sum())) > bound:
            total, gradient = total - share, gradient - part
            kept.remove(image)
    return tuple(sorted(kept))


def _of_one_image(margins: Margins, multipliers: Matrix, image: int) -> tuple[Matrix, float]:
    """What one image adds to the gradient and to the total of the weighted constraints."""
    weights: Vector = -multipliers[image]
    weights[margins.labels[image]] += multipliers[image].sum()
    required = np.where(np.isfinite(margins.required[image]), margins.required[image], 0.0)
    return np.outer(weights, margins.outputs.inputs[image]), float(multipliers[image] @ required)
