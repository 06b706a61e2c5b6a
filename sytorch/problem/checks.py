"""Checks of what the public functions are given, before anything is built; a sentence says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from sytorch.problem.arrays import Indices, Matrix, Stack, Vector
from sytorch.problem.errors import InvalidInputError

if TYPE_CHECKING:
    from sytorch.problem.outputs import AffineOutputs


def check_model(model: nn.Module) -> None:
    """Raise `InvalidInputError` for a module in training mode: dropout and batches would decide its outputs."""
    if any(module.training for module in model.modules()):
        raise InvalidInputError("The network is in training mode; call model.eval() first.")


def check_images(images: torch.Tensor) -> None:
    """Raise `InvalidInputError` unless images, (N, ...), are a tensor of finite floats, with one image at least."""
    if not isinstance(images, torch.Tensor) or not images.is_floating_point() or images.ndim < 2:
        raise InvalidInputError("The images must be a floating-point tensor, (N, ...).")
    if not len(images):
        raise InvalidInputError("There are no images.")
    if not torch.isfinite(images).all():
        raise InvalidInputError("The images hold NaN or infinity.")


def check_finite(*values: torch.Tensor) -> None:
    """Raise `InvalidInputError` where what a network computes is not finite."""
    if not all(bool(torch.isfinite(part).all()) for part in values):
        raise InvalidInputError("The network's activations hold NaN or infinity: look at the images and the weights.")


def check_outputs(outputs: AffineOutputs) -> None:
    """Raise `InvalidInputError` unless logits, (N, C), and inputs, (N, d), fit each other and are finite."""
    logits, inputs = outputs.logits, outputs.inputs
    if logits.ndim != 2 or inputs.ndim != 2 or len(logits) != len(inputs):
        raise InvalidInputError(f"Logits {logits.shape} and inputs {inputs.shape} are not of the same N images.")
    if not (np.isfinite(logits).all() and np.isfinite(inputs).all()):
        raise InvalidInputError("The outputs hold NaN or infinity: look at the images and the weights.")


def checked_labels(labels: ArrayLike | torch.Tensor | Sequence[int], count: int, classes: int) -> Indices:
    """The labels of ``count`` images as int64, (N,).

    Args:
        labels: whole numbers of any integer type, in an array, a tensor or a list.
        count: how many there have to be.
        classes: each is from 0 to ``classes - 1``.

    Raises:
        InvalidInputError: they are something else.
    """
    array = np.asarray(labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels)
    if array.shape != (count,):
        raise InvalidInputError(f"There must be one label for each image, ({count},), not {array.shape}.")
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidInputError(f"Labels must be whole numbers, not {array.dtype}.")
    if array.min(initial=0) < 0 or array.max(initial=0) >= classes:
        raise InvalidInputError(f"Labels must be from 0 to {classes - 1}; there is one label for each output.")
    return array.astype(np.int64)


def checked_sizes(size: ArrayLike | torch.Tensor, count: int) -> Vector:
    """The margins of ``count`` images, float64, (N,); minus infinity where nothing is required.

    Args:
        size: one for all, or one for each.
        count: of images.

    Raises:
        InvalidInputError: they are NaN, plus infinity, or of another shape.
    """
    array = np.asarray(size, dtype=np.float64)
    if array.shape not in ((), (count,)):
        raise InvalidInputError(f"There must be one margin, or one for each of the {count} images, not {array.shape}.")
    if np.isnan(array).any() or (array == np.inf).any():
        raise InvalidInputError("Margins must be finite, or minus infinity where nothing is required.")
    return np.broadcast_to(array, (count,)).copy()


def checked_weights(weights: ArrayLike, least: ArrayLike, count: int, outputs: int) -> tuple[Stack, Matrix]:
    """The constraints ``A y >= b`` of ``count`` images, A float64, (N, R, C), and b, (N, R).

    Args:
        weights: A, (R, C) for all images or (N, R, C).
        least: b, one number, (R,) or (N, R); minus infinity where nothing is required.
        count: N, of images.
        outputs: C, of each.

    Raises:
        InvalidInputError: they are NaN or infinite, or of another shape.
    """
    rows, asked = np.asarray(weights, dtype=np.float64), np.asarray(least, dtype=np.float64)
    if (
        rows.ndim not in (2, 3)
        or not rows.shape[-2]
        or rows.shape[-1] != outputs
        or rows.shape[:-2] not in ((), (count,))
    ):
        raise InvalidInputError(
            f"The weights of {count} images' {outputs} outputs must be (R, {outputs}) or ({count}, R, {outputs}), "
            f"not {rows.shape}."
        )
    rows = np.broadcast_to(rows, (count, *rows.shape[-2:]))
    if asked.shape not in ((), rows.shape[1:2], rows.shape[:2]):
        raise InvalidInputError(f"There must be a number for each of {rows.shape[:2]} constraints, not {asked.shape}.")
    if not np.isfinite(rows).all() or np.isnan(asked).any() or (asked == np.inf).any():
        raise InvalidInputError("Constraints must be finite; minus infinity where nothing is required.")
    return rows, np.broadcast_to(asked, rows.shape[:2]).copy()


def checked_bound(bound: float) -> float:
    """The bound on every entry of the change; infinite for none.

    Raises:
        InvalidInputError: it is NaN, zero or negative.
    """
    if not bound > 0:
        raise InvalidInputError(f"The bound must be positive, not {bound}.")
    return float(bound)


def check_required(required: Matrix) -> None:
    """Raise `InvalidInputError` where a constraint requires NaN or plus infinity."""
    if np.isnan(required).any() or (required == np.inf).any():
        raise InvalidInputError("The margins require NaN or infinity.")


def checked_moment(moment: ArrayLike, copied: bool = True) -> Matrix:
    """A second moment, float64, (d, d), in Fortran's order; ``copied``, or where it is that already, itself.

    Raises:
        InvalidInputError: it is not square, or holds NaN or infinity.
    """
    array = np.array(moment, dtype=np.float64, order="F", copy=True if copied else None)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise InvalidInputError(f"A second moment is a square matrix, not {array.shape}.")
    if not np.isfinite(array).all():
        raise InvalidInputError("The second moment holds NaN or infinity.")
    return array
