"""The checker accepts what is so, and refuses all else: bits flipped, and certificates forged and sealed anew."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checker.certificate import Certificate
from checker.network import RefusedError, read_weights
from edits.options import NORMS, NormName, PrepareName, RepairOptions
from edits.pipeline import repair_edit_set
from edits.task import Task
from editset_helpers.edit_set import EditSet, save_edit_set
from editset_helpers.regions import Region
from helpers.evaluation import margins
from helpers.files.outputs import certificate_path
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash
from tests.certificates import EDIT_SET, LAST, Place, Sealed, place, refused
from tests.conftest import CHECKOUT, with_cache

KINDS = {
    "l1": LAST,
    "l2 with an active bound that float32 cannot hold": replace(LAST, norm="l2", param_bound=0.1),
    "linf+l1 in the weights": replace(LAST, norm="linf+l1", metric="identity"),
    "a metric of each class": replace(LAST, norm="l2", metric="per-class"),
    "prepared": RepairOptions(),
    "prepared with a bound that float32 cannot hold": replace(RepairOptions(), norm="l2", param_bound=0.1),
    "shifted and mirrored copies": replace(LAST, norm="l2", region=Region(1, True)),
    "a fixed pattern": replace(LAST, norm="l2", layer="classifier.4[0:400]", margin=0.01),
    "steps that linearise anew": replace(LAST, norm="l2", layer="classifier.4", pattern="relinearise"),
    "infeasible": replace(LAST, param_bound=1e-3),
    "infeasible with a fixed pattern": replace(LAST, norm="l2", layer="classifier.4.bias", param_bound=1e-5),
    "infeasible after a preparation": replace(RepairOptions(), param_bound=0.1, margin=400),
}
COSTLY = {
    "shifted and mirrored copies",
    "linf+l1 in the weights",
    "a metric of each class",
    "prepared with a bound that float32 cannot hold",
    "a fixed pattern",
    "steps that linearise anew",
    "infeasible with a fixed pattern",
    "infeasible after a preparation",
}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path, digits_baseline: Path) -> Iterator[Place]:
    folder = with_cache(tmp_path_factory.mktemp("verify"), warm_cache)
    (folder / "artifacts").mkdir()
    for suffix in (".pth", ".json"):
        (folder / "artifacts" / f"alexnet_base_digits{suffix}").symlink_to(digits_baseline.with_suffix(suffix))
    with contextlib.chdir(folder):
        yield place(4)


def _certificate(digits: Place, kind: str) -> Path:
    output = Path(f"artifacts/{hashlib.sha256(kind.encode()).hexdigest()[:8]}.pth")
    return digits.certificate(KINDS[kind], output)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=SLOW if kind in COSTLY else ()) for kind in KINDS])
def test_what_is_repaired_or_refuted_is_accepted(kind: str, digits: Place) -> None:
    path = _certificate(digits, kind)
    checked = Certificate(path).check()
    assert checked.accepted, checked.lines
    names = {name for _, name, _ in checked.lines}
    assert ("refutation" in names) == kind.startswith("infeasible")
    assert ("optimum" in names) == (not kind.startswith(("infeasible", "steps")))
    assert ("pattern" in names) == (kind == "a fixed pattern")


def test_what_a_factor_holds_beside_its_triangle_counts_for_nothing(digits: Place) -> None:
    """The fault: the objective counted it and the bound did not, so their gap meant nothing."""
    path = _certificate(digits, "prepared")
    sealed, forged = Sealed.read(path), path.with_name("forged_certificate.npz")
    part = sealed.facts["part"]
    (said,) = part["inputs"]
    factor = np.load(path.parent / said["file"])
    assert said["upper"] and not np.tril(factor[0], -1).any()
    factor[0] += np.tril(np.full_like(factor[0], factor.max()), -1)
    np.save(path.with_name("forged_metric.npy"), factor)
    digest = hashlib.sha256(path.with_name("forged_metric.npy").read_bytes()).hexdigest()
    other = {**part, "inputs": [{**said, "file": "forged_metric.npy", "hash": digest}]}
    _forge(sealed, part=other).write(forged, seal=True)
    assert Certificate(forged).check().accepted


@pytest.mark.parametrize("lacking", [3e-3, 3e-5])
def test_what_lacks_next_to_nothing_is_repaired(lacking: float, digits: Place) -> None:
    """The fault: logits' rounding is large beside what is missing, and a right repair was refused for it."""
    bench, path = digits.bench, Path("data/edit_sets/nearly_edit_dataset.pt")
    margin = margins(bench.test_logits, torch.from_numpy(bench.test.labels)).numpy()
    image = margin.argsort()[[-len(margin) // 2]]
    edit_set = EditSet(bench.test.inputs(image), torch.from_numpy(bench.test.labels[image]), [{}])
    save_edit_set(edit_set, path)
    options = replace(LAST, norm="l2", metric="identity", margin=float(margin[image[0]]) + lacking)
    output = Path("artifacts/nearly.pth")
    report = repair_edit_set(Task(bench, edit_set, path, options, output, "a test", kept_weights="changed-layer"))
    assert report.status == "repaired", report.message
    sealed, forged = Sealed.read(certificate_path(output)), output.with_name("forged_certificate.npz")
    assert Certificate(certificate_path(output)).check().accepted
    for name in ("objective", "lower_bound"):
        _forge(sealed, **{name: 1.1 * sealed.facts["objective"]}).write(forged, seal=True)
        assert not Certificate(forged).check().accepted


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a fixed pattern", "infeasible with a fixed pattern"])
def test_a_proof_with_other_activations_fixed_or_none_is_refused(kind: str, digits: Place) -> None:
    """The fault: what was fixed was believed, so that a proof could be about another function than the network."""
    path = _certificate(digits, kind)
    sealed, forged = Sealed.read(path), path.with_name("forged_certificate.npz")
    assert Certificate(path).check().accepted and sealed.facts["pattern"] == ["classifier.5"]
    fixed = sealed.arrays["fixed classifier.5"].copy()
    fixed.reshape(len(fixed), -1)[0, :5] ^= True
    for other in (_forge(sealed, pattern=[]), _with_array(sealed, "fixed classifier.5", fixed)):
        other.write(forged, seal=True)
        checked = Certificate(forged).check()
        assert not checked.accepted and "fixed" in checked.refused, checked.lines


@pytest.mark.parametrize(
    ("kind", "count"),
    [("l1", 10), pytest.param("l1", 30, marks=SLOW), pytest.param("infeasible after a preparation", 30, marks=SLOW)],
)
def test_nothing_altered_is_accepted(kind: str, count: int, digits: Place) -> None:
    assert refused(_certificate(digits, kind), count=count, seed=0) == []


def _forge(sealed: Sealed, **facts: Any) -> Sealed:
    return replace(sealed, facts={**sealed.facts, **facts})


def _with_array(sealed: Sealed, name: str, array: np.ndarray[Any, Any]) -> Sealed:
    return replace(sealed, arrays={**sealed.arrays, name: array})


FORGERIES = {
    "a larger margin": lambda it: _forge(it, margin=1.5 * it.facts["margin"]),
    "a smaller bound": lambda it: _forge(it, bound=1e-3),
    "a smaller objective": lambda it: _forge(it, objective=0.99 * it.facts["objective"]),
    "a larger lower bound": lambda it: _forge(it, lower_bound=1.01 * it.facts["lower_bound"]),
    "an objective and a bound that agree": lambda it: _forge(
        it, objective=2 * it.facts["objective"], lower_bound=2 * it.facts["lower_bound"]
    ),
    "a program of more": lambda it: _with_array(
        _forge(it, allowance=it.facts["margin"]), "margins", 2 * it.arrays["margins"]
    ),
    "a program of other margins": lambda it: _with_array(it, "margins", 0 * it.arrays["margins"]),
    "a program of more images": lambda it: _with_array(it, "margins", it.arrays["margins"].repeat(2)),
    "no multipliers": lambda it: _with_array(it, "multipliers", 0 * it.arrays["multipliers"]),
    "multipliers of other images": lambda it: _with_array(it, "multipliers", it.arrays["multipliers"][::-1].copy()),
    "multipliers that are no numbers": lambda it: _with_array(it, "multipliers", np.nan * it.arrays["multipliers"]),
    "coordinates of another change": lambda it: _with_array(it, "coordinates", 0.5 * it.arrays["coordinates"]),
    "another norm": lambda it: _forge(it, norm="linf"),
    "fewer changed weights": lambda it: _forge(it, changed=it.facts["changed"][:1]),
    "the base for the repaired network": lambda it: _forge(it, network=it.facts["base"]),
    "multipliers of own classes alone": lambda it: _with_array(it, "multipliers", _own(it, 1e6)),
    "multipliers of more images": lambda it: _with_array(
        it, "multipliers", np.vstack([it.arrays["multipliers"], np.full((1, 10), 1e9)])
    ),
    "multipliers of other images, and tiny": lambda it: _with_array(
        it, "multipliers", 1e-159 * it.arrays["multipliers"][::-1]
    ),
    "a size without end": lambda it: _forge(it, objective=float("inf"), lower_bound=1e30),
    "no lower bound": lambda it: _forge(it, lower_bound=float("nan")),
    "another metric": lambda it: _forge(it, metric={**it.facts["metric"], "name": "identity"}),
    "a part without units": lambda it: _forge(it, part={**it.facts["part"], "units": [0, 0]}),
    "a part of every hundredth unit": lambda it: _forge(it, part={**it.facts["part"], "units": [0, 10, 100]}),
    "a part of biases": lambda it: _forge(it, part={**it.facts["part"], "bias_only": True}),
    "no status": lambda it: _forge(it, status=None),
    "no norm": lambda it: _forge(it, norm=None),
    "a margin that is no number": lambda it: _forge(it, margin=float("nan")),
    "another format": lambda it: _forge(it, format="alexnet-repair certificate 1"),
}


def _own(it: Sealed, size: float) -> np.ndarray[Any, Any]:
    """Multipliers of each image's own class alone, which enter nothing."""
    content = torch.load(EDIT_SET, weights_only=True)
    own: np.ndarray[Any, Any] = np.zeros_like(it.arrays["multipliers"])
    own[np.arange(len(own)), content["labels"][torch.from_numpy(it.arrays["positions"])].numpy()] = size
    return own


@pytest.mark.parametrize("kind", ["l1", "prepared", "infeasible"])
@pytest.mark.parametrize("factor", [1e-159, 1e150])
def test_any_multiple_of_the_multipliers_proves_the_same(kind: str, factor: float, digits: Place) -> None:
    """The fault: squares of tiny ones were zero, so that anything counted as proved."""
    path = _certificate(digits, kind)
    sealed, other = Sealed.read(path), path.with_name("multiple_certificate.npz")
    scaled = {name: array * factor for name, array in sealed.arrays.items() if name in ("multipliers", "bounds")}
    multiple = replace(sealed, arrays=sealed.arrays | scaled)
    multiple.write(other, seal=True)
    assert Certificate(other).check().accepted
    _forge(multiple, **_more(sealed)).write(other, seal=True)
    assert not Certificate(other).check().accepted


def _more(it: Sealed) -> dict[str, float]:
    """What claims more than is proved: a tenth more, or no repair with a bound with which there are some."""
    facts = it.facts
    return {"bound": 5.0} if facts["objective"] is None else {"lower_bound": 1.1 * facts["lower_bound"]}


def test_classes_that_count_as_one_are_refused(digits: Place) -> None:
    """The fault: with them a network that is wrong was right."""
    path = _certificate(digits, "l1")
    sealed, forged = Sealed.read(path), path.with_name("forged_certificate.npz")
    content, at = torch.load(EDIT_SET, weights_only=True), torch.from_numpy(sealed.arrays["positions"])
    order = np.arange(10)
    order[2] = 1
    parts = content["images"][at], torch.from_numpy(order)[content["labels"][at].long()]
    digest = hashlib.sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts)).hexdigest()
    said = {**sealed.facts["edit_set"], "hash": digest}
    _with_array(_forge(sealed, edit_set=said), "classes of labels", order).write(forged, seal=True)
    assert "edit set: two classes" in Certificate(forged).check().refused


