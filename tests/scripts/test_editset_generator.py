from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

import editset_generator
from editset_generator import Request
from editset_helpers import generation
from editset_helpers.edit_set import load_edit_set, save_edit_set
from editset_helpers.location import locate
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.decoding import decode_file
from helpers.images.preprocessing import to_inputs
from tests.conftest import CHECKOUT

DIGITS = ["--dataset", "digits"]
SETS = Path("data/edit_sets")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(editset_generator.app, arguments)


@pytest.fixture
def network(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A small network that takes the place of the baseline, and is mostly wrong."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 10))
    monkeypatch.setattr(generation, "load_alexnet", lambda path, num_classes: model)
    monkeypatch.setattr("model_classes.training.ensure_baseline", lambda dataset, root, path: path or Path("base.pth"))
    return model


def test_misclassified_digits(network: nn.Module) -> None:
    result = _run("misclassified", *DIGITS, "--max-samples", "20", "--seed", "3")
    assert result.exit_code == 0
    edit_set = load_edit_set(SETS / "digits/misclassified_20_seed3_edit_dataset.pt")
    assert len(edit_set) == 20
    assert result.stdout == "data/edit_sets/digits/misclassified_20_seed3_edit_dataset.pt: 20 images\n"
    with torch.no_grad():
        predicted = network(edit_set.images).argmax(dim=1)
    assert (predicted != edit_set.labels).all()
    assert predicted.tolist() == [entry["predicted_label"] for entry in edit_set.metadata]


def test_the_metadata_file_says_how_the_set_was_made(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/editset_generator.py", "by-class", "--target-class", "7"])
    assert _run("by-class", "--target-class", "7", *DIGITS, "--correctness", "any", "--seed", "5").exit_code == 0
    facts = json.loads((SETS / "digits/class_7_7_any_edit_metadata.json").read_text())
    assert (facts["dataset"], facts["split"], facts["seed"], facts["weights"]) == ("digits", "test", 5, "base.pth")
    assert (facts["target_class"], facts["correctness"]) == ("7", "any")
    assert facts["command"] == "editset_generator.py by-class --target-class 7"
    assert len(facts["weights_hash"]) == len(facts["dataset_hash"]) == 64
    assert len(facts["metadata"]) == 59


def test_the_same_seed_makes_the_same_file(network: nn.Module) -> None:
    hashes = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        assert (
            _run("misclassified", *DIGITS, "--max-samples", "9", "--seed", str(seed), "--output", name).exit_code == 0
        )
        hashes.append(load_edit_set(SETS / f"digits/{name}_edit_dataset.pt").content_hash)
    assert hashes[0] == hashes[1] != hashes[2]


FEW = ["--max-samples", "5"]
WAYS: list[list[str]] = [[], FEW, [*FEW, "--seed", "1"], ["--max-samples", "6"]]


def test_another_size_or_seed_is_another_file(network: nn.Module) -> None:
    hashes = set()
    for options in WAYS:
        made = _run("misclassified", *DIGITS, *options)
        assert made.exit_code == 0 and "kept" not in made.stderr
        hashes.add(load_edit_set(Path(made.stdout.split(":")[0])).content_hash)
        again = _run("misclassified", *DIGITS, *options)
        assert (again.exit_code, again.stdout) == (0, "") and "kept" in again.stderr and "--force" in again.stderr
    names = sorted(path.name for path in (SETS / "digits").glob("*.pt"))
    assert len(hashes) == 4 and names == [
        "misclassified_5_seed0_edit_dataset.pt",
        "misclassified_5_seed1_edit_dataset.pt",
        "misclassified_6_seed0_edit_dataset.pt",
        "misclassified_edit_dataset.pt",
    ]


def test_the_seed_of_a_set_of_all_images_does_not_matter(network: nn.Module) -> None:
    _run("misclassified", *DIGITS)
    assert "kept" in _run("misclassified", *DIGITS, "--seed", "7").stderr


def _others(kind: str, path: Path, network: nn.Module) -> None:
    """Put something else where the usual set of misclassified digits goes."""
    _run("misclassified", *DIGITS)
    whole = load_edit_set(path)
    if kind == "five of them":
        _run("misclassified", *DIGITS, *FEW, "--output", "misclassified", "--force")
    elif kind == "an old one that says nothing":
        torch.save({"images": whole.images[:5], "labels": whole.labels[:5]}, path)
    elif kind == "another folder's":
        save_edit_set(replace(whole, provenance={**whole.provenance, "dataset_hash": "f" * 64}), path)
    else:
        nn.init.normal_(network.get_parameter("2.weight"))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("five of them", "was made with --max-samples 5"),
        ("an old one that says nothing", "does not say how it was made"),
        ("another folder's", "was made of other images"),
        ("another network's", "was made with other weights"),
    ],
)
def test_what_does_not_hold_what_is_asked_for_is_never_used(network: nn.Module, kind: str, why: str) -> None:
    path = SETS / "digits/misclassified_edit_dataset.pt"
    _others(kind, path, network)
    before = path.read_bytes()
    result = _run("misclassified", *DIGITS)
    assert result.exit_code == 0 and path.read_bytes() == before
    other = Path(result.stdout.split(":")[0])
    assert re.fullmatch(r"misclassified_[0-9a-f]{8}_[0-9a-f]{8}_edit_dataset\.pt", other.name)
    assert f"{path} {why}, so {other} is used" in result.stderr
    with torch.no_grad():
        made = load_edit_set(other)
        assert (network(made.images).argmax(dim=1) != made.labels).all()
    assert len(made) == made.provenance["candidates"]
    assert "kept" in (again := _run("misclassified", *DIGITS)).stderr and str(other) in again.stderr
    save_edit_set(replace(made, provenance={}), other)
    refused = _run("misclassified", *DIGITS)
    assert (refused.exit_code, refused.stdout) == (2, "") and "remove one of them" in refused.stderr
    assert _run("misclassified", *DIGITS, "--force").exit_code == 0
    assert load_edit_set(path).content_hash == made.content_hash


