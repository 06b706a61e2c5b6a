"""Random programs with fixed activation patterns: small networks, layers or parts of them, images, labels, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import hypothesis.strategies as st
import torch
from torch import nn

import sytorch
from sytorch.hidden_layer.program import FixedPatternProgram

SHAPES: dict[str, tuple[Callable[[int], nn.Sequential], tuple[int, ...], tuple[str, ...]]] = {
    "deep": (
        lambda classes: nn.Sequential(
            nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, classes)
        ),
        (3,),
        ("0", "0", "2", "4", "0[1:4]", "2[0:2]", "0.bias", "2.bias"),
    ),
    "normalised": (
        lambda classes: nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, classes)),
        (2,),
        ("0", "0[1:3]", "3", "0.bias"),
    ),
    "pooled": (
        lambda classes: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(),
            nn.Linear(4, classes),
        ),
        (1, 4, 4),
        ("0", "0[1:2]", "0.bias", "4", "4[1:3]"),
    ),
    "pool first": (
        lambda classes: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, 1, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(8, classes),
        ),
        (1, 4, 4),
        ("0", "0[0:1]", "0.bias", "5"),
    ),
    "copies": (
        lambda classes: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(),
            nn.Linear(4, classes),
        ),
        (1, 3, 3),
        ("0", "4", "4[1:3]", "4.bias"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A program without its bound.

    Attributes:
        shape, part: which network, and what of it changes.
        images, classes: how many.
        alike: how many of the last images are nearly those before them.
        apart: by how much those differ.
        margin: asked for.
        labels: the second answer, that of a network near by, or the network's own.
        metric: ``identity`` or a random one.
        allowance: see `sytorch.fixed_pattern_program`.
        bound: a number, a share of the least bound that is feasible, or where between it and what the program without
            a bound takes.
        dense: whether Newton's method may be used.
        seed: of everything random.
    """

    shape: str
    part: str
    images: int
    classes: int
    alike: int
    apart: float
    margin: float
    labels: str
    metric: str
    allowance: float
    bound: tuple[str, float]
    dense: bool
    seed: int


BOUNDS = st.one_of(
    st.tuples(st.just("number"), st.sampled_from([0.05, 0.1, 0.5, 5.0, float("inf")])),
    st.tuples(st.just("least"), st.sampled_from([0.5, 0.9, 0.999, 1.0, 1.0001, 1.01, 1.1, 1.5])),
    st.tuples(st.just("between"), st.sampled_from([0.003, 0.03, 0.1, 0.3, 0.6, 0.9])),
    st.tuples(st.just("between"), st.sampled_from([0.003, 0.03, 0.1, 0.3, 0.6, 0.9])),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any case."""
    shape = draw(st.sampled_from(list(SHAPES)))
    images = draw(st.integers(1, 8))
    return Case(
        shape=shape,
        part=draw(st.sampled_from(SHAPES[shape][2])),
        images=images,
        classes=draw(st.integers(2, 4)),
        alike=draw(st.sampled_from([0, 0, 1, 2])) if images > 4 else 0,
        apart=draw(st.sampled_from([0.0, 1e-9, 1e-3])),
        margin=draw(st.sampled_from([0.0, 0.05, 0.05, 0.2, 0.5])),
        labels=draw(st.sampled_from(["second", "near", "near", "near", "own"])),
        metric=draw(st.sampled_from(["identity", "random"])),
        allowance=draw(st.sampled_from([0.0, 1e-5])),
        bound=draw(BOUNDS),
        dense=draw(st.sampled_from([True, True, True, True, False])),
        seed=draw(st.integers(0, 10**6)),
    )


@dataclass(frozen=True, eq=False)
class Problem:
    """A case's network, images and labels, the part as they see it, and a metric of its layer."""

    network: nn.Sequential
    images: torch.Tensor
    labels: torch.Tensor
    view: sytorch.LayerView
    metric: sytorch.KroneckerMetric

    def program(self, case: Case, bound: float) -> FixedPatternProgram:
        """The program under test."""
        return sytorch.fixed_pattern_program(
            self.view, self.labels, case.margin, self.metric, bound=bound, allowance=case.allowance
        )


def problem_of(case: Case) -> Problem:
    """Make it, in float64."""
    torch.manual_seed(case.seed)
    build, shape, _ = SHAPES[case.shape]
    network = build(case.classes).double().eval().requires_grad_(False)
    for module in network:
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    images = torch.randn(case.images, *shape).double()
    if case.alike:
        images[-case.alike :] = images[: case.alike] + case.apart * torch.randn(case.alike, *shape)
    view = sytorch.linearise(network, case.part, images)
    metric = _metric(view, case.metric)
    return Problem(network, images, _labels(case, network, images), view, metric)


def _labels(case: Case, network: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    order: torch.Tensor = network(images).argsort(dim=1, descending=True)
    if case.labels == "near":
        moved = [parameter + 0.2 * torch.randn_like(parameter) for parameter in network.parameters()]
        names = [name for name, _ in network.named_parameters()]
        near = torch.func.functional_call(network, dict(zip(names, moved, strict=True)), (images,))
        return torch.as_tensor(near.argmax(dim=1))
    return order[:, 1 if case.labels == "second" else 0]


def _metric(view: sytorch.LayerView, name: str) -> sytorch.KroneckerMetric:
    def factor(size: int) -> torch.Tensor:
        root = torch.randn(
            size, size // 2 + 1
        ).double()  # of low rank, as moments nearly are: entries depend on each other
        return torch.as_tensor(torch.linalg.cholesky(root @ root.T / size + 0.01 * torch.eye(size)))

    width = len(view.folding.sizes)
    if name == "identity":
        return sytorch.KroneckerMetric(torch.eye(width).double())
    return sytorch.KroneckerMetric(factor(width), factor(view.shape[0]))
