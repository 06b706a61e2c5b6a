"""A module as a chain of layers, each fed by the one before: the only shape whose layers can be repaired here.

What is in front of a chain is only run, so it may be anything.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn

from sytorch.problem.checks import check_model
from sytorch.problem.errors import UnsupportedLayerError


class Permute(nn.Module):
    """Puts the axes of images (N, ...) into another order, the first one staying where it is.

    Args:
        axes: of the result, by their place in what is given: ``(0, 2, 3, 1)`` makes (N, H, W, C) of (N, C, H, W).
    """

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        if axes[:1] != (0,) or sorted(axes) != list(range(len(axes))):
            raise ValueError(f"{axes} is no order of axes that leaves the first where it is")
        self.axes = axes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The same numbers in the other order, contiguous."""
        return images.permute(self.axes).contiguous()

    def extra_repr(self) -> str:
        """The axes."""
        return ", ".join(map(str, self.axes))


MOVING = (nn.Unflatten, nn.ZeroPad2d, Permute)
AFFINE = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.BatchNorm1d, nn.BatchNorm2d, *MOVING)
IDLE = (nn.Dropout, nn.Identity)
KNOWN = (*AFFINE, *IDLE, nn.ReLU, nn.MaxPool2d, nn.Flatten)
REPAIRABLE = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class Chain:
    """The layers of a module in the order in which they run.

    Attributes:
        names: of the layers; what the module does without a submodule, such as ``torch.flatten``, has the name of the
            operation.
        layers: as many modules, dropouts left out.
    """

    names: tuple[str, ...]
    layers: tuple[nn.Module, ...]

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Run all layers."""
        for layer in self.layers:
            values = layer(values)
        return values

    @property
    def repairable(self) -> tuple[str, ...]:
        """The names of the layers whose weights can be changed."""
        pairs = zip(self.names, self.layers, strict=True)
        return tuple(name for name, layer in pairs if isinstance(layer, REPAIRABLE) and not _why_not(layer))

    def split(self, name: str) -> tuple[Chain, nn.Module, Chain]:
        """What comes before a layer whose weights can be changed, the layer, and what comes behind it.

        Raises:
            UnsupportedLayerError: there is none of that name; the message lists those that there are.
        """
        if name not in self.repairable:
            raise UnsupportedLayerError(
                f"Layer {name!r} cannot be repaired{self.why}; choose from: {', '.join(self.repairable) or 'none'}."
            )
        at = self.names.index(name)
        head, tail = slice(0, at), slice(at + 1, None)
        return Chain(self.names[head], self.layers[head]), self.layers[at], Chain(self.names[tail], self.layers[tail])

    @property
    def why(self) -> str:
        """For messages: why the layers before the chain cannot be repaired; empty where there are none."""
        first = self.layers[0] if self.layers else None
        return f" ({first.why} What is before {self.names[1]!r} is only run)" if isinstance(first, Before) else ""

    def behind(self, name: str) -> Chain:
        """What comes behind a layer, which may be one without weights."""
        first = self.names.index(name) + 1
        return Chain(self.names[first:], self.layers[first:])

    def to(self, dtype: torch.dtype) -> Chain:
        """A copy in another floating-point type, without gradients of its weights."""
        return Chain(self.names, tuple(copy.deepcopy(layer).to(dtype).requires_grad_(False) for layer in self.layers))


class Before(nn.Module):
    """What is only run in front of a chain, whatever it is.

    Args:
        steps: of a module, as torch's tracer has them.
        why: they are no chain.
    """

    def __init__(self, steps: fx.GraphModule, why: str) -> None:
        super().__init__()
        self.steps, self.why = steps, why

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Run it."""
        result: torch.Tensor = self.steps(values)
        return result


