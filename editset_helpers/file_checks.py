"""What an edit set's file must hold. Each fault is one sentence that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.cli import say_once
from helpers.errors import ToolError
from helpers.files.tensors import is_plain
from helpers.images.preprocessing import CIFAR, Preprocessing

ROUNDING = 1e-3

INDICES = {"image_idx", "training_idx"}


def checked_images(images: Any, path: Path, preprocessing: Preprocessing = CIFAR) -> torch.Tensor:
    """Float32 (N, 3, S, S), N >= 1, of pixels in [0, 1], perhaps normalised; raises `ToolError` for anything else."""
    side = preprocessing.input_size
    shape = (3, side, side)
    images = _dense("images", images, path)
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or tuple(images.shape[1:]) != shape:
        found = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ToolError(f"The images of the edit set {path} must have the shape (N, 3, {side}, {side}), not {found}.")
    if len(images) == 0:
        raise ToolError(f"The edit set {path} holds no images.")
    is_plain_bytes = images.dtype == torch.uint8 and preprocessing == preprocessing.unnormalised
    if not (is_plain_bytes or images.is_floating_point()):
        raise ToolError(f"The images of the edit set {path} must be float32, not {_name(images.dtype)}.")
    inputs = images.to(torch.float32)
    if images.dtype == torch.uint8:
        inputs = inputs / 255
    return _within_range(inputs, path, preprocessing).contiguous()


def _within_range(inputs: torch.Tensor, path: Path, preprocessing: Preprocessing) -> torch.Tensor:
    extremes = torch.stack(torch.aminmax(inputs))  # one pass over the pixels; NaN spreads to both
    if not torch.isfinite(extremes).all():
        raise ToolError(f"The edit set {path} has pixels that are NaN or infinite.")
    black, white = (preprocessing.normalise(torch.full((1, 3, 1, 1), float(value))) for value in (0, 1))
    if preprocessing == preprocessing.unnormalised:
        if extremes[0] < 0 or extremes[1] > 1:
            raise ToolError(f"The pixels of the edit set {path} must lie in [0, 1]; the network's inputs do.")
    elif (inputs < black - ROUNDING).any() or (inputs > white + ROUNDING).any():
        raise ToolError(
            f"The images of the edit set {path} are not normalised as the network's inputs are: an entry is "
            f"{extremes[0]:.4g} or {extremes[1]:.4g}, outside what pixels in [0, 1] give."
        )
    return inputs


def note_if_plain(inputs: torch.Tensor, path: Path, preprocessing: Preprocessing) -> None:
    """Say that images, (N, 3, S, S), look like plain pixels where the network wants them normalised."""
    low, high = torch.aminmax(inputs)
    if preprocessing != preprocessing.unnormalised and low >= 0 and high <= 1:
        say_once(
            f"note: all values of the edit set {path} lie in [0, 1], and it does not say how they were prepared: they "
            f"are taken as the network's inputs ({preprocessing.described}). If they are plain pixels, normalise them."
        )


def checked_labels(labels: Any, count: int, num_classes: int | None, path: Path) -> torch.Tensor:
    """Int64 (count,), each 0 or more and below ``num_classes``; raises `ToolError` for anything else."""
    labels = _dense("labels", labels, path)
    if not isinstance(labels, torch.Tensor) or tuple(labels.shape) != (count,):
        found = tuple(labels.shape) if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise ToolError(f"The labels of the edit set {path} must have the shape ({count},), not {found}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ToolError(f"The labels of the edit set {path} must be integers, not {_name(labels.dtype)}.")
    whole = labels.to(torch.int64)
    outside = whole[(whole < 0) | (whole >= num_classes if num_classes is not None else False)]
    if len(outside):
        allowed = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
        raise ToolError(f"The labels of the edit set {path} must be {allowed}, not {int(outside[0])}.")
    return whole.contiguous()


def stored_pixels(content: dict[Any, Any], count: int) -> torch.Tensor | None:
    """What the inputs were made of, as a file tells it, uint8 (count, S, S, 3); None for anything else."""
    pixels = content.get("pixels")
    if not isinstance(pixels, torch.Tensor) or not is_plain(pixels) or pixels.dtype != torch.uint8:
        return None
    is_square = pixels.ndim == 4 and pixels.shape[1] == pixels.shape[2]
    return pixels.contiguous() if is_square and (len(pixels), pixels.shape[3]) == (count, 3) else None


def _dense(what: str, value: Any, path: Path) -> Any:
    """Entry by entry in memory, without gradients; what is no tensor as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout is not torch.strided and not value.is_nested:
        value = value.to_dense()
    if not is_plain(value):
        raise ToolError(f"The {what} of the edit set {path} are a tensor without entries in memory; save a usual one.")
    return value.detach()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def as_records(metadata: Any, count: int, path: Path) -> list[dict[str, Any]]:
    """One dict an image, from a list of them, a dict of columns, or nothing.

    Tensors and numpy's numbers become Python's. An image's number (``image_idx``,
    ``training_idx``) that can be none is left out.

    Raises:
        ToolError: ``metadata`` is something else, or of another length.
    """
    if metadata is None:
        return [{} for _ in range(count)]
    if isinstance(metadata, dict):
        columns = {key: _column(values, count) for key, values in metadata.items()}
        if all(len(column) == count for column in columns.values()):
            return [_record({key: column[row] for key, column in columns.items()}) for row in range(count)]
    elif isinstance(metadata, list) and len(metadata) == count and all(isinstance(row, dict) for row in metadata):
        return [_record(row) for row in metadata]
    raise ToolError(f"The metadata of the edit set {path} must be a list of {count} dicts, one an image.")


def _record(row: dict[Any, Any]) -> dict[str, Any]:
    record = {str(key): _plain(value) for key, value in row.items()}
    for key in INDICES & record.keys():
        index = _as_index(record.pop(key))
        record |= {} if index is None else {key: index}
    return record


def _as_index(value: Any) -> int | None:
    """A whole number from 0 on that fits int64, however it is written; else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if is_index else None


def _column(values: Any, count: int) -> list[Any]:
    """The values of one key; a value that is no list holds for every image."""
    plain = _plain(values)
    return plain if isinstance(plain, list) else [plain] * count


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist() if is_plain(value) else None
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
