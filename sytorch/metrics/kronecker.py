"""The metric of any layer: a Kronecker product of what it sees and of what its outputs do.

``|G^(1/2) D A^(1/2)|`` estimates how far a change ``D`` moves the answers for ordinary images: A is the second moment
of the layer's inputs, G that of the gradients of the log-likelihood in its outputs (K-FAC, Martens and Grosse 2015,
section 3; over the pixels of a convolution, Grosse and Martens 2016, section 3). Two constraints, each the product of
a gradient and an input, have in it the product of two inner products. The metric of a last layer,
`SecondMomentMetric`, is the one with ``G = I``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sytorch.network.chain import Chain, chain_of
from sytorch.network.layer_view import LayerView, linearise, patches
from sytorch.network.repeats import folding_of, without_repeats
from sytorch.problem.arrays import Matrix
from sytorch.problem.checks import check_images
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import InvalidInputError

INPUT_RIDGE = 1e-2
OUTPUT_RIDGE = 1e-1
BATCH = 1000
FLOAT32_RIDGE = 1e-4  # relative; below, what float32 rounds of a moment is no longer far smaller
NO_DOUBT = 1e-9  # of curvature, in the mean


@dataclass(frozen=True, eq=False)
class KroneckerMetric:
    """Both factors as lower Cholesky factors.

    Attributes:
        inputs: (k, k), of A, over a layer's folded inputs with the bias's 1 at the end.
        outputs: (m, m), of G; None for the identity.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor | None = None

    @functools.cached_property
    def outputs_inverse(self) -> torch.Tensor:
        """``G^-1``, (m, m), where G is not the identity."""
        assert self.outputs is not None
        return torch.cholesky_inverse(self.outputs)

    def to(self, dtype: torch.dtype) -> KroneckerMetric:
        """The same in another floating-point type."""
        return KroneckerMetric(self.inputs.to(dtype), None if self.outputs is None else self.outputs.to(dtype))

    def restricted(self, view: LayerView) -> KroneckerMetric:
        """The metric of the part of the layer that a view shows.

        Raises:
            InvalidInputError: it is of another layer, or not finite.
        """
        self.check_fits(view)
        inputs = self.inputs[-1:].norm().view(1, 1) if view.part.bias_only else self.inputs
        if self.outputs is None or view.part.units is None:
            return KroneckerMetric(inputs, self.outputs)
        rows = self.outputs[view.units]
        return KroneckerMetric(inputs, torch.linalg.cholesky(rows @ rows.T))

    def check_fits(self, view: LayerView) -> None:
        """Raise `InvalidInputError` where it is a metric of another layer than a view's, or not finite."""
        width, outputs = len(view.folding.sizes), self.outputs
        square = self.inputs.ndim == 2 and self.inputs.shape[0] == self.inputs.shape[1]
        fits = square and (view.part.bias_only or len(self.inputs) == width)
        if not fits or (outputs is not None and outputs.shape != (view.shape[0], view.shape[0])):
            units = "" if outputs is None else f" and {len(outputs)} outputs"
            raise InvalidInputError(
                f"A metric of {len(self.inputs)} inputs{units} does not fit {view.part.layer!r}, which has {width} "
                f"inputs, one for the bias, and {view.shape[0]} outputs."
            )
        for factor in (self.inputs,) if outputs is None else (self.inputs, outputs):
            if not (bool(torch.isfinite(factor).all()) and bool((factor.diagonal() > 0).all())):
                raise InvalidInputError("The metric's factors must be finite, with a positive diagonal.")

    def whitened_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs (..., k) whose inner products are those in ``A^-1``."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        solved: torch.Tensor = torch.linalg.solve_triangular(self.inputs, flat.T, upper=False)
        return solved.T.reshape(inputs.shape)

    def whitened_gradients(self, gradients: torch.Tensor) -> torch.Tensor:
        """Gradients (R, m, P) whose inner products are those in ``G^-1``."""
        if self.outputs is None:
            return gradients
        flat = gradients.transpose(0, 1).flatten(1)
        solved: torch.Tensor = torch.linalg.solve_triangular(self.outputs, flat, upper=False)
        return solved.view(gradients.shape[1], len(gradients), -1).transpose(0, 1).contiguous()

    def solved_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """``A^-1 x`` for inputs (N, P, k), (N * P, k)."""
        solved: torch.Tensor = torch.cholesky_solve(inputs.flatten(0, 1).T, self.inputs)
        return solved.T

    def raised_gradients(self, gradients: torch.Tensor) -> torch.Tensor:
        """``G^-1 g`` for gradients (N, m, P), (m, N * P)."""
        flat = gradients.transpose(0, 1).flatten(1)
        return flat if self.outputs is None else torch.cholesky_solve(flat, self.outputs)

    def dual_change(self, gradients: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """``G^-1 g_i x_i A^-1`` summed over images, (m, k): gradients (N, m, P), inputs (N, P, k)."""
        return self.raised_gradients(gradients) @ self.solved_inputs(inputs)

    def size(self, change: torch.Tensor) -> float:
        """``|G^(T/2) D A^(1/2)|`` of a change."""
        right = change @ self.inputs
        return float((right if self.outputs is None else self.outputs.T @ right).norm())

    def dual_size(self, gradient: torch.Tensor) -> float:
        """The dual norm of a gradient in ``D``, (m, k)."""
        right = torch.linalg.solve_triangular(self.inputs, gradient.T, upper=False)
        return float(self.whitened_gradients(right.T[None]).norm())


def identity_metric(view: LayerView) -> KroneckerMetric:
    """The weights themselves: the Euclidean norm of a change."""
    return KroneckerMetric(torch.eye(view.inputs.shape[2], dtype=torch.float64))


def kronecker_metric(
    model: nn.Module | Chain,
    layer: str,
    batches: Callable[[], Iterable[torch.Tensor]],
    gradient_images: int,
    *,
    ridges: tuple[float, float] = (INPUT_RIDGE, OUTPUT_RIDGE),
    time_limit: float | Deadline | None = None,
) -> KroneckerMetric:
    """Estimate the metric of a layer from ordinary images.

    Every image counts as much as its answer can still change: by the trace of its softmax's curvature. Where a network
    is so sure of everything that none is left, all images count alike, and ``G = I``.

    Args:
        model: in evaluation mode.
        layer: a name.
        batches: gives the images, (n, ...) at a time.
        gradient_images: from how many of them, at most, the gradients are taken. Of a last layer none are: ``G = I``.
        ridges: of A and of G, relative to their mean diagonals.
        time_limit: seconds, or a deadline that others share, or None; looked at before every batch.

    Raises:
        InvalidInputError: the module is in training mode, a batch holds no finite images, there is none, or a ridge or
            the number of images is not positive.
        SolverTimeLimitError: the time is up.
    """
    chain, deadline = model if isinstance(model, Chain) else chain_of(model), as_deadline(time_limit)
    if not (gradient_images > 0 and all(0 < ridge < torch.inf for ridge in ridges)):
        raise InvalidInputError(f"Ridges, {ridges}, and the number of images, {gradient_images}, must be positive.")

    def checked() -> Iterator[torch.Tensor]:
        for images in batches():
            deadline.check()
            check_images(images)
            yield images

    outputs = None if chain.names[-1] == layer else _outputs_moment(chain, layer, checked(), gradient_images)
    inputs, width = _inputs_moment(chain, layer, checked, exact=ridges[0] < FLOAT32_RIDGE)
    return KroneckerMetric(
        _factor(inputs, ridges[0], width), None if outputs is None else _factor(outputs, ridges[1], len(outputs))
    )


def input_factor(chain: Chain, layer: str, images: torch.Tensor, ridge: float) -> Matrix:
    """The Cholesky factor of A alone, (k, k), of ordinary images."""
    moment, width = _inputs_moment(chain, layer, lambda: torch.split(images, BATCH))
    return np.asarray(_factor(moment, ridge, width).numpy())


def _inputs_moment(
    chain: Chain, layer: str, batches: Callable[[], Iterable[torch.Tensor]], *, exact: bool = False
) -> tuple[torch.Tensor, int]:
    """The weighted sum over pixels and mean over images of ``h h^T``, folded, and the number of inputs before that."""
    total, weight, count, width = _inputs_sum(chain, layer, batches(), softmax_curvature, exact)
    if weight <= NO_DOUBT * count:
        total, weight, count, width = _inputs_sum(chain, layer, batches(), _alike, exact)
    return total / weight, width


def _alike(logits: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(logits), dtype=torch.float64)


def _inputs_sum(
    chain: Chain,
    layer: str,
    batches: Iterable[torch.Tensor],
    weigh: Callable[[torch.Tensor], torch.Tensor],
    exact: bool,
) -> tuple[torch.Tensor, float, int, int]:
    """The sum, of what weight and of how many images, and the number of inputs before folding; exact in float64."""
    head, module, tail = chain.split(layer)
    total, weight, count, width = torch.zeros(()), 0.0, 0, 0
    with torch.no_grad():
        for images in batches:
            seen = without_repeats(head, images)(images)
            doubts = weigh(tail(module(seen)))
            rows = patches(module, seen)
            width = rows.shape[2]
            rows = folding_of(head, width, images).fold(rows) * doubts.sqrt().to(rows.dtype)[:, None, None]
            rows = rows.double() if exact else rows
            total, weight = total + _products(rows.flatten(0, 1)), weight + float(doubts.sum())
            count += len(images)
    if not count:
        raise InvalidInputError("There are no images to take the metric from.")
    return total, weight, count, width


def _outputs_moment(chain: Chain, layer: str, batches: Iterable[torch.Tensor], count: int) -> torch.Tensor | None:
    """The mean over images and pixels of the log-likelihood's gradients' second moment, (m, m), weighted alike.

    None where there is nothing left of the gradients.
    """
    total, weight, seen = torch.zeros(()), 0.0, 0
    for batch in batches:
        rows, pixels = [], 1
        for images in torch.split(batch[: count - seen], 50):
            view = linearise(chain, layer, images, dtype=images.dtype)
            rows.append(likelihood_gradients(view.logits, view.logit_gradients()))
            weight, pixels = weight + float(softmax_curvature(view.logits).sum()), view.inputs.shape[1]
        total, seen = total + _products(torch.cat(rows)) / pixels, seen + len(batch)
        if seen >= count:
            break
    return total / weight if weight > NO_DOUBT * seen else None


def _products(rows: torch.Tensor) -> torch.Tensor:
    """``rows^T rows``, float64; numpy sees that the product is symmetric and does half."""
    array = rows.numpy()
    return torch.from_numpy(array.T @ array).double()


def softmax_curvature(logits: torch.Tensor) -> torch.Tensor:
    """The trace of ``diag(p) - p p^T``, ``1 - |p|^2``, (N,) float64, at the probabilities p of logits (N, C)."""
    return 1 - logits.double().softmax(dim=1).square().sum(dim=1)


def likelihood_gradients(logits: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Rows whose products sum to ``J^T (diag(p) - p p^T) J`` over images and pixels: (N * C * P, m)."""
    probabilities = logits.softmax(dim=1)[:, :, None, None]
    centred = gradients - (gradients * probabilities).sum(dim=1, keepdim=True)
    return (centred * probabilities.sqrt()).transpose(2, 3).flatten(0, 2)


def _factor(moment: torch.Tensor, ridge: float, width: int) -> torch.Tensor:
    """The Cholesky factor of a moment with a ridge relative to the mean diagonal of ``width`` entries."""
    factor: torch.Tensor = torch.linalg.cholesky(
        moment + ridge * moment.trace() / width * torch.eye(len(moment)).double()
    )
    return factor


def check_kind(metric: object) -> None:
    """Raise `InvalidInputError` where a program of any layer is given a metric of the last layer's own programs."""
    if not isinstance(metric, KroneckerMetric):
        raise InvalidInputError(
            f"A {type(metric).__name__} is not for this program: take kronecker_metric, which is for every layer."
        )
