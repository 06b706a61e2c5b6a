"""ONNX files in and out: read as a chain of layers, written with the changed weights and nothing else changed."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from sytorch.files.onnx_graph import OnnxGraph, Step, import_onnx, load_graph
from sytorch.files.onnx_layers import Layer, layers_of, with_bias
from sytorch.files.stored import Stored
from sytorch.files.writing import checked_state, replace_file
from sytorch.network.chain import chain_of
from sytorch.problem.errors import FileError

LAST = ("Softmax", "LogSoftmax")
TAKEN = frozenset(dir(nn.Sequential()))


@dataclass(frozen=True, eq=False)
class _OnnxChain:
    """A file's graph, its layers, and where each entry of their ``state_dict`` is in the file."""

    graph: OnnxGraph
    network: nn.Sequential
    stored: dict[str, Stored]


def read_onnx(path: str | Path) -> nn.Sequential:
    """The network of an ONNX file, as a chain that every function here takes.

    Known are Conv (two-dimensional), Gemm, MatMul, Add of a bias behind these, Relu, MaxPool, AveragePool,
    GlobalAveragePool, BatchNormalization, Flatten, Reshape, Transpose (the batch staying first), Dropout and Identity;
    and adaptive average pools as torch's exporter writes them, in several steps.
    A Softmax or LogSoftmax at the end is left off: the network gives logits. Zeros that a convolution puts on one side
    more than on the other are a layer of their own. The batch may have any size, also where the file names one.

    Args:
        path: the file.

    Returns:
        The network, (N, ...) -> (N, C), of the file's floating-point type, in evaluation mode. A layer has the name of
        its weights in the file, without ``.weight`` and with ``_`` for every sign that no name of a module has; else
        that of its node; else that of its operation.

    Raises:
        FileError: the file is missing or damaged, branches, or has a step that is not known; the message names it.
        MissingPackageError: the package ``onnx`` is not installed.
    """
    return _read(Path(path)).network


def write_onnx(model: nn.Module, given: str | Path, path: str | Path) -> None:
    """Write an ONNX file again with the weights of the module that `read_onnx` made of it, repaired since.

    Numbers that did not change keep their bytes, and so does everything else: nodes, names, metadata, a softmax at
    the end. What a Gemm multiplies by alpha or beta is divided by it, and may so be rounded once.

    Args:
        model: what `read_onnx` has made of ``given``, with other weights.
        given: that file.
        path: where to, perhaps ``given`` itself; the file is whole or not there.

    Raises:
        FileError: the module is not that of the file, or the file cannot hold its weights: one constant serves two
            layers or all units of one, or the constants are in a file of their own.
        MissingPackageError: the package ``onnx`` is not installed.
    """
    chain = _read(Path(given))
    _refuse_external(Path(given))
    before = chain.network.state_dict()
    state = checked_state(model, before, Path(given))
    changed = [name for name in chain.stored if not torch.equal(state[name], before[name])]
    uses = Counter(id(stored.proto) for stored in chain.stored.values())
    for name in changed:
        stored = chain.stored[name]
        if uses[id(stored.proto)] > 1:
            raise FileError(
                f"{given} has one constant, {stored.name!r}, for {name!r} and another layer: it cannot change."
            )
        stored.put(state[name].numpy())
    replace_file(Path(path), chain.graph.model.SerializeToString())


def _read(path: Path) -> _OnnxChain:
    graph = load_graph(path)
    try:
        named = _named(list(_layers(graph)))
    except FileError as error:
        raise FileError(f"{path} cannot be read as a chain of layers: {error}") from error
    network = nn.Sequential(OrderedDict((name, layer.module) for name, layer in named)).eval()
    chain_of(network, whole=True)  # which says where it is none
    stored = {f"{name}.{tensor}": constant for name, layer in named for tensor, constant in layer.stored.items()}
    return _OnnxChain(graph, network.requires_grad_(False), stored)


def _layers(graph: OnnxGraph) -> Iterator[tuple[Step, Layer]]:
    """Each layer with the step that it is of, run once on zeros to know what the next one gets."""
    found: list[tuple[Step, Layer]] = []
    sizes = graph.sizes
    for given in graph.steps:
        step = replace(given, sizes=sizes)
        if step.op in LAST:
            _check_last(step, graph)
            break
        if step.op == "Add":
            if not found:
                raise step.refuse("adds to the input, and not to a product with weights")
            found[-1] = (found[-1][0], with_bias(step, found[-1][1]))
            continue
        for layer in layers_of(step):
            dtype = next((tensor.dtype for tensor in layer.module.state_dict().values()), None)
            values = torch.zeros(1, *(size or 1 for size in sizes[1:]), dtype=dtype or torch.float32)
            sizes = (sizes[0], *_run(step, layer.module, values).shape[1:])
            found.append((step, layer))
    if not found:
        raise FileError("it has no layers.")
    yield from found


def _check_last(step: Step, graph: OnnxGraph) -> None:
    if step.place != graph.steps[-1].place or len(step.sizes) != 2 or step.attributes.get("axis", 1) not in (1, -1):
        raise step.refuse("is no softmax over the outputs of each image, at the end")


def _run(step: Step, module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    try:
        with torch.no_grad():
            result: torch.Tensor = module.eval()(values)
    except (RuntimeError, ValueError, IndexError) as error:
        raise step.refuse(f"takes nothing of the shape {tuple(values.shape[1:])}") from error
    return result


def _named(layers: list[tuple[Step, Layer]]) -> list[tuple[str, Layer]]:
    """The layers with names that a module can have, none twice."""
    named, taken = list[tuple[str, Layer]](), set(TAKEN)
    for step, layer in layers:
        name = plain = re.sub(r"\W+", "_", _name(step, layer)).strip("_") or step.op.lower()
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        named.append((name, layer))
    return named


def _name(step: Step, layer: Layer) -> str:
    if "weight" in layer.stored:
        name = layer.stored["weight"].name
        if name.endswith(".weight"):
            return name.removesuffix(".weight")
        if not step.node.name and not name.isdigit():
            return name
    return step.node.name or f"{step.op.lower()}_{step.place}"


def _refuse_external(path: Path) -> None:
    """Raise `FileError` where a file keeps constants in another one."""
    onnx = import_onnx()
    model = onnx.load(path, load_external_data=False)
    if any(proto.data_location == onnx.TensorProto.EXTERNAL for proto in model.graph.initializer):
        raise FileError(
            f"{path} keeps its constants in another file; save it in one first: onnx.save(onnx.load(path), path)."
        )
