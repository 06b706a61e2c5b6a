"""Networks as ONNX and TorchScript: the files are run by the programs that they are for, and compared with torch."""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

import export
import run_repair
from edits.export.formats import FORMATS, NOTES, Run
from editset_helpers.edit_set import EditSet, load_edit_set
from helpers.evaluation import margins
from helpers.files.outputs import preprocessing_path, report_path
from helpers.images.input_spec import InputSpec, keep_spec, spec_of
from helpers.images.preprocessing import IMAGENET
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash

BASE = Path("artifacts/alexnet_base_digits.pth")
REPAIRED = Path("artifacts/alexnet_repaired_digits.pth")
OTHER = Path("artifacts/other.pth")
ONNX, TORCHSCRIPT = REPAIRED.with_suffix(".onnx"), REPAIRED.with_name("alexnet_repaired_digits_torchscript.pt")
AS_TORCHSCRIPT = ("--format", "torchscript")
MARGIN = 1.5


@pytest.fixture(scope="module")
def folder(module_folder: Path, digits_baseline: Path) -> Path:
    """A project with a repair of digits, of its last layer, some copies constrained."""
    (module_folder / "artifacts").mkdir()
    for path in (digits_baseline, digits_baseline.with_suffix(".json")):
        (module_folder / "artifacts" / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(module_folder)
        asked = ["misclassified", "--dataset", "digits", "--prepare", "none", "--max-samples", "4", "--flip"]
        done = CliRunner().invoke(run_repair.app, [*asked, "--margin", str(MARGIN)])
        assert done.exit_code == 0, done.stderr
    return module_folder


@pytest.fixture(autouse=True)
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    yield folder
    for path in [*Path("artifacts").glob("other*"), TORCHSCRIPT]:
        path.unlink(missing_ok=True)
    assert not [path for path in Path("artifacts").iterdir() if path.name.startswith(".")]


def _export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export.app, [str(argument) for argument in arguments])


