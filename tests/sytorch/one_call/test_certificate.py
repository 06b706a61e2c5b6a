"""A repaired network's certificate: accepted as it is, refused with anything altered."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import sytorch
from checker.certificate import seal
from checker.chain import ChainCertificate, certificate_of
from tests.conftest import CHECKOUT
from tests.sytorch.one_call.test_repair import network, parameter, places

Content = dict[str, np.ndarray[Any, Any]]


def convolutions() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 3)).eval(), torch.randn(
        90, 1, 8, 8
    )


def planted() -> sytorch.Repaired:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 200), nn.ReLU(), nn.Linear(200, 3)).eval()
    with torch.no_grad():
        parameter(model, "2.weight")[:, 40:] = 0.0
    points, ordinary = torch.randn(10, 30), torch.randn(4000, 30)
    return sytorch.repair(model, points, model(points).topk(2).indices[:, 1], ordinary=ordinary, bound=5.0)


def of_layer(layer: str, **more: Any) -> sytorch.Repaired:
    points, labels, ordinary = places()
    return sytorch.repair(network(), points, labels, layer=layer, **{"ordinary": ordinary, "margin": 0.1, **more})


def of_convolutions(layer: str) -> sytorch.Repaired:
    model, points = convolutions()
    labels = model(points[:5]).topk(2).indices[:, 1]
    return sytorch.repair(model, points[:5], labels, ordinary=points[5:], layer=layer, margin=0.05)


class Attention(nn.Module):
    """What is only run, and a chain behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.chain = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.chain(self.block(values).mean(dim=1))
        return result


