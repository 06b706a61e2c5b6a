"""The certificate of a repaired network: one file, with all that a checker needs, which shares no code with this one.

`verify.py` reads it. A network that is no chain of known layers is in it from the inputs of its last layer on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sytorch.metrics.last_layer import SecondMomentMetric, SharedMetric
from sytorch.network.chain import Before, Chain, chain_of
from sytorch.network.symbolic import symbolic_layers
from sytorch.one_call.task import BATCH, Task, outputs_of
from sytorch.problem.arrays import Matrix
from sytorch.problem.errors import FileError, UnsupportedLayerError
from sytorch.problem.margins import Margins
from sytorch.problem.solution import Solution
from sytorch.spare_units.preparation import rows_of

FORMAT = "sytorch certificate 1"
OF_OUTPUTS = 1e-5  # by how much a checker's margins may be others
KNOWN = {"weight", "bias", "running_mean", "running_var"}
Arrays = dict[str, NDArray[Any]]
Layer = list[Any]  # its name, its kind, and sizes


@dataclass(frozen=True, eq=False)
class Proof:
    """Why no change of the last layer is smaller.

    Attributes:
        solution: with multipliers, for all points, and the lower bound that they prove.
        metric: in which the change is measured.
        allowance: by how much more than is required was asked.
    """

    solution: Solution
    metric: SharedMetric
    allowance: float


def write_certificate(path: Path, task: Task, model: nn.Module, layers: tuple[str, ...], proof: Proof | None) -> None:
    """Write what is claimed of a repaired model, and what proves it.

    Args:
        path: of the file, ``*.npz``; replaced where it is there.
        task: what was asked of which network.
        model: the repaired one.
        layers: that changed; where there is a proof, the last one is the last layer.
        proof: of the last layer's change; None where nothing is proved of its size.

    Raises:
        FileError: it cannot be written; or the network is no chain, and another layer than the last changed.
    """
    before, after, points = _chains(task, model, layers)
    arrays: Arrays = {"points": points.numpy(), "least": task.required.required}
    for when, chain in (("before", before), ("after", after)):
        changed = [name for name in chain.names if when == "before" or name in layers]
        arrays |= {
            f"{when} {name}": array for name, array in _parameters(chain).items() if name.rsplit(".", 1)[0] in changed
        }
    if task.regions is not None:
        arrays["owners"] = task.regions.owners.numpy()
    if isinstance(task.required, Margins):
        arrays["labels"] = task.required.labels
    else:
        images, places = np.nonzero(np.ones_like(task.required.required))
        shape = (*task.required.required.shape, task.required.classes)
        arrays["weights"] = task.required.weights_of(images, places).reshape(shape)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "status": "repaired",
        "layers": [_described(name, layer) for name, layer in zip(before.names, before.layers, strict=True)],
        "changed": list(layers),
        "margin": task.margin,
        "bound": task.bound if np.isfinite(task.bound) else None,
        "objective": None,
        "lower_bound": None,
    }
    if proof is not None:
        solution, outputs = proof.solution, outputs_of(model, task.points)
        size = proof.metric.size(_matrix(model, layers[-1]) - _matrix(task.model, layers[-1]))
        rounding = max(OF_OUTPUTS * float(np.abs(outputs).max()), task.noise)
        low = min(solution.certain_bound(rounding), size)
        facts |= {"objective": size, "lower_bound": low, "allowance": proof.allowance}
        arrays |= {"multipliers": solution.multipliers.margins, "bounds": solution.multipliers.bounds}
        if isinstance(proof.metric, SecondMomentMetric):
            arrays["factor"] = np.tril(proof.metric.factor)
    facts["seal"] = seal_of(facts, arrays)
    try:
        with path.open("wb") as stream:
            np.savez(stream, allow_pickle=False, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
    except OSError as error:
        raise FileError(f"Cannot write {path}: {error.strerror}.") from error


def _matrix(model: nn.Module, layer: str) -> Matrix:
    """Weights and, last, biases of a layer as they are stored, (C, d)."""
    return rows_of(cast(nn.Linear, model.get_submodule(layer))).astype(np.float64)


def seal_of(facts: dict[str, Any], arrays: Arrays) -> str:
    """SHA-256 of everything else."""
    digest = hashlib.sha256(json.dumps({**facts, "seal": None}, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}\n".encode() + array.tobytes())
    return digest.hexdigest()


def _chains(task: Task, after: nn.Module, layers: tuple[str, ...]) -> tuple[Chain, Chain, torch.Tensor]:
    """Both networks as chains of layers that the checker runs, of any other the last layer alone, and what they get."""
    try:
        (before, points), (changed, _) = (_known(chain_of(model), task.points) for model in (task.model, after))
        if set(layers) <= set(before.names):
            return before, changed, points
        raise UnsupportedLayerError(f"not all of {', '.join(layers)} are in it.")
    except UnsupportedLayerError as error:
        (last, *more) = layers
        if more or task.regions is not None or last not in symbolic_layers(task.model):
            raise FileError(f"A certificate of this repair needs a chain of known layers: {error}") from error
        alone = [Chain((last,), (model.get_submodule(last),)) for model in (task.model, after)]
        return alone[0], alone[1], _inputs(task, last)


def _known(chain: Chain, points: torch.Tensor) -> tuple[Chain, torch.Tensor]:
    """The chain without what is only run before it, and what that makes of points.

    Raises:
        UnsupportedLayerError: the checker does not know one of its layers.
    """
    if isinstance(chain.layers[0], Before):
        with torch.inference_mode():
            points = chain.layers[0](points)
        chain = Chain(chain.names[1:], chain.layers[1:])
    for name, layer in zip(chain.names, chain.layers, strict=True):
        _described(name, layer)
    return chain, points


def _inputs(task: Task, layer: str) -> torch.Tensor:
    """What a layer gets from the points."""
    seen: list[torch.Tensor] = []
    handle = task.model.get_submodule(layer).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.inference_mode():
            for batch in torch.split(task.points, BATCH):
                task.model(batch)
    finally:
        handle.remove()
    return torch.cat(seen)


def _parameters(chain: Chain) -> Arrays:
    """Weights, biases and running statistics by name."""
    found: Arrays = {}
    for name, layer in zip(chain.names, chain.layers, strict=True):
        for part, value in layer.state_dict().items():
            if value.is_floating_point():
                found[f"{name}.{part}"] = value.detach().numpy()
    return found


def _described(name: str, layer: nn.Module) -> Layer:
    """What the checker needs to run a layer beside its parameters.

    Raises:
        UnsupportedLayerError: it does not know such layers.
    """
    found: Layer | None = None
    match layer:
        case nn.Linear():
            found = ["linear"]
        case nn.ReLU():
            found = ["relu"]
        case nn.Flatten():
            found = ["flatten"]
        case nn.Conv2d(padding=tuple(), padding_mode="zeros"):
            found = ["conv", layer.stride, layer.padding, layer.dilation, layer.groups]
        case nn.MaxPool2d(ceil_mode=False):
            found = ["max", layer.kernel_size, layer.stride, layer.padding, layer.dilation]
        case nn.AvgPool2d(ceil_mode=False, divisor_override=None):
            found = ["mean", layer.kernel_size, layer.stride, layer.padding, False, layer.count_include_pad]
        case nn.AdaptiveAvgPool2d():
            found = ["adaptive", layer.output_size]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            found = ["norm", layer.eps]
    if found is None:
        raise UnsupportedLayerError(f"the checker knows no {type(layer).__name__}, which {name!r} is.")
    if other := {key for key, value in layer.state_dict().items() if value.is_floating_point()} - KNOWN:
        raise UnsupportedLayerError(f"{name!r} has {', '.join(sorted(other))}, which the checker does not know.")
    return [name, *found]
