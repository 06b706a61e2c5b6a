"""Polytopes given by their vertices, seen by one layer: what holds at the vertices then holds at every point inside.

All vertices of a polytope get one fixed activation pattern. Where that pattern is theirs, the network is affine on
the polytope, so a margin that every vertex has is had by each of their convex combinations (the argument of V-polytope
repair: Tao, Nawas, Mitchell and Thakur, "Architecture-Preserving Provable Repair of Deep Neural Networks", PLDI 2023).
Polytopes are not subdivided: the layers before the repaired one, which no change moves, must already have one pattern,
which `sytorch.shift` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import nn

from sytorch.hidden_layer.constraints import still_of
from sytorch.network.activation_pattern import FixedLayer, FixedSigns, Pattern, pattern_of
from sytorch.network.chain import Chain, chain_of
from sytorch.network.layer_view import LayerView, Part, linearise, part_named
from sytorch.problem.checks import check_images, checked_labels
from sytorch.problem.deadline import Deadline, as_deadline
from sytorch.problem.errors import InvalidInputError, SplitPolytopeError

ROUNDING = 1e-12
Common = torch.Tensor | Mapping[str, torch.Tensor] | Literal["centre", "majority"]


@dataclass(frozen=True, eq=False)
class Polytopes:
    """The convex hulls of groups of points.

    Attributes:
        vertices: (V, ...), of all polytopes one after the other.
        owners: (V,) int64, the polytope of each vertex.
    """

    vertices: torch.Tensor
    owners: torch.Tensor

    @property
    def centres(self) -> torch.Tensor:
        """The mean of each polytope's vertices, (R, ...) float64."""
        return torch.stack([group.double().mean(dim=0) for group in self.groups(self.vertices)])

    def groups(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What belongs to the vertices, (V, ...), polytope by polytope."""
        return torch.split(values, torch.bincount(self.owners).tolist())

    def at_vertices(self, values: torch.Tensor) -> torch.Tensor:
        """What belongs to the polytopes, such as labels, (R, ...), vertex by vertex."""
        return values[self.owners]


def polytopes(groups: Sequence[torch.Tensor]) -> Polytopes:
    """The polytopes with these vertices, each (V_r, ...).

    Raises:
        InvalidInputError: there is none, or one without a vertex, or they are no finite images of one shape and type.
    """
    if not len(groups) or not all(len(group) for group in groups):
        raise InvalidInputError("At least one polytope is needed, and each needs a vertex.")
    for group in groups:
        check_images(group)
    if len({(group.shape[1:], group.dtype) for group in groups}) > 1:
        raise InvalidInputError("The vertices of all polytopes must be of one shape and one floating-point type.")
    counts = torch.tensor([len(group) for group in groups])
    return Polytopes(torch.cat(list(groups)), torch.arange(len(groups)).repeat_interleave(counts))


def linearise_polytopes(
    model: nn.Module | Chain,
    part: Part | str,
    regions: Polytopes,
    pattern: Common = "centre",
    time_limit: float | Deadline | None = None,
) -> LayerView:
    """Look at a layer through the vertices of polytopes, all those of one polytope with the same pattern fixed.

    With `sytorch.fixed_pattern_program`, whose labels are the vertices', this repairs every point inside. A vertex that
    has another pattern at first has negative slack; its logits are those of the pattern's affine function.

    Args:
        model: in evaluation mode; computed in float64 and left as it was.
        part: what is to change.
        regions: the polytopes.
        pattern: that each polytope is to have: that of its ``centre``; of each unit the sign, and of each window the
            winner, of most vertices: ``majority``; that of points, (R, ...); or signs by name of a ReLU, (R, Q) bool,
            the others by majority.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        InvalidInputError: see `linearise`; or there is not one point for each polytope, or signs are of other units.
        SolverTimeLimitError: the time is up.
        SplitPolytopeError: the layers before that one are not affine on a polytope.
        UnsupportedLayerError: see `linearise`.
    """
    part, deadline = part_named(part) if isinstance(part, str) else part, as_deadline(time_limit)
    chain = (model if isinstance(model, Chain) else chain_of(model, whole=True)).to(torch.float64)
    head, layer, _ = chain.split(part.layer)
    view = linearise(chain, part, regions.vertices.double(), time_limit=deadline)
    outputs = layer(affine_on(head, regions))
    if not isinstance(pattern, torch.Tensor) and pattern != "centre":
        signs = {} if isinstance(pattern, str) else pattern
        return replace(view, pattern=majority_of(view.pattern.tail, outputs, regions, signs))
    points = regions.centres if isinstance(pattern, str) else pattern.double()
    if len(points) != len(regions.centres):
        raise InvalidInputError(f"{len(regions.centres)} polytopes need a point each, not {len(points)}.")
    chosen = linearise(chain, part, points, time_limit=deadline)
    return replace(view, pattern=chosen.pattern.forced(outputs, regions.owners))


def majority_of(tail: Chain, outputs: torch.Tensor, regions: Polytopes, signs: Mapping[str, torch.Tensor]) -> Pattern:
    """The pattern that most vertices have, unit by unit, each as the layers before it are with their common pattern.

    Args:
        tail: the layers, in float64.
        outputs: (V, ...), what they get.
        regions: the polytopes.
        signs: of ReLUs that are to have others, by name, (R, Q).
    """
    fixed: dict[int, FixedLayer] = {}
    seen: dict[int, torch.Tensor] = {}
    values, vertices = outputs, torch.arange(len(outputs))
    for position, (name, layer) in enumerate(zip(tail.names, tail.layers, strict=True)):
        own = pattern_of(Chain((name,), (layer,)), values).fixed.get(0)
        if own is None:
            values = layer(values)
            continue
        if isinstance(own, FixedSigns):
            most = majority(values.flatten(1), regions)
            own = replace(own, positive=most if name not in signs else given_signs(signs, name, most, regions))
        else:
            groups = regions.groups(own.winners)
            own = replace(own, winners=regions.at_vertices(torch.stack([each.mode(dim=0).values for each in groups])))
        seen[position], fixed[position] = values, own
        values = own.forward(values, vertices)
    return Pattern(tail, fixed, seen, values)


def majority(values: torch.Tensor, regions: Polytopes) -> torch.Tensor:
    """Which values, (V, Q), are above zero at most vertices of their polytope, or on a tie in the mean; (V, Q) bool."""
    found = []
    for group in regions.groups(values):
        share = (group > 0).double().mean(dim=0)
        found.append((share > 0.5) | ((share == 0.5) & (group.mean(dim=0) > 0)))
    return regions.at_vertices(torch.stack(found))


def given_signs(signs: Mapping[str, torch.Tensor], name: str, like: torch.Tensor, regions: Polytopes) -> torch.Tensor:
    """The signs of a ReLU, (V, Q), as they are given by polytope.

    Raises:
        InvalidInputError: they are of other units.
    """
    given, shape = signs[name], (len(regions.centres), like.shape[1])
    if given.dtype != torch.bool or given.shape != shape:
        raise InvalidInputError(f"Signs of {name!r} must be bool, {shape}, not {given.dtype}, {tuple(given.shape)}.")
    return regions.at_vertices(given)


@dataclass(frozen=True)
class Verdict:
    """What a repaired module does at the vertices of polytopes, as it runs and in float64.

    Attributes:
        broken: how many inequalities of the common pattern do not hold in either, see `Pattern.broken`. Only where it
            is zero does the rest say anything about points that are not vertices.
        margin: the least one of a vertex, in both.
        rounding: the largest difference of a logit between both.
    """

    broken: int
    margin: float
    rounding: float


def check_polytopes(
    model: nn.Module,
    view: LayerView,
    regions: Polytopes,
    labels: ArrayLike | torch.Tensor,
    time_limit: float | Deadline | None = None,
) -> Verdict:
    """Run a repaired module at all vertices: whether it has the fixed pattern, and what it answers.

    Args:
        model: with the change applied, in the type that it is to run in.
        view: from `linearise_polytopes`.
        regions: the polytopes, of that type.
        labels: (V,), of the vertices.
        time_limit: seconds, or a deadline that others share, or None.

    Raises:
        InvalidInputError: the module is in training mode, or labels are not what they have to be.
        SolverTimeLimitError: the time is up.
        SplitPolytopeError: see `linearise_polytopes`.
    """
    own = torch.from_numpy(checked_labels(labels, *view.logits.shape))
    deadline, chain = as_deadline(time_limit), chain_of(model, whole=True)
    exact = chain.to(torch.float64)
    affine_on(exact.split(view.part.layer)[0], regions)
    deadline.check()
    as_run = _answers(chain, view, regions.vertices)
    deadline.check()
    in_float64 = _answers(exact, view, regions.vertices.double())
    return Verdict(
        as_run[0] + in_float64[0],
        min(_least_margin(as_run[1], own), _least_margin(in_float64[1], own)),
        float((as_run[1] - in_float64[1]).abs().max()),
    )


def _answers(chain: Chain, view: LayerView, vertices: torch.Tensor) -> tuple[int, torch.Tensor]:
    """How much of the pattern is broken, and the logits, (V, C) float64."""
    head, layer, tail = chain.split(view.part.layer)
    with torch.no_grad():
        outputs = layer(head(vertices))
        return view.pattern.broken(tail, outputs, still_of(view)), tail(outputs).double()


def _least_margin(logits: torch.Tensor, labels: torch.Tensor) -> float:
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return float((own - others.amax(dim=1, keepdim=True)).min())


def affine_on(head: Chain, regions: Polytopes) -> torch.Tensor:
    """What the layers of a float64 head make of the vertices, (V, ...); raises where they bend on a polytope."""
    forced = pattern_of(head, regions.centres).forced(regions.vertices.double(), regions.owners)
    for position, fixed in forced.fixed.items():
        values = forced.values[position]
        bent = fixed.by_unit(fixed.slack(values) < -ROUNDING * max(1.0, float(values.abs().max())))
        for polytope, units in enumerate(regions.groups(bent)):
            if count := int(units.any(dim=0).sum()):
                raise SplitPolytopeError(head.names[position], polytope, count)
    return forced.logits


def broken_on(model: nn.Module | Chain, regions: Polytopes) -> int:
    """How many units of a network, as it runs and in float64, have not one sign on a polytope; 0 where it is affine."""
    chain = model if isinstance(model, Chain) else chain_of(model, whole=True)
    exact, vertices = chain.to(torch.float64), regions.vertices.double()
    pattern = majority_of(exact, vertices, regions, {})
    still = {
        place: torch.zeros_like(fixed.slack(pattern.values[place])).bool() for place, fixed in pattern.fixed.items()
    }
    return pattern.broken(chain, regions.vertices, still) + pattern.broken(exact, vertices, still)