def chain_of(model: nn.Module, *, whole: bool = False) -> Chain:
    """Read a module's layers from its forward function, which is traced, not run.

    Args:
        model: in evaluation mode.
        whole: all of it has to be a chain. Else the steps up to the last one that is not of a chain, such as a GELU or
            the end of a residual block, are one layer of the kind `Before`.

    Raises:
        InvalidInputError: it is not in evaluation mode.
        UnsupportedLayerError: it is no chain, or one of its layers is not of the kinds in `KNOWN`; the message names
            the layer.
    """
    check_model(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and (reason := _why_unknown(module)):
            raise UnsupportedLayerError(f"{name!r} ({type(module).__name__}) {reason}.")
    if isinstance(model, KNOWN):
        if reason := _why_unknown(model):
            raise UnsupportedLayerError(f"{type(model).__name__} {reason}.")
        return Chain(("",), (model,))
    traced = _traced(model)
    reasons = list(_reasons(model, list(traced.nodes)))
    last = max((place for place, reason in enumerate(reasons) if reason), default=0)
    steps = list(traced.nodes)[last + 1 : -1]
    if reasons[last] and (whole or not steps):
        raise UnsupportedLayerError(reasons[last])
    pairs = [(_label(step), _layer(model, step)) for step in steps]
    if reasons[last]:
        pairs.insert(
            0, (f"everything up to {_label(steps[0].prev)}", _before(model, traced, steps[0].prev, reasons[last]))
        )
    kept = [(name, layer) for name, layer in pairs if not isinstance(layer, IDLE)]
    return Chain(tuple(name for name, _ in kept), tuple(layer for _, layer in kept))


def _traced(model: nn.Module) -> fx.Graph:
    """A module's steps; those of a submodule that cannot be traced are one."""
    for is_deep in (True, False):
        tracer = _Tracer(is_deep)
        try:
            graph = tracer.trace(model)
            vars(tracer).clear()  # it refers to itself, and would keep the weights until the garbage is collected
            return graph
        except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            failure = error
    raise UnsupportedLayerError(f"{type(model).__name__} cannot be traced, so it is no plain chain.") from failure


class _Tracer(fx.Tracer):
    """Looks into no layer that is known, and only where it is deep into modules that are not of torch."""

    def __init__(self, is_deep: bool) -> None:
        super().__init__()
        self._is_deep = is_deep

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, KNOWN) or super().is_leaf_module(m, module_qualified_name):
            return True
        return not self._is_deep and not isinstance(m, nn.Sequential)


def _reasons(model: nn.Module, nodes: list[fx.Node]) -> Iterator[str]:
    """Of every step, why it is not one of a chain; empty where it is."""
    runs = Counter(str(node.target) for node in nodes if node.op == "call_module")
    yield ""
    for before, node in itertools.pairwise(nodes):
        if node.all_input_nodes != [before]:
            yield f"{_label(node)!r} does not get just what the step before it gives: no chain."
        elif node.op == "call_module" and runs[str(node.target)] > 1:
            yield f"{node.target!r} runs twice: a change of it would not be affine."
        elif node.op == "output":
            yield "" if node.args[0] is before else "It does not give just what its last step does: no chain."
        else:
            try:
                layer = _layer(model, node)
            except UnsupportedLayerError as error:
                yield str(error)
            else:
                reason = _why_unknown(layer)
                yield reason and f"{_label(node)!r} ({type(layer).__name__}) {reason}."


def _before(model: nn.Module, traced: fx.Graph, last: fx.Node, why: str) -> Before:
    """The steps up to one."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in traced.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node is last:
            break
    graph.output(copies[last])
    return Before(fx.GraphModule(model, graph).eval(), why)


def _layer(model: nn.Module, node: fx.Node) -> nn.Module:
    """The module that a step runs, or one that does what its function does."""
    if node.op == "call_module":
        return model.get_submodule(str(node.target))
    operation, rest = _label(node), list(node.args[1:])
    if operation in ("flatten", "torch.flatten") and (rest or list(node.kwargs.values())) == [1]:
        return nn.Flatten()
    if operation in ("relu", "torch.relu") and not rest:
        return nn.ReLU()
    raise UnsupportedLayerError(f"{operation!r} in the forward function is none of the steps of a chain.")


def _label(node: fx.Node) -> str:
    if node.op in ("call_module", "call_method"):
        return str(node.target)
    return getattr(node.target, "__name__", str(node.target))


def _why_unknown(layer: nn.Module) -> str:
    """Why a layer cannot be part of a chain; empty where it can."""
    if not isinstance(layer, KNOWN):
        return "is no linear, convolution, ReLU, pooling, flatten, dropout or batch normalisation layer"
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is None:
        return "normalises with the statistics of each batch, so images are not independent"
    if isinstance(layer, nn.MaxPool2d) and (layer.return_indices or layer.ceil_mode):
        return "returns indices or uses ceil_mode, which is not supported"
    if isinstance(layer, nn.Unflatten) and layer.dim != 1:
        return "does not unflatten the vector of every image"
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return "does not flatten every image to a vector"
    return ""


def _why_not(layer: nn.Module) -> str:
    """Why the weights of a layer cannot be changed; empty where they can."""
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        return "grouped or padded with other than zeros"
    if isinstance(layer, nn.Conv2d) and isinstance(layer.padding, str):
        return "padded by a word"
    return ""