class Residual(nn.Module):
    """A block with a branch, and a chain behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Conv2d(1, 1, 3, padding=1)
        self.chain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.chain(values + self.inner(values).sigmoid())
        return result


@pytest.mark.parametrize(
    ("model", "shape", "layer"),
    [
        (Attention(), (3, 8), "chain.0"),
        (Residual(), (1, 6, 6), "chain.0"),
        (Residual(), (1, 6, 6), "chain.4"),
        (network(kind=nn.GELU), (8,), "2"),
    ],
)
def test_layers_behind_what_is_only_run(model: nn.Module, shape: tuple[int, ...], layer: str, tmp_path: Path) -> None:
    points = torch.randn(200, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        labels = model.eval()(points[:6]).topk(2).indices[:, 1]
    repaired = sytorch.repair(model, points[:6], labels, ordinary=points[6:], layer=layer)
    with torch.inference_mode():
        assert torch.equal(repaired.model(points[:6]).argmax(dim=1), labels)
    before, after = model.state_dict(), repaired.model.state_dict()
    assert {name.rsplit(".", 1)[0] for name in before if not torch.equal(before[name], after[name])} == {layer}
    repaired.certify(tmp_path / "certificate.npz")
    found = certificate_of(tmp_path / "certificate.npz").check()
    assert found.accepted, found.lines


def of_a_property() -> sytorch.Repaired:
    points, _, ordinary = places()
    wanted = sytorch.not_least(0, 1) & sytorch.between(3, -5.0, 5.0)
    return sytorch.repair(network(), points, wanted, ordinary=ordinary, bound=20.0, layer="4")


def of_a_residual_network() -> sytorch.Repaired:
    torch.manual_seed(0)
    model, points, ordinary = resnet18(num_classes=5).eval(), torch.randn(3, 3, 32, 32), torch.randn(40, 3, 32, 32)
    return sytorch.repair(model, points, model(points).topk(2).indices[:, 1], ordinary=ordinary)


REPAIRS: dict[str, Callable[[], sytorch.Repaired]] = {
    "last layer": lambda: of_layer("4"),
    "bound that binds": lambda: of_layer("4", bound=0.12, margin=0.02),
    "no ordinary points": lambda: of_layer("4", ordinary=None),
    "hidden layer": lambda: of_layer("2"),
    "first layer": lambda: of_layer("0", bound=3.0),
    "spare units": planted,
    "last of convolutions": lambda: of_convolutions("8"),
    "a convolution": lambda: of_convolutions("0"),
    "a property": of_a_property,
    "a residual network": of_a_residual_network,
}


@pytest.mark.parametrize("kind", REPAIRS)
def test_what_is_repaired_is_accepted(kind: str, tmp_path: Path) -> None:
    repaired = REPAIRS[kind]()
    repaired.certify(tmp_path / "a.npz")
    certificate = certificate_of(tmp_path / "a.npz").check()
    assert certificate.accepted, certificate.lines
    claims_no_size = certificate.lines[-1][2].startswith("nothing is claimed")
    assert claims_no_size == (repaired.proof is None)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    path = tmp_path_factory.mktemp("certificate") / "a.npz"
    repaired = of_layer("4", bound=0.12, margin=0.02)
    assert repaired.proof is not None and np.abs(repaired.proof.solution.multipliers.bounds).sum() > 0
    repaired.certify(path)
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def written(content: Content, path: Path, facts: dict[str, Any] | None = None) -> ChainCertificate:
    """A certificate of this content, sealed anew where facts are given."""
    arrays = {name: array for name, array in content.items() if name != "facts"}
    if facts is not None:
        facts["seal"] = seal(facts, arrays)
        content = {**content, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    np.savez(path, **content)  # type: ignore[arg-type]
    return ChainCertificate(path).check()


def test_a_flipped_bit_anywhere_is_refused(content: Content, tmp_path: Path) -> None:
    chance = random.Random(0)
    names = [name for name in content if content[name].size and name != "facts"]
    for _ in range(150):
        name = chance.choice(names)
        altered = bytearray(content[name].tobytes())
        altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
        array = np.frombuffer(bytes(altered), content[name].dtype).reshape(content[name].shape)
        assert not written({**content, name: array}, tmp_path / "a.npz").accepted, name


ALTERED: dict[str, tuple[str, Callable[[dict[str, Any], Content], object]]] = {
    "a smaller margin": ("required", lambda facts, arrays: arrays["least"].__isub__(1.0)),
    "another label": ("required", lambda facts, arrays: arrays["labels"].__setitem__(0, arrays["labels"][0] ^ 1)),
    "another point": ("required", lambda facts, arrays: arrays["points"].__setitem__(0, 0.0)),
    "another layer": ("change", lambda facts, arrays: facts.__setitem__("changed", ["2"])),
    "a bound that is broken": ("change", lambda facts, arrays: facts.__setitem__("bound", 0.1)),
    "a smaller objective": ("optimum", lambda facts, arrays: facts.__setitem__("objective", 0.9 * facts["objective"])),
    "a larger lower bound": (
        "optimum",
        lambda facts, arrays: facts.__setitem__("lower_bound", facts["objective"] * 1.01),
    ),
    "other multipliers": ("optimum", lambda facts, arrays: arrays["multipliers"].__imul__(-1.0)),
    "no multipliers of the bound": ("optimum", lambda facts, arrays: arrays["bounds"].__imul__(0.0)),
    "multipliers of own labels alone": ("optimum", lambda facts, arrays: own_labels_alone(arrays)),
    "tiny multipliers": ("optimum", lambda facts, arrays: arrays["multipliers"].__imul__(-1e-159)),
    "a size without end": ("optimum", lambda facts, arrays: facts.update(objective=np.inf, lower_bound=1e30)),
    "no lower bound": ("optimum", lambda facts, arrays: facts.__setitem__("lower_bound", np.nan)),
    "far more than is required": ("optimum", lambda facts, arrays: facts.__setitem__("allowance", 100.0)),
    "multipliers of the bound that count once for all inputs": (
        "optimum",
        lambda facts, arrays: arrays.__setitem__("bounds", arrays["bounds"][:, :1]),
    ),
    "one label for all points": (
        "required",
        lambda facts, arrays: arrays.__setitem__("labels", arrays["labels"][:1]),
    ),
    "no requirements of the others": (
        "required",
        lambda facts, arrays: arrays.__setitem__("least", arrays["least"][:1]),
    ),
    "a layer without a name": ("required", lambda facts, arrays: facts["layers"].append(["", "linear"])),
    "two layers of one name": ("required", lambda facts, arrays: facts["layers"].append(facts["layers"][0])),
    "weights that were no numbers": ("change", lambda facts, arrays: arrays["before 0.weight"].__setitem__(0, np.nan)),
    "a metric of fewer inputs": ("optimum", lambda facts, arrays: arrays.__setitem__("factor", np.eye(2))),
    "another status": ("seal", lambda facts, arrays: facts.__setitem__("status", "infeasible")),
    "a hidden layer for the last one": ("optimum", lambda facts, arrays: facts["changed"].append("2")),
    "another metric": ("optimum", lambda facts, arrays: arrays["factor"].__imul__(1.1)),
}


def own_labels_alone(arrays: Content) -> None:
    """Multipliers that enter nothing."""
    arrays["multipliers"][:] = 0.0
    arrays["multipliers"][np.arange(len(arrays["labels"])), arrays["labels"]] = 1e6


@pytest.mark.parametrize("factor", [1e-159, 1e150])
def test_any_multiple_of_the_multipliers_proves_the_same(factor: float, content: Content, tmp_path: Path) -> None:
    facts = json.loads(content["facts"].tobytes())
    multiple = {name: factor * content[name] for name in ("multipliers", "bounds")}
    assert written({**content, **multiple}, tmp_path / "a.npz", dict(facts)).accepted
    facts["lower_bound"] *= 1.1
    facts["objective"] *= 1.1
    assert not written({**content, **multiple}, tmp_path / "a.npz", facts).accepted


@pytest.mark.parametrize("how", ALTERED)
def test_what_a_forger_seals_anew_is_refused(how: str, content: Content, tmp_path: Path) -> None:
    line, alter = ALTERED[how]
    facts = json.loads(content["facts"].tobytes())
    copies = {name: array.copy() for name, array in content.items()}
    assert written(copies, tmp_path / "a.npz", dict(facts)).accepted
    alter(facts, copies)
    failing = [name for state, name, _ in written(copies, tmp_path / "a.npz", facts).lines if state == "FAILS"]
    assert line in failing


def test_what_a_factor_holds_beside_its_triangle_counts_for_nothing(content: Content, tmp_path: Path) -> None:
    """The fault: the size counted it and the bound did not, so a gap between them could be made."""
    facts = json.loads(content["facts"].tobytes())
    beside = np.triu(np.full_like(content["factor"], 3.0), 1)
    assert (
        beside.any() and written({**content, "factor": content["factor"] + beside}, tmp_path / "a.npz", facts).accepted
    )


def test_the_program_that_checks_reads_both_kinds(tmp_path: Path) -> None:
    of_layer("4").certify(tmp_path / "a.npz")
    command = [sys.executable, str(CHECKOUT / "verify.py"), str(tmp_path / "a.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "accepted")


def test_places_and_networks_without_a_certificate(tmp_path: Path) -> None:
    repaired = of_layer("2")
    with pytest.raises(sytorch.FileError, match="Cannot write"):
        repaired.certify(tmp_path / "gone" / "a.npz")
    torch.manual_seed(0)
    unfolded = [nn.Linear(8, 20), nn.ReLU(), nn.Unflatten(1, (5, 2, 2)), nn.Flatten(), nn.Linear(20, 3)]
    model = nn.Sequential(*unfolded).eval()
    points = torch.randn(4, 8)
    found = sytorch.repair(model, points, model(points).topk(2).indices[:, 1], ordinary=torch.randn(90, 8), layer="0")
    with pytest.raises(sytorch.FileError, match="Unflatten"):
        found.certify(tmp_path / "a.npz")


def test_large_hidden_values_take_nothing_of_what_is_required(tmp_path: Path) -> None:
    """The fault: outputs depend on which points run together, and only some had run when they were looked at."""
    for seed in range(16):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 4)).eval()
        points, ordinary = torch.randn(7, 64), torch.randn(300, 64)
        with torch.no_grad():
            parameter(model, "0.bias").add_(10.0 ** (seed % 4))
            parameter(model, "4.bias").sub_(model(ordinary).mean(0))
        best = model(points).topk(2).indices
        labels = torch.cat([best[:1, 1], best[1:, 0]])
        repaired = sytorch.repair(model, points, labels, ordinary=ordinary, layer="4", margin=0.01)
        assert repaired.least_slack >= 0
        for batch in (1, 2, 7):
            outputs = torch.cat([repaired.model(part) for part in torch.split(points, batch)])
            others = outputs.scatter(1, labels[:, None], -torch.inf).amax(1)
            assert (outputs.gather(1, labels[:, None])[:, 0] - others).min() >= 0.01
        repaired.certify(tmp_path / "a.npz")
        assert certificate_of(tmp_path / "a.npz").check().accepted


def test_what_lacks_next_to_nothing_is_certified(tmp_path: Path) -> None:
    """The fault: float32 rounds so little a change, and margins are rounded by more than they lack."""
    for seed in range(12):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 4)).eval()
        near, far = torch.randn(2, 20)
        label = model(near).argmax()
        for _ in range(14):  # the middle comes ever nearer to where the answer changes
            middle = (near + far) / 2
            near, far = (middle, far) if model(middle).argmax() == label else (near, middle)
        repaired = sytorch.repair(model, far[None], label[None], ordinary=torch.randn(300, 20), margin=0.0, layer="4")
        repaired.certify(tmp_path / "a.npz")
        checked = certificate_of(tmp_path / "a.npz").check()
        assert checked.accepted, checked.lines


def test_a_layer_without_a_bias_has_no_spare_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)).eval()
    points, ordinary = torch.randn(5, 4), torch.randn(50, 4)
    found = sytorch.repair(model, points, model(points).topk(2).indices[:, 1], ordinary=ordinary, margin=0.01)
    assert found.layers == ("2",) and found.least_slack >= 0


def test_weights_that_are_made_of_others_are_not_repaired() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))).eval()
    with pytest.raises(sytorch.UnsupportedLayerError, match="choose from"):
        sytorch.repair(model, torch.randn(3, 4), [0, 1, 2], margin=0.1, layer="2")


def test_a_single_output_has_no_usual_margin() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    with pytest.raises(sytorch.InvalidInputError, match="single output"):
        sytorch.repair(model, torch.randn(3, 4), [0, 0, 0])