def test_a_name_that_another_set_has_is_refused(network: nn.Module) -> None:
    assert _run("misclassified", *DIGITS, "--output", "mine").exit_code == 0
    assert "kept" in _run("misclassified", *DIGITS, "--output", "mine").stderr
    refused = _run("misclassified", *DIGITS, *FEW, "--output", "mine")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "mine_edit_dataset.pt was made with --max-samples none; --force replaces it" in refused.stderr
    assert _run("misclassified", *DIGITS, *FEW, "--output", "mine", "--force").exit_code == 0
    assert len(load_edit_set(SETS / "digits/mine_edit_dataset.pt")) == 5


def test_images_by_number_are_taken_whatever_the_network_says(network: nn.Module) -> None:
    result = _run("indices", "17", "3", "17", "200", *DIGITS, "--split", "train")
    path = SETS / "digits/images_3_17_200_train_edit_dataset.pt"
    assert (result.exit_code, result.stdout) == (0, f"{path}: 3 images\n")
    edit_set, train = load_edit_set(path), load_dataset(DatasetName.DIGITS, "train")
    assert torch.equal(edit_set.images, to_inputs(train.images[[3, 17, 200]]))
    assert edit_set.labels.tolist() == train.labels[[3, 17, 200]].tolist()
    assert (edit_set.claimed_indices("train").tolist(), edit_set.test_indices()) == ([3, 17, 200], None)
    assert (edit_set.source, edit_set.provenance["dataset_hash"]) == ("train", train.content_hash)
    assert "kept" in _run("indices", "3", "17,200", *DIGITS, "--split", "train").stderr
    test = _run("indices", "3", "17", "200", *DIGITS)
    assert test.stdout == f"{str(path).replace('_train', '')}: 3 images\n"
    assert "NUMBER is the number of an image, from 0 on, not 'x'" in _run("indices", "3,x", *DIGITS).stderr
    refused = _run("indices", "3", "596", *DIGITS)
    assert refused.exit_code == 2 and "no test image 596 of digits" in refused.stderr


def test_labels_that_the_dataset_has_wrong(network: nn.Module, digits_test: ImageDataset) -> None:
    with torch.no_grad():
        said = int(network.eval()(to_inputs(digits_test.images[[3]])).argmax())
    other = (int(digits_test.labels[17]) + 1) % 10
    Path("labels.csv").write_text(f"image,label\n17,{other}\n3,{said}\n")
    result = _run("indices", "3", "17", "40", *DIGITS, "--relabel", "labels.csv", "--output", "mine")
    assert result.exit_code == 0 and "have a label that was given" in result.stderr
    edit_set = load_edit_set(SETS / "digits/mine_edit_dataset.pt")
    assert edit_set.labels.tolist() == [said, other, digits_test.labels[40]]
    assert edit_set.metadata[0]["margin"] > 0 and "right already" in result.stderr
    assert edit_set.provenance["relabeled"] == {"3": str(said), "17": str(other)}
    Path("labels.csv").write_text("image,label\n17,3\n")
    assert "holds another selection" in _run("indices", "3", "17", *DIGITS, "--output", "mine").stderr


