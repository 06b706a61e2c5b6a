"""Numbers of an ONNX file as a layer of torch has them, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sytorch.problem.errors import FileError

if TYPE_CHECKING:
    from onnx import TensorProto

Array = NDArray[Any]
ROUNDING = 1e-6  # relative, of what is divided by alpha or beta, and multiplied again


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant of a file, and what a layer makes of it.

    Attributes:
        name: in the file.
        proto: where the file has it.
        array: what it holds, of the shape that it has there.
        axes: which of its axes each axis of the layer's tensor is; None where their order is the same.
        scale: the layer's tensor is so many times it.
        shape: of the layer's tensor, with axes of length 1 more or less; None where it is the same.
    """

    name: str
    proto: TensorProto
    array: Array
    axes: tuple[int, ...] | None = None
    scale: float = 1.0
    shape: tuple[int, ...] | None = None

    def transposed(self, axes: tuple[int, ...]) -> Stored:
        """With its axes in another order, which comes after the one that it has."""
        before = self.axes or tuple(range(self.array.ndim))
        return replace(self, axes=tuple(before[axis] for axis in axes))

    @property
    def value(self) -> Array:
        """The layer's tensor."""
        moved = self.array if self.axes is None else self.array.transpose(self.axes)
        scaled = moved if self.scale == 1.0 else moved * moved.dtype.type(self.scale)
        if self.shape is None:
            return scaled
        return scaled.reshape(self.shape) if self._is_whole else np.broadcast_to(scaled.reshape(()), self.shape)

    @property
    def _is_whole(self) -> bool:
        """Whether each number of the tensor is one of the file's, and not one number all of them."""
        return self.shape is None or int(np.prod(self.shape)) == self.array.size

    def put(self, value: Array) -> None:
        """Write a layer's tensor into the file's; what did not change keeps its bytes.

        Raises:
            FileError: the file has one number for all of them, and they differ.
        """
        changed = value != self.value
        if not changed.any():
            return
        if not self._is_whole and (value != value.flat[0]).any():
            raise FileError(
                f"The file has one number, {self.name!r}, for all {value.size} of a layer, and now they differ."
            )
        news, places = (part if self._is_whole else part.flat[:1] for part in (value, changed))
        array = np.where(self._back(places), self._back(news), self.array)
        if not np.allclose(replace(self, array=array).value, value, rtol=ROUNDING, atol=0.0):
            raise FileError(
                f"The file cannot hold what {self.name!r} has to be: divided by {self.scale:g} it is not finite."
            )
        _write(self.proto, array)

    def _back(self, value: Array) -> Array:
        """From the layer's tensor to the file's."""
        axes = self.axes or tuple(range(self.array.ndim))
        moved = value.reshape([self.array.shape[axis] for axis in axes]).transpose(np.argsort(axes))
        is_mask = moved.dtype == np.bool_
        return moved if is_mask or self.scale == 1.0 else moved / moved.dtype.type(self.scale)


def _write(proto: TensorProto, array: Array) -> None:
    """In the field in which the file had them."""
    if proto.HasField("raw_data"):
        proto.raw_data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        return
    field = proto.double_data if array.dtype == np.float64 else proto.float_data
    field[:] = array.reshape(-1).tolist()