def _told(*arguments: str | Path) -> dict[str, Any]:
    done = _export(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def _edit_images() -> EditSet:
    told = json.loads(report_path(REPAIRED).read_text())
    return load_edit_set(Path(told["edit_set_path"])).at(np.array(told["edit_images"]))


def _copy(**changed: Any) -> Path:
    """The repaired weights in a file that tells nothing itself, and their report, changed."""
    torch.save(load_alexnet(REPAIRED).state_dict(), OTHER)
    content = json.loads(report_path(REPAIRED).read_text()) | {"output_path": str(OTHER)} | changed
    report_path(OTHER).write_text(json.dumps(content))
    return OTHER


def _said(done: Result, words: str) -> bool:
    """Whether a sentence is in what was told, wherever its lines break."""
    return words in " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def onnx_file(folder: Path) -> dict[str, Any]:
    """What the script tells of the repair's ONNX file, which stays."""
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed: uv sync --extra onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return _told(REPAIRED)


def test_onnx_gives_the_edit_images_their_margins(onnx_file: dict[str, Any]) -> None:
    import onnxruntime

    edits, session = _edit_images(), onnxruntime.InferenceSession(ONNX)
    (given,) = session.get_inputs()
    assert given.shape == ["batch", 3, 64, 64] and given.type == "tensor(float)"
    for count in (1, 3, len(edits)):  # the batch may have any size
        (logits,) = session.run(None, {given.name: edits.images[:count].numpy()})
        assert margins(torch.from_numpy(logits), edits.labels[:count]).min() >= MARGIN
    checked = onnx_file["checked"]
    assert (checked["images"], checked["right"], checked["required_margin"]) == (8, 8, MARGIN)  # four and mirrored ones
    assert MARGIN <= checked["least_margin"] < MARGIN + 0.1
    assert checked["largest_difference"] < 1e-4
    assert onnx_file["size"] == ONNX.stat().st_size


def test_onnx_is_read_again_as_a_chain_with_the_same_logits(onnx_file: dict[str, Any]) -> None:
    import sytorch

    images, chain = _edit_images().images, sytorch.read_onnx(ONNX)
    found, expected = chain(images), FORMATS["onnx"].load(ONNX)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert "classifier_6" in sytorch.chain_of(chain).repairable


def test_onnx_knows_its_preprocessing_and_its_classes(onnx_file: dict[str, Any]) -> None:
    import onnx

    model = onnx.load(ONNX)
    onnx.checker.check_model(model)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    preprocessing = json.loads(notes["preprocessing"])
    assert preprocessing == onnx_file["preprocessing"]
    assert preprocessing["input_size"] == 64 and preprocessing["classes"] == [str(digit) for digit in range(10)]
    assert "resized to 70, centre 64" in notes["described"]
    assert notes["weights_hash"] == weights_hash(load_alexnet(REPAIRED))


def test_a_file_that_is_there_is_kept(onnx_file: dict[str, Any]) -> None:
    before = ONNX.stat().st_mtime_ns
    refused = _export(REPAIRED)
    assert refused.exit_code == 2 and "--force" in refused.stderr
    refused = _export(REPAIRED, "--output", REPAIRED, "--force")
    assert refused.exit_code == 2 and "the weights file itself" in refused.stderr
    assert ONNX.stat().st_mtime_ns == before


def test_torchscript_runs_alone_and_is_read_again_by_every_script() -> None:
    told = _told(REPAIRED, *AS_TORCHSCRIPT)
    extra = {NOTES: ""}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, in favour of torch.export
        reading: Any = torch.jit.load
        network = reading(TORCHSCRIPT, _extra_files=extra)
    edits = _edit_images()
    assert margins(network(edits.images), edits.labels).min() >= MARGIN
    assert json.loads(extra[NOTES])["preprocessing"] == told["preprocessing"]
    assert weights_hash(load_alexnet(TORCHSCRIPT)) == told["weights_hash"] == weights_hash(load_alexnet(REPAIRED))
    shown = _export(REPAIRED, *AS_TORCHSCRIPT, "--force")
    assert "8 of 8" in shown.stdout and f"(promised: {MARGIN})" in shown.stdout


def test_what_lacks_a_promised_margin_is_not_written() -> None:
    refused = _export(_copy(margin=99.0), *AS_TORCHSCRIPT, "--output", "artifacts/other.pt")
    assert refused.exit_code == 5
    assert _said(refused, "one has the margin 1.5") and _said(refused, "99 was promised")
    assert not Path("artifacts/other.pt").exists()


@pytest.mark.parametrize("added", [0.01, float("nan")])
def test_what_computes_something_else_is_not_written(added: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = FORMATS["torchscript"]

    def load(file: Path) -> Run:
        run = plain.load(file)
        return lambda images: run(images) + added

    monkeypatch.setitem(FORMATS, "torchscript", replace(plain, load=load))
    TORCHSCRIPT.write_text("of before")
    refused = _export(REPAIRED, *AS_TORCHSCRIPT, "--force")
    assert refused.exit_code == 5 and _said(refused, "differs from torch's")
    assert TORCHSCRIPT.read_text() == "of before"


def test_a_full_disk_is_told_and_leaves_nothing() -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, before[1]))  # as a disk with 64 MB left
    try:
        refused = _export(REPAIRED, *AS_TORCHSCRIPT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.exit_code == 1 and _said(refused, f"Cannot write {TORCHSCRIPT}")
    assert not TORCHSCRIPT.exists()


def test_without_the_report_the_file_itself_names_the_images() -> None:
    OTHER.symlink_to(REPAIRED.resolve())
    told = _told(OTHER, *AS_TORCHSCRIPT)["checked"]
    assert (told["images"], told["right"], told["required_margin"]) == (8, 8, MARGIN)


def _forgetful() -> Path:
    """The repaired weights in a file that says nothing of itself."""
    torch.save(load_alexnet(REPAIRED).state_dict(), OTHER)
    return OTHER


def test_a_report_of_other_weights_is_told_and_a_given_set_is_run() -> None:
    weights = _forgetful()
    content = json.loads(report_path(REPAIRED).read_text()) | {"weights_hash_after": "0" * 64}
    report_path(weights).write_text(json.dumps(content | {"output_path": str(weights)}))
    done = _export(weights, *AS_TORCHSCRIPT, "--dataset", "digits", "--json")
    assert done.exit_code == 0 and _said(done, "no margin that was promised is checked")
    assert _said(done, "are not those of the repair") and _said(done, "--edit-set names the images")
    assert json.loads(done.stdout)["checked"]["what"] == "500 test images of digits"
    given = _told(weights, *AS_TORCHSCRIPT, "--dataset", "digits", "--edit-set", content["edit_set_path"], "--force")
    checked, images = given["checked"], len(load_edit_set(Path(content["edit_set_path"])))
    assert checked["what"] == f"{images} images of {content['edit_set_path']}" and checked["right"] >= 4


def test_images_of_the_repair_that_are_gone_are_told() -> None:
    done = _export(_copy(edit_set_path="gone_edit_dataset.pt"), *AS_TORCHSCRIPT, "--dataset", "digits")
    assert done.exit_code == 0 and _said(done, "no margin that was promised is checked")
    assert _said(done, "gone_edit_dataset.pt") and "500 test images" in done.stdout


def test_without_a_repair_test_images_are_compared() -> None:
    told = _told(BASE, *AS_TORCHSCRIPT, "--dataset", "digits", "--output", "artifacts/other.pt")
    assert told["checked"]["what"] == "500 test images of digits" and told["checked"]["required_margin"] is None
    assert 400 < told["checked"]["right"] < 500 and told["checked"]["least_margin"] < 0
    assert told["preprocessing"]["classes"] == [str(digit) for digit in range(10)]


def test_without_images_noise_is_compared_and_the_preprocessing_goes_along() -> None:
    torch.manual_seed(0)
    torch.save(alexnet(num_classes=4).state_dict(), OTHER)
    spec = InputSpec(IMAGENET, ("2", "10", "cat", "dog"))
    keep_spec(spec, OTHER)
    told = _told(OTHER, *AS_TORCHSCRIPT)
    assert told["checked"]["what"] == "16 random images" and told["checked"]["right"] is None
    assert (told["input_shape"], told["outputs"]) == ([3, 224, 224], 4)
    written = Path("artifacts/other_torchscript.pt")
    assert spec_of(written) == spec and preprocessing_path(written).is_file()


def test_a_missing_package_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused = _export(REPAIRED, "--output", "artifacts/other.onnx")
    assert refused.exit_code == 1 and "uv sync --extra onnx" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not refused.stdout


def test_weights_that_are_missing_are_told() -> None:
    refused = _export("artifacts/none.pth")
    assert refused.exit_code == 1 and "artifacts/none.pth" in refused.stderr
