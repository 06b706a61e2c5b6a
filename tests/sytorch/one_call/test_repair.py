"""One call repairs: checked by the network's own forward pass, by scipy, and by what a stranger gets wrong."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn
from torchvision.models import resnet18

import sytorch

COUNT, CLASSES = 12, 4


def network(*, ends_in_relu: bool = False, bias: bool = True, kind: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(8, 40), kind(), nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, CLASSES, bias=bias)]
    return nn.Sequential(*layers, *([nn.ReLU()] if ends_in_relu else [])).eval()


def places() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points, each's second choice as its label, and ordinary points."""
    generator = torch.Generator().manual_seed(0)
    points, ordinary = (torch.randn(count, 8, generator=generator) for count in (COUNT, 600))
    with torch.inference_mode():
        labels = network()(points).topk(2).indices[:, 1]
    return points, labels, ordinary


def parameter(model: nn.Module, name: str) -> torch.Tensor:
    return torch.as_tensor(model.get_parameter(name).detach())


def margins(model: nn.Module, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        outputs: torch.Tensor = model(points)
    own = outputs.gather(1, labels[:, None])[:, 0]
    return own - outputs.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


@pytest.mark.parametrize("layer", ["auto", "0", "2", "4"])
def test_every_point_has_its_margin_and_the_network_is_left_as_it_was(layer: str) -> None:
    model, (points, labels, ordinary) = network(), places()
    before = copy.deepcopy(model.state_dict())
    repaired = sytorch.repair(model, points, labels, ordinary=ordinary, margin=0.1, bound=3.0, layer=layer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    found = margins(repaired.model, points, labels)
    assert float(found.min()) >= 0.1
    assert repaired.least_slack == pytest.approx(float(found.min()) - 0.1, abs=1e-6)
    after = repaired.model.state_dict()
    changed = {name.rsplit(".", 1)[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(repaired.layers) and (layer == "auto" or changed == {layer})
    assert max(float((after[name].double() - before[name].double()).abs().max()) for name in before) <= 3.0
    with torch.inference_mode():
        differ = (model(ordinary).argmax(dim=1) != repaired.model(ordinary).argmax(dim=1)).double().mean()
    assert repaired.lost == pytest.approx(float(differ))


def test_auto_takes_what_costs_ordinary_points_least_and_says_what_it_tried() -> None:
    points, labels, ordinary = places()
    repaired = sytorch.repair(network(), points, labels, ordinary=ordinary, margin=0.1)
    costs = {one.way: one.lost for one in repaired.tried if one.lost is not None}
    assert repaired.lost == min(costs.values()) == costs[repaired.way]
    assert {"last layer", "layer 0", "layer 2"} <= {one.way for one in repaired.tried}
    failed = [one for one in repaired.tried if one.lost is None]
    assert all(one.why for one in failed)


def test_the_last_layers_change_is_the_smallest_by_scipy() -> None:
    points, labels, ordinary = places()
    model = network()
    repaired = sytorch.repair(model, points, labels, ordinary=ordinary, margin=0.1, layer="4")
    assert repaired.proof is not None and repaired.proof.solution.gap < 1e-6
    solution = repaired.proof.solution
    with torch.inference_mode():
        features = np.hstack([model[:4](points).double().numpy(), np.ones((COUNT, 1))])
        outputs = model(points).double().numpy()
        seen = np.hstack([model[:4](ordinary).double().numpy(), np.ones((600, 1))])
        doubts = 1 - model(ordinary).double().softmax(dim=1).square().sum(dim=1).numpy()
    moment = (seen * (doubts / doubts.sum())[:, None]).T @ seen
    moment += 1e-3 * np.trace(moment) / len(moment) * np.eye(len(moment))
    root = np.linalg.cholesky(moment)
    rows, needed = [], []
    for image, label in enumerate(labels.tolist()):
        for other in set(range(CLASSES)) - {label}:
            row = np.zeros((CLASSES, features.shape[1]))
            row[label], row[other] = features[image], -features[image]
            rows.append(np.linalg.solve(root, row.T).T.ravel())
            needed.append(0.1 - outputs[image, label] + outputs[image, other])
    matrix, rhs = np.array(rows), np.array(needed)
    dual, _ = scipy.optimize.nnls(np.vstack([matrix.T, rhs]), np.append(np.zeros(matrix.shape[1]), 1.0))
    left = 1.0 - float(rhs @ dual)
    least = float(np.linalg.norm(matrix.T @ dual)) / left
    assert solution.objective == pytest.approx(least, rel=1e-3)


def test_many_points_enter_when_they_lack_something() -> None:
    torch.manual_seed(3)
    model, ordinary = network(), torch.randn(500, 8)
    points = torch.randn(1500, 8) * 0.2 + torch.tensor([4.0, *[0.0] * 7])
    wanted = sytorch.not_greatest(int(model(points).mean(dim=0).argmax()))
    repaired = sytorch.repair(model, points, wanted, ordinary=ordinary, layer="4")
    with torch.inference_mode():
        outputs = repaired.model(points).double().numpy()
    assert wanted.holds(outputs, repaired.margin * 0.999).all()
    assert repaired.proof is not None and repaired.proof.solution.multipliers.margins.shape[0] == 1500
    assert repaired.proof.solution.gap < 1e-6


@pytest.mark.parametrize(("layer", "several"), [("4", 3), ("2", 2)])
def test_properties_of_each_point(layer: str, several: int) -> None:
    points, _, ordinary = places()
    kinds = [sytorch.least(0), sytorch.between(1, 2.0, 3.0), sytorch.close_to([0.5, 0, -0.5, 1], 0.05)]
    wanted = [kinds[point % several] for point in range(COUNT)]
    repaired = sytorch.repair(network(), points, wanted, ordinary=ordinary, margin=0.05, layer=layer)
    with torch.inference_mode():
        outputs = repaired.model(points).double().numpy()
    assert all(wanted[point].holds(outputs[[point]])[0] for point in range(COUNT))


def test_another_branch_is_taken_where_the_nearest_cannot_be_had() -> None:
    """Two equal points: one must have output 0 greatest; of the other's two branches the nearer contradicts that."""
    model = nn.Sequential(nn.Linear(2, 3))
    with torch.no_grad():
        parameter(model, "0.weight").zero_()
        parameter(model, "0.bias").copy_(torch.tensor([0.0, 1.0, -5.0]))
    points = torch.ones(2, 2)
    wanted = [sytorch.greatest(0), sytorch.greatest(1) | (sytorch.greatest(0) & sytorch.between(2, -np.inf, 0.0))]
    repaired = sytorch.repair(model.eval(), points, wanted, margin=0.5, bound=10.0)
    assert repaired.model(points).argmax(dim=1).tolist() == [0, 0]
    with pytest.raises(sytorch.ContradictionError) as error:
        sytorch.repair(model.eval(), points, [sytorch.greatest(0), sytorch.greatest(1)], margin=0.5, bound=10.0)
    assert error.value.contradiction.images == (0, 1)


def test_a_contradiction_names_the_points_that_were_given() -> None:
    """Of 400 points two are equal and have other labels: the proof is of all points, by their positions."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    points = torch.randn(400, 4)
    labels = model(points).argmax(dim=1)
    points[301] = points[17]
    labels[17], labels[301] = 0, 1
    with pytest.raises(sytorch.ContradictionError) as error:
        sytorch.repair(model, points, labels, margin=0.01, bound=100.0)
    found = error.value.contradiction
    assert {17, 301} & set(found.images)
    assert set(np.flatnonzero(found.multipliers.margins.any(axis=1))) >= set(found.images)
    asked = sytorch.margin(sytorch.symbolic(model, "0")(points), labels, 0.01)
    assert sytorch.minimise("l2", sytorch.IdentityMetric()).subject_to(asked, 100.0).refutes(found.multipliers)


def test_the_margin_follows_what_is_usual() -> None:
    points, labels, ordinary = places()
    with torch.inference_mode():
        first, second = network()(ordinary).topk(2).values.T
    usual = 0.05 * float(np.median((first - second).double().numpy()))
    assert sytorch.repair(network(), points, labels, ordinary=ordinary, layer="4").margin == pytest.approx(usual)
    large = network()
    with torch.no_grad():
        parameter(large, "4.weight").mul_(50)
        parameter(large, "4.bias").mul_(50)
    assert sytorch.repair(large, points, labels, ordinary=ordinary, layer="4").margin == pytest.approx(50 * usual)


def test_spare_units_are_planted_where_there_are_some() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 3)).eval()
    with torch.no_grad():
        parameter(model, "2.weight")[:, 40:] = 0.0
    points, ordinary = torch.randn(10, 30), torch.randn(4000, 30)
    labels = model(points).topk(2).indices[:, 1]
    repaired = sytorch.repair(model, points, labels, ordinary=ordinary, bound=5.0)
    assert repaired.way == "spare units" and repaired.layers == ("0", "2")
    costs = {one.way: one.lost for one in repaired.tried}
    assert repaired.lost is not None and repaired.lost < 0.5 * (costs["last layer"] or 0.0)
    assert float(margins(repaired.model, points, labels).min()) >= repaired.margin
    same = (parameter(repaired.model, "0.weight") == parameter(model, "0.weight")).all(dim=1)
    assert 10 <= int((~same).sum()) <= 160


def test_the_last_layer_of_any_classifier() -> None:
    torch.manual_seed(0)
    model = resnet18(num_classes=5).eval()
    points, ordinary = torch.randn(4, 3, 64, 64), torch.randn(60, 3, 64, 64)
    with torch.inference_mode():
        labels = model(points).topk(2).indices[:, 1].numpy()
    repaired = sytorch.repair(model, points.numpy(), labels.tolist(), ordinary=ordinary.numpy())
    assert repaired.layers == ("fc",) and repaired.way == "last layer"
    assert float(margins(repaired.model, points, torch.from_numpy(labels)).min()) >= repaired.margin
    with pytest.raises(sytorch.UnsupportedLayerError, match="choose from: fc"):
        sytorch.repair(model, points, labels, ordinary=ordinary, layer="layer1.0.conv1")


def test_a_regression_of_one_output_in_float64() -> None:
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 1)).double().eval()
    points, ordinary = torch.randn(5, 3), torch.randn(300, 3)
    values = model(points.double()).detach().numpy() + 0.3
    wanted = [sytorch.close_to(value, 0.01) for value in values]
    repaired = sytorch.repair(model, points, wanted, ordinary=ordinary, margin=0.0)
    found = repaired.model(points.double()).detach().numpy()
    assert np.abs(found - values).max() <= 0.01 and repaired.layers == ("2",)


def _call(model: nn.Module | None = None, points: object = None, labels: object = None, **more: object) -> object:
    usual = places()
    return sytorch.repair(
        network() if model is None else model,
        usual[0] if points is None else points,  # type: ignore[arg-type]
        usual[1] if labels is None else labels,  # type: ignore[arg-type]
        **{"ordinary": usual[2], **more},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: _call(points=places()[0] * np.nan), sytorch.InvalidInputError, "NaN"),
        (lambda: _call(ordinary=places()[2] * np.inf), sytorch.InvalidInputError, "NaN or infinity"),
        (lambda: _call(labels=torch.full((COUNT,), CLASSES)), sytorch.InvalidInputError, "from 0 to 3"),
        (lambda: _call(labels=[0.5] * COUNT), sytorch.InvalidInputError, "whole numbers"),
        (lambda: _call(labels=[0, 1]), sytorch.InvalidInputError, "one label for each"),
        (lambda: _call(labels=[sytorch.least(0)]), sytorch.InvalidInputError, "one for each of 12"),
        (lambda: _call(labels=[sytorch.least(0)] * COUNT), sytorch.InvalidInputError, "Name a margin"),
        (lambda: _call(network().train()), sytorch.InvalidInputError, "model.eval"),
        (lambda: _call(network(bias=False), layer="4"), sytorch.UnsupportedLayerError, "choose from: 0, 2"),
        (lambda: _call(network(ends_in_relu=True), layer="4.5"), sytorch.UnsupportedLayerError, "choose from"),
        (lambda: _call(network(kind=nn.GELU), layer="0"), sytorch.UnsupportedLayerError, "GELU.*choose from: 2, 4"),
        (lambda: _call(points=np.zeros((0, 8), dtype=np.float32)), sytorch.InvalidInputError, "no images"),
        (lambda: _call(points=np.zeros((3, 8), dtype=np.int64)), sytorch.InvalidInputError, "floating-point"),
        (lambda: _call(points=torch.zeros(COUNT, 9)), sytorch.InvalidInputError, "takes no points of"),
        (lambda: _call(margin=-1.0), sytorch.InvalidInputError, "margin"),
        (lambda: _call(margin=np.nan), sytorch.InvalidInputError, "margin"),
        (lambda: _call(bound=0.0), sytorch.InvalidInputError, "bound"),
        (lambda: _call(bound=1e-9, layer="4"), sytorch.ContradictionError, "contradict"),
        (lambda: _call(time_limit=0.0), sytorch.SolverTimeLimitError, "time limit"),
        (lambda: _call(solver="nobody"), ValueError, "nobody"),
    ],
)
def test_what_a_stranger_gets_wrong_is_said(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.slow
def test_a_time_limit_says_at_what_and_hands_over_the_best_so_far() -> None:
    """Wherever the time is up: it is looked at so many times."""
    points, labels, ordinary = places()
    told, with_a_model = set[str](), 0
    for looks in range(0, 200, 3):
        clock = itertools.count()

        def tick(clock: Iterator[int] = clock, looks: int = looks) -> None:
            if next(clock) >= looks:
                raise sytorch.SolverTimeLimitError("The time limit was reached.")

        try:
            sytorch.repair(network(), points, labels, ordinary=ordinary, time_limit=sytorch.Deadline(None, tick))
        except sytorch.SolverTimeLimitError as error:
            told.add(str(error).split(" It was ")[1].split()[0])
            if error.model is not None:
                found = re.search(r"(\d+) of 12 points have what is required", str(error))
                assert found and 0 < int(found[1]) <= int((margins(error.model, points, labels) > 0).sum())
                with_a_model += 1
    assert told == {"trying", "repairing"} and with_a_model


def test_a_metric_of_the_other_family_is_refused_by_name() -> None:
    model, (points, labels, ordinary) = network(), places()
    kronecker = sytorch.kronecker_metric(model, "4", lambda: [ordinary], 100)
    seen, view = sytorch.symbolic(model, "4")(points), sytorch.linearise(model, "4", points)
    with pytest.raises(sytorch.InvalidInputError, match="A KroneckerMetric is not for this program"):
        sytorch.minimise("l2", kronecker)  # type: ignore[arg-type]
    moment = sytorch.second_moment_metric(seen.inputs.T @ seen.inputs, 1e-3)
    wanted = sytorch.margin(view.affine_outputs, labels, 0.1)
    for call in (
        lambda: sytorch.fixed_pattern_program(view, labels, 0.1, moment),  # type: ignore[arg-type]
        lambda: sytorch.relinearise(view, wanted, 0.1, metric=moment, bound=5.0),  # type: ignore[arg-type]
    ):
        with pytest.raises(sytorch.InvalidInputError, match="A SecondMomentMetric is not for this program"):
            call()


def test_labels_and_points_of_either_kind_give_the_same() -> None:
    points, labels, ordinary = places()
    one = sytorch.repair(network(), points, labels, ordinary=ordinary, layer="4")
    two = sytorch.repair(network(), points.numpy(), labels.tolist(), ordinary=ordinary.numpy(), layer="4")
    assert torch.equal(parameter(one.model, "4.weight"), parameter(two.model, "4.weight"))


def test_inputs_that_ordinary_points_lack_are_nearly_free_where_these_are_many() -> None:
    """The share of the change that is in the columns of such inputs; few ordinary points say little of an input."""
    model, (points, labels, ordinary) = network(), places()
    ordinary[:, 5:] = 0.0
    shares = []
    for some in (ordinary[:39], ordinary):
        changed = sytorch.repair(model, points, labels, ordinary=some, margin=0.1, layer="0").model
        change = parameter(changed, "0.weight") - parameter(model, "0.weight")
        shares.append(float(change[:, 5:].norm() / change.norm()))
    assert shares[0] < shares[1] and shares[1] > 0.95


def test_a_contradiction_tells_its_images_and_its_bounds() -> None:
    points, labels, ordinary = places()
    with pytest.raises(sytorch.ContradictionError, match=r"each other: images 0, 1; no bound helps$"):
        sytorch.repair(network(), points[[0, 0]], [0, 1], ordinary=ordinary, layer="4")
    with pytest.raises(
        sytorch.ContradictionError, match=r"images? [\d, .]+; no bound below \S+ helps, and \S+ is enough$"
    ):
        sytorch.repair(network(), points, labels, ordinary=ordinary, layer="4", margin=0.1, bound=1e-3)