def test_of_two_networks_in_a_file_none_is_meant(digits: Place, tmp_path: Path) -> None:
    """The fault: the checker read the one, and everything else the other."""
    state = dict(digits.bench.model.state_dict())
    bad = {name: torch.zeros_like(value) for name, value in state.items()}
    twice = {**state, "module.features.0.bias": bad["features.0.bias"]}
    for content in ({"x": state, "state_dict": bad}, {**bad, "model": state}, twice):
        torch.save(content, tmp_path / "two.pth")
        with pytest.raises(RefusedError, match=r"networks|twice"):
            read_weights(tmp_path / "two.pth", {})
    torch.save({"epoch": 3, "model": {"state_dict": state}}, tmp_path / "one.pth")
    assert read_weights(tmp_path / "one.pth", {}).keys() == state.keys()


@pytest.mark.parametrize("forgery", [{"units": [0, 0]}, {"units": [0, 10, 100]}, {"bias_only": True}])
def test_a_refutation_of_another_part_is_refused(forgery: dict[str, Any], digits: Place) -> None:
    path = _certificate(digits, "infeasible")
    sealed, forged = Sealed.read(path), path.with_name("forged_certificate.npz")
    other = _forge(sealed, part={**sealed.facts["part"], **forgery})
    replace(other, facts={**other.facts, "bound": 5.0}).write(forged, seal=True)
    assert not Certificate(forged).check().accepted


