"""The graph of an ONNX file as a row of steps, each fed by the one before, with constants for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sytorch.files.stored import Array, Stored
from sytorch.files.writing import read_file
from sytorch.problem.errors import FileError, MissingPackageError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OURS = ("", "ai.onnx")
POOL_BEGINS, POOL_ENDS = ["Transpose", "GatherND"], ("ReduceMean", "Div")  # windows gathered, then their means
POOL_PARTS = (*POOL_BEGINS, *POOL_ENDS, "Where", "Gather", "Add")
OLDEST = 7  # before, batches were normalised and units dropped as in training, unless a step said otherwise


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of the row.

    Attributes:
        node: of the file.
        place: among all nodes, from 0.
        constants: its inputs by their place, but for what the step before gives; None where an input is left out.
        data: the place of that.
        attributes: by name; texts are str.
        opset: the version of its operations.
        parts: the steps that it stands for, where it is the last of several that are one average pool.
        sizes: of what it is given, (N, ...), once that is known; None for a batch of any size.
    """

    node: NodeProto
    place: int
    constants: tuple[Stored | None, ...]
    data: int
    attributes: dict[str, Any]
    opset: int
    parts: tuple[Step, ...] = ()
    sizes: tuple[int | None, ...] = ()

    @property
    def op(self) -> str:
        """What it does, ``Conv``."""
        return self.node.op_type

    @property
    def label(self) -> str:
        """For messages."""
        if self.parts:
            return f"{self.parts[0].label} to {replace(self, parts=()).label}"
        return f"step {self.place} ({self.op}{f' {self.node.name!r}' if self.node.name else ''})"

    def refuse(self, why: str) -> FileError:
        """The error that says why this step cannot be read."""
        return FileError(f"{self.label} {why}.")

    def constant(self, place: int) -> Stored | None:
        """The input of that place, where it is there and no data."""
        return self.constants[place] if place < len(self.constants) else None

    def needed(self, place: int) -> Stored:
        """The same; raises `FileError` where it is missing or computed."""
        if (found := self.constant(place)) is None:
            raise self.refuse(f"has no constant as its input {place}")
        return found


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """An ONNX file.

    Attributes:
        model: all of it.
        steps: in their order.
        sizes: of its input, (N, ...): None for the batch where it may have any size.
    """

    model: ModelProto
    steps: tuple[Step, ...]
    sizes: tuple[int | None, ...]


def import_onnx() -> Any:
    """The package; raises `MissingPackageError` where it is not installed."""
    try:
        import onnx  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise MissingPackageError(
            "ONNX files need the package onnx: uv sync --extra onnx, or pip install onnx."
        ) from error
    return onnx


def load_graph(path: Path) -> OnnxGraph:
    """Read a file and see that it is a row of steps.

    Raises:
        FileError: it is missing, damaged, or branches; the message names the step.
        MissingPackageError: the package ``onnx`` is not installed.
    """
    onnx = import_onnx()
    read_file(path)
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker, and missing files beside: each has its own
        raise FileError(f"{path} is no ONNX file, or damaged: {_first_line(error)}") from error
    try:
        return OnnxGraph(model, tuple(_steps(model)), _sizes(model))
    except FileError as error:
        raise FileError(f"{path} cannot be read as a chain of layers: {error}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else f"{type(error).__name__}."


def _steps(model: ModelProto) -> Iterator[Step]:
    graph = model.graph
    if graph.sparse_initializer or model.functions:
        raise FileError("it has sparse constants, or functions of its own.")
    opset = next((entry.version for entry in model.opset_import if entry.domain in OURS), 1)
    if opset < OLDEST:
        raise FileError(f"its operations are those of version {opset}, and known are those from {OLDEST} on.")
    known = {proto.name: _stored(proto, proto.name) for proto in graph.initializer}
    steps, current = list(_computing(model, known, opset)), _input(model).name
    while steps:
        count = _pool_length(steps, current)
        step, parts = steps[max(count, 1) - 1], tuple(steps[:count])
        first, steps = steps[0], steps[max(count, 1) :]
        if [name for name in first.node.input if name and name not in known] != [current]:
            raise first.refuse("does not get just what the step before it gives: no chain")
        yield replace(step, data=list(first.node.input).index(current), parts=parts)
        current = step.node.output[0]
    if [output.name for output in graph.output] != [current]:
        named = ", ".join(repr(output.name) for output in graph.output)
        raise FileError(f"its outputs, {named}, are not just what its last step gives, {current!r}.")


def _computing(model: ModelProto, known: dict[str, Stored], opset: int) -> Iterator[Step]:
    """The steps that compute with images; what the others give is added to the constants."""
    for place, node in enumerate(model.graph.node):
        step = Step(node, place, tuple(known.get(name) for name in node.input), 0, _attributes(node), opset)
        if node.domain not in OURS:
            raise step.refuse(f"is of the domain {node.domain!r}")
        if all(name in known for name in node.input if name):
            known[node.output[0]] = _folded(step)
        else:
            yield step


def _pool_length(steps: list[Step], current: str) -> int:
    """How many of the first steps torch's exporter writes for one average pool; 0 where they are none."""
    if [step.op for step in steps[:2]] != POOL_BEGINS:
        return 0
    made = {current}
    for count, step in enumerate(steps, 1):
        given = [name for name, constant in zip(step.node.input, step.constants, strict=True) if constant is None]
        if step.op not in POOL_PARTS or not made.issuperset(given):
            return 0
        later = {name for other in steps[count:] for name in other.node.input}
        if step.op in POOL_ENDS and not later & made:
            return count
        made |= set(step.node.output)
    return 0


def _input(model: ModelProto) -> ValueInfoProto:
    """The graph's input; older files list their constants among the inputs, too."""
    constants = {proto.name for proto in model.graph.initializer}
    inputs: list[ValueInfoProto] = [given for given in model.graph.input if given.name not in constants]
    if len(inputs) != 1:
        raise FileError(f"it has {len(inputs)} inputs, not one.")
    return inputs[0]


def _sizes(model: ModelProto) -> tuple[int | None, ...]:
    given = _input(model)
    tensor = given.type.tensor_type
    sizes = [entry.dim_value or None for entry in tensor.shape.dim]
    if len(sizes) < 2 or None in sizes[1:]:
        raise FileError(f"it does not say the shape of its input {given.name!r}, but for the batch: (N, ...).")
    return tuple(sizes)


def _attributes(node: NodeProto) -> dict[str, Any]:
    helper = import_onnx().helper
    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _stored(proto: TensorProto, name: str) -> Stored:
    try:
        array: Array = import_onnx().numpy_helper.to_array(proto)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"its constant {name!r} is damaged: {error}.") from error
    return Stored(name, proto, array)


def _folded(step: Step) -> Stored:
    """A step that gives a constant: the constant, or one that differs from another by its place or order only."""
    if step.op == "Constant" and "value" in step.attributes:
        return _stored(step.attributes["value"], step.node.output[0])
    if step.op == "Constant" and "value_ints" in step.attributes:
        array = np.array(step.attributes["value_ints"], dtype=np.int64)
        return Stored(step.node.output[0], import_onnx().TensorProto(), array)
    if step.op in ("Identity", "Transpose"):
        given = step.needed(0)
        axes = tuple(step.attributes.get("perm", range(given.value.ndim)[::-1]))
        return given if step.op == "Identity" else given.transposed(axes)
    raise step.refuse("computes with constants alone; simplify the file first")
