"""Training the baseline, and finding it again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from helpers.cli import DatasetName, say
from helpers.errors import ToolError
from helpers.files.outputs import writable_output
from helpers.files.paths import baseline_weights
from helpers.files.writing import exclusive
from helpers.images.datasets import load_dataset
from helpers.images.input_spec import InputSpec
from helpers.images.preprocessing import CIFAR, Preprocessing
from helpers.images.source import SPLITS
from model_classes.augmentation import Augmentation
from model_classes.baseline import Baseline, TrainingRun, save_baseline, was_interrupted
from model_classes.epochs import Epoch, TrainingPlan, has_fast_bfloat16, train_epochs

SAVE_EVERY = 10.0  # seconds: an epoch of the digits takes two, writing 228 MB may take as long
PLANS = {
    DatasetName.CIFAR10: TrainingPlan(epochs=12, seconds=570, augmentation=Augmentation(0.1, 0.1, flip=True)),
    DatasetName.DIGITS: TrainingPlan(epochs=12, seconds=25, augmentation=Augmentation(0.1, 0.1), batch_size=128),
}


def ensure_baseline(
    dataset: DatasetName, data_root: Path | None, weights: Path | None, before: Callable[[], object] = lambda: None
) -> Path:
    """The baseline's file: ``weights`` if given, else the usual one, which is trained where it is missing.

    Args:
        dataset: its images.
        data_root: see `train_alexnet`.
        weights: a file that is there.
        before: called before a training, which takes minutes: it raises where what the network is for cannot be.

    Raises:
        ToolError: ``weights`` does not exist, or there are no images to train on.
    """
    path = stated_weights(dataset, data_root, weights)
    if not path.exists():
        before()
        plan = PLANS[dataset]
        say(f"There is no {path} yet: training it, {plan.epochs} epochs, {_duration(plan, usual_device())}.")
        train_alexnet(dataset, path, data_root=data_root)
    elif was_interrupted(path):
        images = f"--dataset {dataset}" if data_root is None else f"--data-root {data_root}"
        say(f"note: the training of {path} was interrupted; `train.py {images} --force` does all of it.")
    return path


def stated_weights(dataset: DatasetName, data_root: Path | None, weights: Path | None) -> Path:
    """The weights that are named, else the usual ones, which may be missing; raises `ToolError` if named ones are."""
    if weights is not None and not weights.exists():
        raise ToolError(f"The weights file {weights} does not exist.")
    return weights or baseline_weights(dataset, data_root)


def train_alexnet(
    dataset: DatasetName,
    output: Path,
    *,
    data_root: Path | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    preprocessing: Preprocessing = CIFAR,
) -> Baseline:
    """Train an AlexNet and save its weights, with a `Baseline` as JSON beside them.

    Both files are written while training goes on, whole each time. Ctrl-C saves the last finished epoch, and is
    raised again.

    Args:
        dataset: the images.
        output: the weights file; one that exists is replaced.
        data_root: a folder of images to use instead of the usual one.
        epochs: at least 1, instead of the plan's.
        seed: of everything random.
        device: where to train; by default CUDA where there is one.
        preprocessing: how pictures become inputs, which is written beside the weights unless it is the usual.

    Raises:
        ToolError: ``output`` cannot be written, another run writes it, or there are no images.
    """
    output = writable_output(output)
    plan = PLANS[dataset] if epochs is None else dataclasses.replace(PLANS[dataset], epochs=epochs)
    device = device or usual_device()
    with exclusive(output):
        train, test = (load_dataset(dataset, split, data_root, InputSpec(preprocessing)) for split in SPLITS)
        in_order = sorted(train.class_names) == [*train.class_names]
        spec = InputSpec(preprocessing, None if in_order else train.class_names)
        run = TrainingRun(
            dataset=train.name,
            dataset_hash=train.content_hash,
            seed=seed,
            device=str(device),
            planned_epochs=plan.epochs,
        )

        def save(epoch: Epoch) -> Baseline:
            return save_baseline(epoch, run, output, spec)

        return _save_latest(train_epochs(train, test, plan, seed, device), save)


def usual_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _save_latest(epochs: Iterator[Epoch], save: Callable[[Epoch], Baseline]) -> Baseline:
    """Save an epoch every `SAVE_EVERY` seconds and, however training ends, the last one."""
    latest: Epoch | None = None
    saved: Baseline | None = None
    saved_at = time.monotonic()
    try:
        for latest in epochs:
            if time.monotonic() - saved_at >= SAVE_EVERY:
                saved = save(latest)
                saved_at = time.monotonic()
    finally:
        if latest is None:
            say("Training ended before its first epoch did: nothing was saved.")
        elif saved is None or saved.epochs < latest.number:
            saved = save(latest)
    assert saved is not None  # a plan has at least one epoch
    return saved


def seconds_on(plan: TrainingPlan, device: torch.device) -> float:
    """How long a plan takes on two cores, of the usual images and inputs."""
    return float(plan.seconds if has_fast_bfloat16(device) else 2 * plan.seconds)


def _duration(plan: TrainingPlan, device: torch.device) -> str:
    """In words; the plan's time is that of two cores with bfloat16, which is about half of that without."""
    if device.type == "cuda":
        return "on the GPU"
    seconds = round(seconds_on(plan, device))
    amount = f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"
    return f"about {amount} on two CPU cores"
