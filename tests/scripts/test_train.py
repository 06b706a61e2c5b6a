"""The command line of train.py."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import train
from helpers.cli import DatasetName
from helpers.files.writing import exclusive
from helpers.images.datasets import ImageDataset, load_dataset
from helpers.images.input_spec import InputSpec, spec_of
from helpers.images.preprocessing import CIFAR, IMAGENET, Preprocessing
from helpers.images.source import SPLITS
from model_classes import training
from model_classes.alexnet import load_alexnet
from model_classes.epochs import Epoch
from model_classes.weights import weights_hash


def run(*arguments: str) -> Any:
    return CliRunner().invoke(train.app, ["--dataset", "digits", *arguments])


def test_a_short_training(workplace: Path) -> None:
    result = run("--epochs", "1", "--seed", "7", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    weights = Path("artifacts/alexnet_base_digits.pth")
    assert printed == json.loads(weights.with_suffix(".json").read_text())
    assert (printed["weights"], printed["epochs"], printed["seed"]) == (str(weights), 1, 7)
    assert weights_hash(load_alexnet(weights)) == printed["weights_hash"]
    assert {value.dtype for value in torch.load(weights).values()} == {torch.float32}


def test_a_dry_run_tells_what_would_be_made_and_writes_nothing(workplace: Path) -> None:
    whole, half = (json.loads(run("--dry-run", "--json", "--epochs", epochs).stdout) for epochs in ("12", "6"))
    assert whole["images"] == "1,201 training images, 596 test images" and whole["epochs"].startswith("12 on ")
    assert whole["weights"] == "artifacts/alexnet_base_digits.pth" and "64" in whole["inputs"]
    assert half["time"] != whole["time"] or "not known" in whole["time"]
    assert not any(workplace.iterdir())
    Path("w.pth").write_text("precious")
    assert "--force replaces it" in run("--dry-run", "--output", "w.pth", "--force").stdout
    assert Path("w.pth").read_text() == "precious"


def test_a_baseline_that_exists_is_kept(workplace: Path) -> None:
    Path("w.pth").write_text("precious")
    result = run("--output", "w.pth")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert Path("w.pth").read_text() == "precious"


def test_two_runs_with_one_output(workplace: Path) -> None:
    with exclusive(Path("w.pth")):
        result = run("--output", "w.pth")
    assert result.exit_code == 1
    assert "Another run is writing w.pth" in result.stderr
    assert list(workplace.iterdir()) == []


def test_safetensors(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Epoch(12, 1.0, 0.5, (0.25,) * 12, 2.0, {"weight": torch.ones(2)})
    monkeypatch.setattr(training, "train_epochs", lambda *_: iter([epoch]))
    assert run("--output", "w.safetensors").exit_code == 0
    assert safetensors.torch.load_file("w.safetensors")["weight"].tolist() == [1.0, 1.0]
    assert json.loads(Path("w.safetensors.json").read_text())["epochs"] == 12


def test_a_name_that_is_too_long_is_told_before_the_training(workplace: Path) -> None:
    result = run("--output", "w" * 240 + ".pth")
    assert result.exit_code == 1
    assert "name too long" in result.stderr
    assert list(workplace.iterdir()) == []


def test_force_replaces_it_and_a_result_is_one_line(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Epoch(12, 1.0, 0.5, (0.25,) * 12, 2.0, {"weight": torch.ones(2)})
    monkeypatch.setattr(training, "train_epochs", lambda *_: iter([epoch]))
    Path("w.pth").write_text("old")
    result = run("--output", "w.pth", "--force")
    assert result.exit_code == 0, result.output
    assert result.stdout == "w.pth: 25.00% of the test images right after 12 epochs, 2 s\n"
    assert torch.load("w.pth")["weight"].tolist() == [1.0, 1.0]


def test_ctrl_c_is_130_and_keeps_the_last_epoch(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Iterator[Epoch]:
        yield Epoch(1, 1.0, 0.5, (0.25,), 2.0, {"weight": torch.ones(2)})
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_epochs", interrupted)
    result = run("--output", "w.pth")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "epoch 1 of 12" in result.stderr
    assert torch.load("w.pth")["weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--epochs", "0"], 2, "--epochs"),
        (["--epochs", "many"], 2, "--epochs"),
        (["--seed", "-1"], 2, "--seed"),
        (["--device", "toaster"], 2, "--device toaster cannot be used here"),
        (["--device", "cuda:99"], 2, "--device cuda:99 cannot be used here"),
        (["--dataset", "mnist"], 2, "mnist"),
        (["--input-size", "20"], 2, "The input size is a whole number of pixels from 63 on"),
        (["--input-size", "96", "--resize", "80"], 2, "they cannot be 96 and 80"),
        (["--output", "."], 2, "cannot be the weights file"),
        (["--output", "/proc/w.pth"], 1, "Cannot write /proc/w.pth"),
        (["--dataset", "cifar10", "--data-root", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_work_is_told(workplace: Path, arguments: list[str], exit_code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ([], CIFAR),
        (["--input-size", "112"], Preprocessing(112, 128)),
        (
            ["--input-size", "112", "--resize", "112", "--mean", "0.5", "0.5", "0.5"],
            Preprocessing(112, 112, (0.5,) * 3),
        ),
        (["--preprocessing", "imagenet"], IMAGENET),
    ],
)
def test_the_preprocessing_is_written_beside_the_weights(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], made: Preprocessing
) -> None:
    epoch, seen = Epoch(12, 1.0, 0.5, (0.25,) * 12, 2.0, {"weight": torch.ones(2)}), list[Preprocessing]()

    def epochs(train_images: ImageDataset, test_images: ImageDataset, *_: Any) -> Iterator[Epoch]:
        seen.extend(images.preprocessing for images in (train_images, test_images))
        yield epoch

    monkeypatch.setattr(training, "train_epochs", epochs)
    assert run("--output", "w.pth", *options).exit_code == 0
    assert seen == [made, made] and spec_of(Path("w.pth")) == InputSpec(made)


def test_a_full_disk_is_told_and_the_old_weights_stay(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Epoch(12, 1.0, 0.5, (0.25,) * 12, 2.0, {"weight": torch.ones(100_000)})
    monkeypatch.setattr(training, "train_epochs", lambda *_: iter([epoch]))
    for split in SPLITS:
        load_dataset(DatasetName.DIGITS, split)  # cached before the disk is full
    Path("w.pth").write_text("precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        result = run("--output", "w.pth", "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.exit_code == 1, result.output
    assert "Cannot write w.pth" in result.stderr
    assert Path("w.pth").read_text() == "precious"
    assert [path.name for path in Path().glob("*w.*")] == ["w.pth"]