@pytest.fixture
def listed(network: nn.Module, image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cats and dogs, and a list of three pictures: a test image, a training image, and one of another size."""
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 50).convert("RGB").save(image_folder / "own.webp")
    pets = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 2))
    monkeypatch.setattr(generation, "load_alexnet", lambda path, num_classes: pets)
    rows = ["test/dog/3.png,dog", f"{image_folder.resolve()}/train/cat/1.png,0", "own.webp,cat"]
    (image_folder / "my list.csv").write_text("\n".join(["path,label", *rows]))
    return image_folder


def test_pictures_of_ones_own(listed: Path) -> None:
    result = _run("from-files", str(listed / "my list.csv"), "--data-root", str(listed))
    assert result.stdout == "data/edit_sets/pets/my_list_edit_dataset.pt: 3 images\n", result.stderr
    edit_set = load_edit_set(SETS / "pets/my_list_edit_dataset.pt")
    test, train = (load_dataset(DatasetName.CIFAR10, split, listed) for split in ("test", "train"))
    assert torch.equal(edit_set.images[:1], to_inputs(test.images[[8]]))
    assert torch.equal(edit_set.images[1:2], to_inputs(train.images[[1]]))
    assert torch.equal(edit_set.images[2:], to_inputs(decode_file(listed / "own.webp")[None]))
    assert edit_set.labels.tolist() == [1, 0, 0]
    assert edit_set.claimed_indices().tolist() == [8, -1, -1] and edit_set.claimed_indices("train").tolist() == [
        -1,
        1,
        -1,
    ]
    assert (edit_set.source, edit_set.provenance["list"]) == ("files", str(listed / "my list.csv"))
    location = locate(edit_set, test)
    assert location.outside is not None and np.flatnonzero(~location.outside).tolist() == [8]
    right = sum(entry["margin"] > 0 for entry in edit_set.metadata)
    assert (f"gets {right} of them right already" in result.stderr) == (right > 0)
    assert "kept" in _run("from-files", str(listed / "my list.csv"), "--data-root", str(listed)).stderr


def test_a_list_with_a_fault_writes_nothing(listed: Path) -> None:
    path = listed / "my list.csv"
    path.write_text(path.read_text() + "\ngone.png,cat\nown.webp,\n")
    result = _run("from-files", str(path), "--data-root", str(listed))
    assert (result.exit_code, result.stdout) == (1, "") and not SETS.exists()
    assert f"{path} line 5: Cannot read" in result.stderr and f"{path} line 6 has no label." in result.stderr


@pytest.mark.parametrize("correctness", ["incorrect", "correct"])
def test_some_of_ones_own_pictures(listed: Path, correctness: str) -> None:
    _run("from-files", str(listed / "my list.csv"), "--data-root", str(listed))
    margins = [entry["margin"] for entry in load_edit_set(SETS / "pets/my_list_edit_dataset.pt").metadata]
    expected = [margin for margin in margins if (margin > 0) == (correctness == "correct")]
    result = _run("from-files", str(listed / "my list.csv"), "--data-root", str(listed), "--correctness", correctness)
    if not expected:
        assert result.exit_code == 1 and "There is nothing to select" in result.stderr
        return
    edit_set = load_edit_set(SETS / f"pets/my_list_{correctness}_edit_dataset.pt")
    assert [entry["margin"] for entry in edit_set.metadata] == expected


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "expected"), [("y\n", 9), ("n\n", None), ("\n", None)])
def test_somebody_at_a_terminal_is_asked(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, answer: str, expected: int | None
) -> None:
    _run("misclassified", *DIGITS, *FEW, "--output", "mine")
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    nine = Selection("misclassified", max_samples=9)
    with contextlib.nullcontext() if expected else pytest.raises(UsageError, match="--force"):
        editset_generator.make_edit_set(nine, Request(DatasetName.DIGITS, name="mine"))
    assert len(load_edit_set(SETS / "digits/mine_edit_dataset.pt")) == (expected or 5)


def test_too_few_images_are_all_taken_and_it_is_said(network: nn.Module) -> None:
    result = _run("by-class", "--target-class", "2", *DIGITS, "--correctness", "any", "--max-samples", "500")
    assert result.exit_code == 0
    assert "only 59 images" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["by-class", "--target-class", "10"], 2, "There is no class '10'"),
        (["by-class", "--target-class", "lion"], 2, "0 0, 1 1, 2 2"),
        (["by-class"], 2, "--target-class"),
        (["misclassified", "--max-samples", "0"], 2, "--max-samples"),
        (["misclassified", "--seed", "-1"], 2, "--seed"),
        (["misclassified", "--output", "a/b"], 2, "--output"),
        (["misclassified", "--output", "../b"], 2, "--output"),
        (["misclassified", "--output", ""], 2, "--output"),
        (["by-class", "--target-class", "1", "--correctness", "maybe"], 2, "--correctness"),
        (["misclassified", "--data-root", "nowhere"], 2, "--data-root"),
    ],
)
def test_bad_arguments(network: nn.Module, arguments: list[str], exit_code: int, message: str) -> None:
    result = _run(*arguments, *DIGITS)
    assert result.exit_code == exit_code
    assert message in result.stderr
    assert not SETS.exists()


def test_explicit_weights_that_are_missing(workplace: Path) -> None:
    result = _run("misclassified", *DIGITS, "--weights", "nowhere.pth")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nowhere.pth does not exist" in result.stderr


def test_a_place_that_cannot_be_written(network: nn.Module) -> None:
    Path("data").mkdir()
    SETS.write_text("a file where the folder should be")
    result = _run("misclassified", *DIGITS)
    assert result.exit_code == 1
    assert "Cannot write data/edit_sets/digits/misclassified_edit_dataset.pt" in result.stderr


@pytest.mark.parametrize("name", ["mine", "mine.pt", "mine_edit_dataset", "mine_edit_dataset.pt"])
def test_an_output_name_may_be_short(name: str) -> None:
    assert editset_generator.file_name(name) == "mine_edit_dataset.pt"


@pytest.mark.parametrize("name", [".", "..", ".pt", " ", "a\\b", "/etc/a", "a\0b", "a" * 300])
def test_an_output_name_is_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="without folders"):
        editset_generator.file_name(name)


def test_the_list_names_sound_and_damaged_sets(network: nn.Module) -> None:
    _run("misclassified", *DIGITS, "--max-samples", "5", "--seed", "8")
    (SETS / "broken_edit_dataset.pt").touch()
    torch.save({"images": torch.rand(2, 3, 64, 64), "labels": torch.tensor([3, 12])}, SETS / "foreign.pt")
    result = _run("list")
    assert result.exit_code == 0
    header, broken, own, foreign = (line.split() for line in result.stdout.splitlines())
    assert header == ["edit", "set", "images", "from", "dataset", "weights", "seed"]
    assert broken[:2] == ["data/edit_sets/broken_edit_dataset.pt", "damaged"]
    assert own[1:4] + own[5:] == ["5", "test", "digits", "8"]
    assert foreign == ["data/edit_sets/foreign.pt", "2", "-", "-", "-", "-"]
    assert "broken_edit_dataset.pt is empty" in result.stderr
    entries = json.loads(_run("list", "--json").stdout)
    assert [entry["images"] for entry in entries] == [None, 5, 2]
    assert "is empty" in entries[0]["problem"]


def test_an_empty_list_says_how_to_fill_it(workplace: Path) -> None:
    result = _run("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "editset_generator.py misclassified" in result.stderr


def test_a_network_that_is_always_right(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, image_folder: Path
) -> None:
    """White cats, black dogs, and a network that looks at the brightness."""
    for path in image_folder.rglob("*.png"):
        Image.fromarray(np.full((32, 32, 3), 255 * ("cat" in path.parts), dtype=np.uint8)).save(path)
    sharp = nn.Sequential(nn.AvgPool2d(64), nn.Flatten(), nn.Linear(3, 2))
    sharp.load_state_dict({"2.weight": torch.tensor([[1.0] * 3, [-1.0] * 3]), "2.bias": torch.tensor([-1.5, 1.5])})
    monkeypatch.setattr(generation, "load_alexnet", lambda path, num_classes: sharp)
    with pytest.raises(ToolError, match="every test image right"):
        editset_generator.make_edit_set(Selection("misclassified"), Request(data_root=image_folder))
    path = editset_generator.make_edit_set(Selection("by-class", "CAT", "correct"), Request(data_root=image_folder))
    assert path == SETS / "pets/class_0_cat_correct_edit_dataset.pt"
    assert len(load_edit_set(path)) == 5


def test_the_script_on_real_images_and_weights(workplace: Path, some_cifar: Path, cifar_weights: Path) -> None:
    """The whole way: two scripts, as processes of their own, and what one wrote is what the other measures."""
    common = ["--data-root", str(some_cifar), "--weights", str(cifar_weights)]
    made = _script("editset_generator.py", "misclassified", *common)
    assert made.returncode == 0, made.stderr
    edit_set = load_edit_set(workplace / SETS / "misclassified_edit_dataset.pt")
    assert 25 < len(edit_set) < 80
    measured = _script("eval.py", *common, "--edit-set", str(SETS / "misclassified_edit_dataset.pt"), "--json")
    report = json.loads(measured.stdout)
    assert report["test"]["accuracy"] == pytest.approx(1 - len(edit_set) / 200)
    assert report["edit_set"]["edit_accuracy"] == 0
    assert report["edit_set"]["drawdown_accuracy"] == 1
    assert report["weights_hash"] == edit_set.provenance["weights_hash"]
    save_edit_set(edit_set.subset(10, seed=0), workplace / SETS / "ten_edit_dataset.pt")
    assert len(load_edit_set(workplace / SETS / "ten_edit_dataset.pt")) == 10


def _script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECKOUT / name), *arguments], capture_output=True, text=True, check=False, timeout=300
    )