def test_a_refutation_is_of_the_network_that_is_named(digits: Place) -> None:
    """The fault: a network without its last hidden layer was taken for the one that was to be repaired."""
    path = _certificate(digits, "infeasible")
    sealed, forged = Sealed.read(path), path.with_name("forged_certificate.npz")
    state = dict(digits.bench.model.state_dict())
    for name in ("classifier.4.weight", "classifier.4.bias"):
        state[name] = torch.zeros_like(state[name])
    torch.save(state, path.with_name("empty.pth"))
    network = {"file": "empty.pth", "hash": weights_hash(state)}
    _forge(sealed, network=network, bound=5.0).write(forged, seal=True)
    assert "change: other weights changed" in Certificate(forged).check().refused


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_and_sealed_anew_it_is_refused(forgery: str, digits: Place, tmp_path: Path) -> None:
    path = _certificate(digits, "l1")
    forged = path.with_name("forged_certificate.npz")
    FORGERIES[forgery](Sealed.read(path)).write(forged, seal=True)
    checked = Certificate(forged).check()
    assert not checked.accepted and checked.refused
    assert ("ok", "seal") in {line[:2] for line in checked.lines} or forgery in {"another format", "no status"}


def test_changes_are_kept_in_safetensors_as_well(digits: Place) -> None:
    path = digits.certificate(RepairOptions(), Path("artifacts/changes.safetensors"))
    assert path.with_name("changes.safetensors").stat().st_size < 10e6
    assert Certificate(path).check().accepted


