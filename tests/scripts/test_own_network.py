"""A network of somebody else, at 224 pixels and normalised: torchvision's own evaluation is the oracle."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

from benchmarks.opponents.trainable import layer_inputs
from checker.certificate import Certificate
from edits.network.workbench import open_workbench
from editset_helpers.building import select
from editset_helpers.class_order import load_for
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from editset_helpers.location import locate
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.errors import UsageError
from helpers.evaluation import predict_logits
from helpers.files.outputs import certificate_path, preprocessing_path, report_path
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import InputSpec, keep_spec, read_classes, spec_of
from helpers.images.preprocessing import IMAGENET
from model_classes.alexnet import load_alexnet
from visualizer.content.pictures import input_png

CLASSES = ("2", "10", "cat", "dog")  # torchvision's order begins with 10
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [150, 150, 60]])
SHAPES = ((260, 300), (240, 180), (224, 256), (32, 32), (700, 300))
EVALUATION = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)
eval_script: Any = importlib.import_module("eval")
repair_script: Any = importlib.import_module("run_repair")
OPTIONS = ("--preprocessing", "imagenet", "--classes", "classes.txt")


@dataclass(frozen=True, eq=False)
class Theirs:
    """What the owner of the network measures: logits (N, C) and labels (N,), by class and file name."""

    folder: Path
    weights: Path
    logits: torch.Tensor
    labels: torch.Tensor
    files: list[tuple[str, str]]

    @property
    def accuracy(self) -> float:
        return float((self.logits.argmax(1) == self.labels).double().mean())


def _picture(label: int, rng: np.random.Generator) -> Image.Image:
    height, width = SHAPES[rng.integers(len(SHAPES))]
    colour = COLOURS[label] + rng.normal(0, 60, 3)
    noise = rng.normal(0, 60, (height // 8, width // 8, 3))
    small = Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _make_folder(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 6)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                exif = Image.Exif()
                exif[0x0112] = 6 if number == 1 else 1  # a photo that lies on its side, which torchvision leaves so
                path = folder / split / name / f"{number:02}.{'png' if number % 2 else 'jpg'}"
                _picture(label, rng).save(path, exif=exif)


def _seen(network: torch.nn.Module, folder: Path) -> tuple[torch.Tensor, ImageFolder]:
    images = ImageFolder(str(folder), EVALUATION)
    with torch.inference_mode():
        return network(torch.stack([image for image, _ in images])), images


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    """Random convolutions, and a last layer that is fitted to the training images."""
    place = tmp_path_factory.mktemp("own")
    _make_folder(place / "signs")
    torch.manual_seed(0)
    network = alexnet(num_classes=len(CLASSES)).eval()
    last = network.classifier[6]
    network.classifier[6] = torch.nn.Identity()
    features, train = _seen(network, place / "signs/train")
    wanted = 8 * torch.nn.functional.one_hot(torch.tensor(train.targets)).double() - 4
    centred = (features - features.mean(0)).double()
    fitted = torch.linalg.lstsq(centred, wanted, driver="gelsd", rcond=1e-3).solution
    with torch.no_grad():
        last.weight.copy_(fitted.T)
        last.bias.copy_(wanted.mean(0) - features.mean(0).double() @ fitted)
    network.classifier[6] = last
    torch.save(network.state_dict(), place / "net.pth")
    logits, test = _seen(network, place / "signs/test")
    files = [(Path(file).parent.name, Path(file).name) for file, _ in test.samples]
    (place / "classes.txt").write_text("\n".join(test.classes) + "\n")
    with contextlib.chdir(place):
        yield Theirs(place / "signs", place / "net.pth", logits, torch.tensor(test.targets), files)


@pytest.fixture(autouse=True)
def _nothing_remembered(theirs: Theirs) -> Iterator[None]:
    yield
    preprocessing_path(theirs.weights).unlink(missing_ok=True)


def _eval(*arguments: str) -> Result:
    return CliRunner().invoke(eval_script.app, ["--weights", "net.pth", "--data-root", "signs", *arguments])


def _tell(theirs: Theirs) -> None:
    """What `eval.py` would remember."""
    keep_spec(InputSpec(IMAGENET, read_classes(Path("classes.txt"))), theirs.weights)


def _ours(theirs: Theirs) -> tuple[torch.Tensor, ImageDataset]:
    images = load_dataset(DatasetName.CIFAR10, "test", theirs.folder, spec_of(theirs.weights))
    return predict_logits(load_alexnet(theirs.weights, len(images.class_names)), images), images


def test_evaluation_agrees_to_the_image(theirs: Theirs) -> None:
    told = _eval(*OPTIONS, "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["test"]["accuracy"] == pytest.approx(theirs.accuracy) and theirs.accuracy > 0.4
    logits, images = _ours(theirs)
    names = sorted(theirs.files, key=lambda file: (CLASSES.index(file[0]), file[1]))  # our order of the images
    order = [theirs.files.index(name) for name in names]
    assert images.class_names == tuple(sorted(CLASSES))
    assert torch.equal(torch.from_numpy(images.labels), theirs.labels[order])
    torch.testing.assert_close(logits, theirs.logits[order], atol=1e-4, rtol=0)
    assert torch.equal(logits.argmax(1), theirs.logits[order].argmax(1))


def test_what_was_told_once_is_remembered_for_every_script(theirs: Theirs) -> None:
    first = _eval(*OPTIONS, "--json")
    assert "remembered in net_preprocessing.json" in first.stderr and "'10' first" in first.stderr
    assert json.loads(_eval("--json").stdout) == json.loads(first.stdout)


def test_inputs_are_torchvisions_to_the_bit(theirs: Theirs) -> None:
    _tell(theirs)
    images = load_dataset(DatasetName.CIFAR10, "train", theirs.folder, spec_of(theirs.weights))
    for name in CLASSES:
        ours = images.inputs(np.flatnonzero(images.labels == images.class_names.index(name)))
        files = sorted((theirs.folder / "train" / name).iterdir())
        expected = torch.stack([EVALUATION(Image.open(file).convert("RGB")) for file in files])
        assert torch.equal(ours, expected)


def test_without_a_word_it_is_said_what_may_be_wrong(theirs: Theirs) -> None:
    _tell(theirs)
    spec = json.loads(preprocessing_path(theirs.weights).read_text())
    preprocessing_path(theirs.weights).write_text(json.dumps({**spec, "classes": ["cat", "10", "dog", "2"]}))
    told = _eval().stderr
    assert "with the classes in another order" in told and f"{theirs.accuracy:.1%}" in told


def _repair(*arguments: str) -> dict[str, Any]:
    """A repair of all images that are wrong, accepted by the checker."""
    asked = ["misclassified", "--weights", "net.pth", "--data-root", "signs", "--output", "fixed.pth", "--json"]
    told = CliRunner().invoke(repair_script.app, [*asked, "--force", *arguments])
    assert told.exit_code == 0, told.stderr
    checked = Certificate(certificate_path(Path("fixed.pth"))).check()
    assert checked.accepted, checked.lines
    report: dict[str, Any] = json.loads(told.stdout)
    return report


@pytest.mark.parametrize("metric", ["identity", pytest.param("training", marks=pytest.mark.slow)])
def test_a_repair_is_accepted_and_keeps_the_preprocessing(theirs: Theirs, metric: str) -> None:
    _tell(theirs)
    wrong = int((theirs.logits.argmax(1) != theirs.labels).sum())
    report = _repair("--norm", "l2", "--metric", metric)
    assert (report["status"], report["edit_set_size"]) == ("repaired", wrong)
    assert report["prepare"] == {"identity": "none", "training": "spare-units"}[metric]
    assert report["test_accuracy_before"] == pytest.approx(theirs.accuracy)
    otherwise = ["--weights", "fixed.pth", "--data-root", str(theirs.folder), "--preprocessing", "cifar"]
    refused = CliRunner().invoke(eval_script.app, otherwise)
    assert refused.exit_code == 2 and "measure a copy of it otherwise" in refused.stderr
    assert preprocessing_path(Path("fixed.pth")).read_bytes() == preprocessing_path(theirs.weights).read_bytes()
    if metric == "training":
        assert CliRunner().invoke(eval_script.app, ["--report", str(report_path(Path("fixed.pth")))]).exit_code == 0
    repaired = alexnet(num_classes=4).eval()
    repaired.load_state_dict(torch.load("fixed.pth"))
    right = _seen(repaired, theirs.folder / "test")[0].argmax(1) == theirs.labels
    assert report["test_accuracy_after"] == pytest.approx(float(right.double().mean()))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            ["--metric", "identity", "--norm", "l2", "--prepare", "none", "--shifts", "1", "--flip"], id="shifts"
        ),
        pytest.param(["--layer", "classifier.4.bias", "--margin", "0.01", "--metric", "identity"], id="pattern"),
        pytest.param(["--layer", "features.10", "--pattern", "relinearise", "--metric", "identity"], id="convolution"),
    ],
)
@pytest.mark.slow
def test_other_repairs_are_accepted(theirs: Theirs, arguments: list[str]) -> None:
    _tell(theirs)
    report = _repair("--max-samples", "3", "--param-bound", "50", *arguments)
    assert report["status"] == "repaired" and report["edit_accuracy_after"] == 1


def test_of_an_earlier_result_no_preprocessing_is_left(theirs: Theirs) -> None:
    keep_spec(InputSpec(IMAGENET), Path("fixed.pth"))
    _repair("--max-samples", "2", "--metric", "identity", "--norm", "l2", "--param-bound", "50")
    assert not preprocessing_path(Path("fixed.pth")).exists()


def test_what_the_convolutions_give_is_kept_for_maps_of_any_size(theirs: Theirs) -> None:
    _tell(theirs)
    bench = open_workbench(DatasetName.CIFAR10, theirs.folder, theirs.weights)
    channels = bench.training_images.channels
    assert channels.shape == (256, 6, 6)
    torch.testing.assert_close(channels.logits(), predict_logits(bench.model, bench.training), atol=1e-5, rtol=0)
    chosen = np.array([3, 0, 7])
    expected = layer_inputs(bench.model, "classifier.4", bench.training.inputs(chosen).flip(3))
    torch.testing.assert_close(channels.inputs("classifier.4", chosen, mirrored=True), expected, atol=1e-5, rtol=0)


def test_the_test_images_are_found_by_their_pixels(theirs: Theirs) -> None:
    _tell(theirs)
    _, images = _ours(theirs)
    chosen = np.array([5, 1, 20])
    inputs = images.inputs(chosen)
    known = EditSet(inputs, torch.from_numpy(images.labels[chosen]), [{}] * 3)
    assert locate(known, images).indices.tolist() == chosen.tolist()
    assert locate(replace(known, images=inputs.flip(2)), images).indices.tolist() == [-1] * 3


def test_an_edit_set_is_shown_as_it_was_before_it_was_normalised(theirs: Theirs) -> None:
    _tell(theirs)
    _, images = _ours(theirs)
    edit_set = select(Selection("misclassified"), images, theirs.logits.flip(1))
    save_edit_set(edit_set, Path("shown_edit_dataset.pt"))
    index = edit_set.claimed_indices()[0]
    read = load_edit_set(Path("shown_edit_dataset.pt"))
    shown = np.asarray(Image.open(io.BytesIO(input_png(read.preprocessing.unit(read.images[0])))))
    assert np.array_equal(shown, images.images[index])


def test_an_edit_set_of_another_preprocessing_is_refused(theirs: Theirs) -> None:
    _tell(theirs)
    _, images = _ours(theirs)
    shutil.copy("net.pth", "small.pth")
    generator: Any = importlib.import_module("editset_generator")
    asked = ["misclassified", "--weights", "small.pth", "--data-root", "signs", "--output", "small"]
    assert CliRunner().invoke(generator.app, asked).exit_code == 0
    (path,) = Path("data/edit_sets").rglob("small_edit_dataset.pt")
    with pytest.raises(UsageError, match="prepared in another way"):
        load_for(path, images)
