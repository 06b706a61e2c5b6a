"""Training: the folded network, the variants of images, the loop, and what is saved of it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from helpers.cli import DatasetName
from helpers.errors import ToolError, UsageError
from helpers.evaluation import is_right, predict_logits
from helpers.files.paths import baseline_weights
from helpers.images.datasets import ImageDataset
from helpers.images.input_spec import InputSpec
from helpers.images.preprocessing import CIFAR, Preprocessing, to_inputs
from model_classes import training
from model_classes.alexnet import AlexNet
from model_classes.augmentation import Augmentation, augmented_inputs
from model_classes.epochs import Epoch, TrainingPlan, train_epochs
from model_classes.folding import POOLED_WEIGHT, fold, folded_alexnet, unfold
from model_classes.training import PLANS
from model_classes.weights import weights_hash

CPU = torch.device("cpu")
PLAN = TrainingPlan(epochs=2, seconds=1, augmentation=Augmentation(0.1, 0.1), batch_size=16)


def some_of(dataset: ImageDataset, count: int) -> ImageDataset:
    return dataclasses.replace(dataset, images=dataset.images[:count], labels=dataset.labels[:count])


def as_batch(dataset: ImageDataset, count: int) -> torch.Tensor:
    return torch.from_numpy(dataset.images[:count].copy()).permute(0, 3, 1, 2)


def an_epoch(number: int) -> Epoch:
    return Epoch(number, 1.0, 0.5, (0.25,) * number, 2.0, {"weight": torch.full((2,), float(number))})


def epochs_then(end: type[BaseException] | None, count: int) -> Any:
    """A stand-in for `train_epochs`."""

    def run(*_: Any) -> Iterator[Epoch]:
        yield from (an_epoch(number) for number in range(1, count + 1))
        if end is not None:
            raise end

    return run


# The folded network


def test_folded_and_unfolded_answer_alike() -> None:
    torch.manual_seed(0)
    folded = folded_alexnet(10).eval()
    whole = torchvision.models.alexnet(num_classes=10)
    whole.load_state_dict(unfold(folded.state_dict()))
    images = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        logits = folded(images)
        torch.testing.assert_close(whole.eval()(images), logits, rtol=1e-4, atol=1e-5)
    assert logits.std() > 0.1


def test_folding_undoes_unfolding() -> None:
    torch.manual_seed(0)
    weights = folded_alexnet(10).state_dict()
    there_and_back = fold(unfold(weights))
    for name, value in weights.items():
        torch.testing.assert_close(there_and_back[name], value, rtol=1e-6, atol=0)


def test_unfolding_makes_36_equal_columns_a_channel_and_shares_no_memory() -> None:
    weights = folded_alexnet(10).state_dict()
    unfolded = unfold(weights)
    columns = unfolded[POOLED_WEIGHT].reshape(4096, 256, 36)
    assert torch.equal(columns, columns[:, :, :1].expand_as(columns))
    assert torch.equal(columns[:, 7, 0], weights[POOLED_WEIGHT][:, 7] / 36)
    assert not {value.data_ptr() for value in weights.values()} & {value.data_ptr() for value in unfolded.values()}


# The variants of images


def test_no_augmentation_is_the_usual_preprocessing(digits_test: ImageDataset) -> None:
    variants = augmented_inputs(as_batch(digits_test, 20), Augmentation())
    assert variants.dtype is torch.float32
    assert (variants - to_inputs(digits_test.images[:20])).abs().max() <= 0.51 / 255


def test_nor_is_it_another_one_at_other_sizes() -> None:
    """Of photos the bytes are those of the crop, so nothing is interpolated at all."""
    made = Preprocessing(96, 110, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    pixels = torch.randint(256, (4, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    variants = augmented_inputs(pixels.permute(0, 3, 1, 2), Augmentation(), made)
    torch.testing.assert_close(variants, to_inputs(pixels.numpy(), made), rtol=0, atol=1e-3)


def test_a_flip_mirrors_about_half(digits_test: ImageDataset) -> None:
    torch.manual_seed(0)
    images = as_batch(digits_test, 1).expand(200, -1, -1, -1)
    plain = augmented_inputs(images[:1], Augmentation())
    variants = augmented_inputs(images, Augmentation(flip=True))
    mirrored = (variants - plain.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    kept = (variants - plain).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert 70 <= mirrored.sum() <= 130


def test_a_shift_reaches_its_range_and_no_further() -> None:
    torch.manual_seed(0)
    dot = torch.zeros(500, 3, 32, 32, dtype=torch.uint8)
    dot[:, :, 15:17, 15:17] = 255
    variants = augmented_inputs(dot, Augmentation(shift=0.1)).sum(dim=1)
    places = torch.arange(64) - 31.5
    for sums in (variants.sum(dim=1), variants.sum(dim=2)):
        centroids = (sums * places).sum(dim=1) / sums.sum(dim=1)
        assert centroids.abs().max() <= 3.5 + 0.05  # 0.1 of 35, half the resized side
        assert centroids.min() < -3
        assert centroids.max() > 3


def test_a_zoom_changes_the_size_and_not_the_place() -> None:
    torch.manual_seed(0)
    square = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    square[:, :, 8:24, 8:24] = 255
    sides = augmented_inputs(square, Augmentation(zoom=0.1))[:, 0, 32].sum(dim=1)
    assert 35 / 1.1 - 0.5 <= sides.min() < 33
    assert 37.5 < sides.max() <= 35 / 0.9 + 0.5


# The loop


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(digits_train: ImageDataset, digits_test: ImageDataset) -> None:
    def hashes(seed: int) -> list[str]:
        few, tested = some_of(digits_train, 40), some_of(digits_test, 20)
        return [weights_hash(epoch.weights) for epoch in train_epochs(few, tested, PLAN, seed, CPU)]

    first = hashes(3)
    assert len(set(first)) == 2
    assert hashes(3) == first
    assert hashes(4)[0] != first[0]


def test_maps_of_several_pixels_are_trained_unfolded(digits_train: ImageDataset, digits_test: ImageDataset) -> None:
    """With inputs of 96 pixels the map has two by two; what is tested while training is the network that is saved."""
    made = dataclasses.replace(CIFAR, input_size=96, resize=110)
    train, test = (
        dataclasses.replace(some_of(images, 32), spec=InputSpec(made)) for images in (digits_train, digits_test)
    )
    (epoch,) = train_epochs(train, test, dataclasses.replace(PLAN, epochs=1), 0, CPU)
    columns = epoch.weights[POOLED_WEIGHT].reshape(4096, 256, 36)
    assert not torch.equal(columns[..., 0], columns[..., 1])
    model = AlexNet(10)
    model.load_state_dict(epoch.weights)
    right = is_right(predict_logits(model, test), test.labels)
    assert epoch.test_accuracies == (right.mean(),)


def test_an_epoch_is_a_snapshot(digits_train: ImageDataset, digits_test: ImageDataset) -> None:
    epochs = train_epochs(some_of(digits_train, 32), some_of(digits_test, 20), PLAN, 0, CPU)
    first = next(epochs)
    before = weights_hash(first.weights)
    second = next(epochs)
    assert weights_hash(first.weights) == before
    assert second.test_accuracies[:1] == first.test_accuracies
    assert (second.number, len(second.test_accuracies)) == (2, 2)


def test_the_digits_are_learnt(digits_baseline: Path, digits_test: ImageDataset) -> None:
    theirs = torchvision.models.alexnet(num_classes=10)
    theirs.load_state_dict(torch.load(digits_baseline, weights_only=True))
    with torch.inference_mode():
        predicted = theirs.eval()(to_inputs(digits_test.images)).argmax(dim=1)
    accuracy = (predicted == torch.from_numpy(digits_test.labels)).double().mean().item()
    record = json.loads(digits_baseline.with_suffix(".json").read_text())
    assert accuracy >= 0.95
    assert record["test_accuracy"] == pytest.approx(accuracy, abs=1.5 / len(digits_test))  # folded: a tie may turn
    assert record["weights_hash"] == weights_hash(theirs)
    assert len(record["test_accuracies"]) == record["epochs"] == record["planned_epochs"]


@pytest.mark.slow
def test_an_epoch_costs_less_than_one_of_torchvisions_network(
    digits_train: ImageDataset, digits_test: ImageDataset
) -> None:
    """Pictures that are moved and the test included: the pool's copies are folded while training."""
    images, plan = some_of(digits_train, 256), dataclasses.replace(PLANS[DatasetName.DIGITS], epochs=1)
    theirs = torchvision.models.alexnet(num_classes=10)
    descent = torch.optim.SGD(theirs.parameters(), lr=1e-3, momentum=0.9)

    def ours() -> None:
        list(train_epochs(images, some_of(digits_test, 20), plan, 0, CPU))

    def plainly() -> None:
        for part in np.split(np.arange(256), 256 // plan.batch_size):
            descent.zero_grad()
            logits, labels = theirs(images.inputs(part)), torch.from_numpy(images.labels[part])
            torch.nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
            descent.step()

    assert min(_seconds(ours) for _ in range(3)) < min(_seconds(plainly) for _ in range(3))


def _seconds(work: Callable[[], object]) -> float:
    """Of the processor: others' work does not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


# What is saved


def test_ctrl_c_keeps_the_last_finished_epoch(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "train_epochs", epochs_then(KeyboardInterrupt, 3))
    with pytest.raises(KeyboardInterrupt):
        training.train_alexnet(DatasetName.DIGITS, Path("new/w.pth"), epochs=5)
    assert torch.load("new/w.pth")["weight"].tolist() == [3.0, 3.0]
    record = json.loads(Path("new/w.json").read_text())
    assert (record["epochs"], record["planned_epochs"]) == (3, 5)
    assert "epoch 3 of 5" in capsys.readouterr().err
    assert sorted(path.name for path in Path("new").iterdir()) == ["w.json", "w.pth"]


def test_ctrl_c_in_the_first_epoch_saves_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "train_epochs", epochs_then(KeyboardInterrupt, 0))
    with pytest.raises(KeyboardInterrupt):
        training.train_alexnet(DatasetName.DIGITS, Path("w.pth"))
    assert not Path("w.pth").exists()
    assert "nothing was saved" in capsys.readouterr().err


def test_long_epochs_are_saved_as_they_end(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(*_: Any) -> Iterator[Epoch]:
        for number in (1, 2):
            yield an_epoch(number)
            seen.append(json.loads(Path("w.json").read_text())["epochs"])

    monkeypatch.setattr(training, "train_epochs", watched)
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    assert training.train_alexnet(DatasetName.DIGITS, Path("w.pth")).epochs == 2
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("output", "error"), [("folder", UsageError), ("w.json", UsageError), ("file/w.pth", ToolError)]
)
def test_an_output_that_cannot_be_written_is_told_before_training(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, output: str, error: type[ToolError]
) -> None:
    Path("folder").mkdir()
    Path("file").touch()
    monkeypatch.setattr(training, "train_epochs", epochs_then(AssertionError, 0))
    with pytest.raises(error, match=output):
        training.train_alexnet(DatasetName.DIGITS, Path(output))


# The baseline


def test_weights_that_are_named_are_the_baseline(workplace: Path) -> None:
    Path("mine.pth").touch()
    assert training.ensure_baseline(DatasetName.DIGITS, None, Path("mine.pth")) == Path("mine.pth")
    with pytest.raises(ToolError, match=r"yours\.pth does not exist"):
        training.ensure_baseline(DatasetName.DIGITS, None, Path("yours.pth"))


def test_a_missing_baseline_is_trained_and_said(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "train_epochs", epochs_then(None, 12))
    path = training.ensure_baseline(DatasetName.DIGITS, None, None)
    assert path == baseline_weights(DatasetName.DIGITS)
    assert torch.load(path)["weight"].tolist() == [12.0, 12.0]
    told = capsys.readouterr()
    assert told.out == ""
    assert "training it, 12 epochs, about" in told.err.splitlines()[0]
    monkeypatch.setattr(training, "train_epochs", epochs_then(AssertionError, 0))
    assert training.ensure_baseline(DatasetName.DIGITS, None, None) == path
    assert capsys.readouterr().err == ""


def test_a_baseline_that_was_interrupted_is_used_and_said(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "train_epochs", epochs_then(None, 3))
    path = training.ensure_baseline(DatasetName.DIGITS, None, None)
    capsys.readouterr()
    assert training.ensure_baseline(DatasetName.DIGITS, None, None) == path
    assert "was interrupted" in capsys.readouterr().err
    torch.save({"weight": torch.zeros(2)}, path)  # other weights: the record is not theirs
    training.ensure_baseline(DatasetName.DIGITS, None, None)
    assert capsys.readouterr().err == ""