def test_rows_of_a_planted_layer_that_are_not_named_are_as_before(digits: Place) -> None:
    path = _certificate(digits, "prepared")
    sealed, forged = Sealed.read(path), path.with_name("rows_certificate.npz")
    for name in ("rows classifier.4.weight", "rows classifier.4.bias"):
        _with_array(sealed, name, sealed.arrays[name][1:]).write(forged, seal=True)
        failing = [line for line in Certificate(forged).check().lines if line[0] != "ok"]
        assert [line[1] for line in failing] == ["change"] and "other rows of classifier.4" in failing[0][2]
        arrays = {key: array for key, array in sealed.arrays.items() if key != name}
        replace(sealed, arrays=arrays).write(forged, seal=True)
        assert [line[1] for line in Certificate(forged).check().lines if line[0] != "ok"] == ["change"]


def test_what_is_sealed_anew_without_being_altered_is_accepted(digits: Place) -> None:
    path = _certificate(digits, "l1")
    Sealed.read(path).write(path.with_name("same_certificate.npz"), seal=True)
    assert Certificate(path.with_name("same_certificate.npz")).check().accepted


def test_labels_forged_in_the_edit_set_and_the_certificate(digits: Place) -> None:
    path = _certificate(digits, "l1")
    sealed = Sealed.read(path)
    content = torch.load(path.parent / sealed.facts["edit_set"]["file"], weights_only=True)
    content["labels"] = (content["labels"] + 1) % 10
    other = path.with_name("other_edit_dataset.pt")
    torch.save(content, other)
    at = torch.from_numpy(sealed.arrays["positions"])
    parts = [content[name][at].contiguous().numpy().tobytes() for name in ("images", "labels")]
    said = {**sealed.facts["edit_set"], "file": other.name, "hash": hashlib.sha256(b"".join(parts)).hexdigest()}
    _forge(sealed, edit_set=said).write(path.with_name("labels_certificate.npz"), seal=True)
    checked = Certificate(path.with_name("labels_certificate.npz")).check()
    assert {name for state, name, _ in checked.lines if state == "FAILS"} >= {"margins"}


