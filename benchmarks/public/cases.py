"""The published networks and points: MNIST's of APRNN (Tao et al., PLDI 2023), and VeRe's of collision avoidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import sytorch
from helpers.errors import ToolError
from sytorch.problem.arrays import Matrix, Vector

EDITED, JUDGED = 100, 1100  # foggy digits: the first misread ones before, and all from there on
ROTATED_LABEL = 8
BOXED, BOXES = "n29-p8", 24
PROPERTIES = {"p2": sytorch.least(0), "p7": sytorch.not_least(3, 4), "p8": sytorch.least(0, 1)}

Right = Callable[[Matrix], Vector]  # of outputs, (N, C): 1 or 0 each


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it is to learn, and by what it is judged.

    Attributes:
        name: of the experiment.
        network: before.
        points: (N, ...), to be repaired, or polytopes.
        wanted: labels, (N,), one for each polytope, or a property.
        ordinary: (R, ...), that are to stay.
        edits, generalization, drawdown: points and who of them is right.
        published: the repaired network that was published; None where there is none.
    """

    name: str
    network: nn.Sequential
    points: torch.Tensor | sytorch.Polytopes
    wanted: torch.Tensor | sytorch.Property
    ordinary: torch.Tensor
    edits: tuple[torch.Tensor, Right]
    generalization: tuple[torch.Tensor, Right]
    drawdown: tuple[torch.Tensor, Right]
    published: nn.Sequential | None = None


def cases(folder: Path) -> Iterator[Case]:
    """All cases.

    Raises:
        ToolError: the archives are not in the folder.
    """
    try:
        archives = [np.load(folder / f"{name}.npz") for name in ("mnist", "mnist_networks", "rotated_eights", "acas")]
    except OSError as error:
        raise ToolError(f"Published networks and points are not in {folder}: give their folder as --data.") from error
    mnist, networks, eights, avoidance = archives
    yield from _foggy_digits(mnist, networks)
    rotated = _rotated_eights(mnist, networks, torch.from_numpy(eights["points"]))
    yield rotated
    yield _as_hulls(rotated, len(eights["points"]))
    names = sorted({name.split("/")[0] for name in avoidance.files})
    yield from (_collision_avoidance(avoidance, name) for name in names)
    yield _as_boxes(_collision_avoidance(avoidance, BOXED))


def _foggy_digits(mnist: np.lib.npyio.NpzFile, networks: np.lib.npyio.NpzFile) -> Iterator[Case]:
    fog, labels = _pixels(mnist["fog"]), torch.from_numpy(mnist["test_labels"].astype(np.int64))
    for name in ("3x100", "9x100"):
        network = chain(networks, f"{name}/original/")
        with torch.inference_mode():
            wrong = torch.nonzero(network(fog[:JUDGED]).argmax(dim=1) != labels[:JUDGED])[:EDITED, 0]
        yield Case(
            f"APRNN, 100 foggy digits, {name}",
            network,
            fog[wrong],
            labels[wrong],
            _pixels(mnist["ordinary"]),
            (fog[wrong], _labelled(labels[wrong])),
            (fog[JUDGED:], _labelled(labels[JUDGED:])),
            (_pixels(mnist["test"]), _labelled(labels)),
            chain(networks, f"{name}/aprnn/"),
        )


def _rotated_eights(mnist: np.lib.npyio.NpzFile, networks: np.lib.npyio.NpzFile, points: torch.Tensor) -> Case:
    """Every second angle is repaired, the others judge."""
    some, others = points[:, ::2].flatten(0, 1), points[:, 1::2].flatten(0, 1)
    labels = torch.full((len(some),), ROTATED_LABEL)
    return Case(
        "APRNN, rotated foggy eights, 9x100",
        chain(networks, "9x100/original/"),
        some,
        labels,
        _pixels(mnist["ordinary"]),
        (some, _labelled(labels)),
        (others, _labelled(labels)),
        (_pixels(mnist["test"]), _labelled(torch.from_numpy(mnist["test_labels"].astype(np.int64)))),
        chain(networks, "9x100/aprnn_polytopes/"),
    )


def _as_hulls(case: Case, count: int) -> Case:
    """All points between the angles of one eight, its convex hull, are repaired."""
    assert isinstance(case.points, torch.Tensor)
    hulls = sytorch.polytopes(case.points.chunk(count))
    labels = torch.full((count,), ROTATED_LABEL)
    return replace(
        case, name=case.name.replace("rotated foggy eights", "hulls of rotated eights"), points=hulls, wanted=labels
    )


def _as_boxes(case: Case) -> Case:
    """Boxes that hold all counterexamples are repaired, every point of them."""
    assert isinstance(case.points, torch.Tensor)
    ends = [torch.stack([part.amin(dim=0), part.amax(dim=0)]).unbind(dim=1) for part in _parts(case.points, BOXES)]
    boxes = sytorch.polytopes(
        [torch.cartesian_prod(*(torch.tensor(sorted(set(end.tolist()))) for end in box)) for box in ends]
    )
    return replace(case, name=f"{case.name}, {BOXES} boxes", points=boxes)


def _parts(points: torch.Tensor, count: int) -> list[torch.Tensor]:
    """So many parts of equal size, (n, k) each, halved or cut into three where the widest input says so."""
    if count == 1:
        return [points]
    cuts = next(cuts for cuts in (3, 2, count) if count % cuts == 0)
    widest = int((points.amax(dim=0) - points.amin(dim=0)).argmax())
    order = points[:, widest].argsort()
    return [part for some in order.tensor_split(cuts) for part in _parts(points[some], count // cuts)]


def _collision_avoidance(archive: np.lib.npyio.NpzFile, name: str) -> Case:
    wanted = PROPERTIES[name.split("-")[1]]

    def right(outputs: Matrix) -> Vector:
        return wanted.holds(outputs).astype(np.float64)

    parts = [torch.from_numpy(archive[f"{name}/{part}"]) for part in ("counterexample", "drawdown")]
    judges = [torch.from_numpy(archive[f"{name}/{part}_test"]) for part in ("counterexample", "drawdown")]
    return Case(
        f"VeRe, collision avoidance, {name}",
        chain(archive, f"{name}/network/"),
        parts[0],
        wanted,
        parts[1],
        (parts[0], right),
        (judges[0], right),
        (judges[1], right),
    )


def chain(archive: np.lib.npyio.NpzFile, prefix: str) -> nn.Sequential:
    """The linear layers under a prefix, in their order in the archive, with ReLUs between."""
    names = [name.removesuffix(".weight") for name in archive.files if name.startswith(prefix)]
    layers: list[nn.Module] = []
    for name in (name for name in names if f"{name}.weight" in archive.files):
        weight = torch.from_numpy(archive[f"{name}.weight"]).float()
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(torch.from_numpy(archive[f"{name}.bias"]).float())
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _labelled(labels: torch.Tensor) -> Right:
    return lambda outputs: (outputs.argmax(axis=1) == labels.numpy()).astype(np.float64)


def _pixels(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float() / 255