@pytest.mark.parametrize("forgery", [{"margin": -100.0}, {"bound": 5.0}])
def test_a_refutation_of_something_else_is_refused(forgery: dict[str, float], digits: Place) -> None:
    path = _certificate(digits, "infeasible")
    _forge(Sealed.read(path), **forgery).write(path.with_name("forged_certificate.npz"), seal=True)
    checked = Certificate(path.with_name("forged_certificate.npz")).check()
    assert [name for state, name, _ in checked.lines if state == "FAILS"] == ["refutation"]


def _with_edit_set(digits: Place, content: dict[str, Any]) -> tuple[Certificate, Path]:
    """A repair's certificate, read with another file in the place of its edit set."""
    path, stored = _certificate(digits, "l1"), Path("stored_otherwise.pt")
    torch.save(content, stored)
    named = Sealed.read(path).facts["edit_set"]["file"]
    return Certificate(path, found={named: stored}), stored


def test_an_edit_set_saved_with_gradients_or_sparse_is_read_as_the_repair_reads_it(digits: Place) -> None:
    whole = torch.load(EDIT_SET, weights_only=True)
    for images in (whole["images"].float().requires_grad_(), whole["images"].to_sparse()):
        checked, _ = _with_edit_set(digits, {**whole, "images": images})
        assert checked.check().accepted, checked.lines


def test_an_edit_set_that_is_gone_is_a_failure(digits: Place) -> None:
    checked, stored = _with_edit_set(digits, {})
    stored.unlink()
    assert not checked.check().accepted and "is not there" in checked.refused


def test_a_metric_that_is_gone_is_said_and_not_accepted(digits: Place) -> None:
    path = _certificate(digits, "prepared")
    factors = list(path.parent.glob(f"{path.name.removesuffix('_certificate.npz')}_metric_*.npy"))
    assert factors
    checked = Certificate(path, found={factor.name: Path("gone.npy") for factor in factors}).check()
    assert not checked.accepted and not checked.refused
    assert [name for state, name, _ in checked.lines if state == "not checked"] == ["optimum"]


def _script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "verify.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_script_tells_and_its_exit_code_says_it(digits: Place) -> None:
    path = _certificate(digits, "l1")
    told = _script(str(path))
    assert told.returncode == 0 and told.stdout.strip().endswith("accepted") and "optimum" in told.stdout
    damaged = path.with_name("damaged_certificate.npz")
    damaged.write_bytes(path.read_bytes()[:-200])
    told = _script(str(damaged), "--json")
    assert told.returncode == 1 and "Traceback" not in told.stderr
    assert json.loads(told.stdout)[0]["accepted"] is False
    table = Path("sweep.csv")
    table.write_text(f"experiment_id,certificate_path\na,{path}\nb,\nc,{damaged}\n")
    told = _script(str(table))
    assert told.returncode == 1 and told.stdout.count("accepted") == 2
    shutil.copy(path, path.with_name("moved_certificate.npz"))
    table.write_text(f"experiment_id,certificate_path\na,{path}\nb,{path.with_name('moved_certificate.npz')}\n")
    assert _script(str(table)).returncode == 0
    table.write_text(f"experiment_id,certificate_path,status\na,{path},repaired\nb,,repaired\nc,,time_limit\n")
    told = _script(str(table))
    assert told.returncode == 1 and "no certificate of b" in told.stdout and "certificate of c" not in told.stdout


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("prepare", ["none", "spare-units"])
def test_images_that_repeat_each_other_are_repaired(prepare: PrepareName, norm: NormName, digits: Place) -> None:
    """The fault: coordinates that move nothing make the norm less, and the checker took them for another change."""
    few, path, output = digits.edit_set, Path("data/edit_sets/twice_edit_dataset.pt"), Path("artifacts/twice.pth")
    again = torch.tensor([0, 1, 2, 3, 0, 1, 0])
    edit_set = EditSet(few.images[again], few.labels[again], [few.metadata[place] for place in again.tolist()])
    save_edit_set(edit_set, path)
    options = RepairOptions(prepare=prepare, norm=norm)
    report = repair_edit_set(Task(digits.bench, edit_set, path, options, output, "a test"))
    assert report.status == "repaired", report.message
    assert report.gap is not None and report.gap < 1e-6
    logits = load_alexnet(output)(edit_set.images)
    assert float(margins(logits, edit_set.labels).min()) >= options.margin
    sealed, forged = Sealed.read(certificate_path(output)), output.with_name("forged_certificate.npz")
    assert Certificate(certificate_path(output)).check().accepted
    if "coordinates" in sealed.arrays:
        for added in (0.1, 1e6):  # of what moves nothing
            x = sealed.arrays["coordinates"] + added * (np.eye(7)[0] - np.eye(7)[4])
            _with_array(sealed, "coordinates", x).write(forged, seal=True)
            assert not Certificate(forged).check().accepted


@pytest.mark.parametrize(
    "content", [None, b"", b"a,b\n1,2\n", b"experiment_id,status\na,repaired\n", bytes(range(128, 256))]
)
def test_a_table_that_names_no_certificate_is_said(content: bytes | None, tmp_path: Path) -> None:
    why = "there is no such file" if content is None else "it names no certificate"
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    told = _script(str(path))
    assert told.returncode == 1 and not told.stderr and why in told.stdout


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_table_that_a_spreadsheet_saved_is_read(sign: str, digits: Place, tmp_path: Path) -> None:
    path = _certificate(digits, "l1")
    table = tmp_path / "table.csv"
    table.write_text(f"experiment_id{sign}certificate_path\na{sign}{path.resolve()}\n")
    told = _script(str(table), "--json")
    assert told.returncode == 0 and json.loads(told.stdout)[0]["certificate"] == str(path.resolve())
    assert told.stderr.split() == [str(path.resolve())]  # one line when it begins


def test_who_stops_reading_ends_it_quietly(digits: Place) -> None:
    asked = [sys.executable, str(CHECKOUT / "verify.py"), *[str(_certificate(digits, "l1"))] * 3]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert not running.stderr.read() and running.wait() == -signal.SIGPIPE
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(asked[:3], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 1 and told.stderr.startswith("error: ") and told.stderr.count("\n") == 1


def test_the_checker_is_short_and_knows_torch_and_numpy_alone() -> None:
    files = [CHECKOUT / "verify.py", *(CHECKOUT / "checker").glob("*.py")]
    lengths = {file.name: len(file.read_text().splitlines()) for file in files}
    assert (
        lengths["verify.py"] <= 250
        and sum(lengths.values()) <= 570 + lengths["chain.py"]
        and lengths["chain.py"] <= 210
    )
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                assert root in {"torch", "numpy", "checker"} or root in sys.stdlib_module_names, f"{file}: {name}"
