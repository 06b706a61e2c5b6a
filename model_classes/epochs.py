"""The loop of training: from images to the weights after each epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from helpers import progress
from helpers.evaluation import evaluate_logits, predict_logits
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import Preprocessing
from helpers.progress import Steps
from model_classes.alexnet import AlexNet, map_side
from model_classes.augmentation import Augmentation, augmented_inputs
from model_classes.folding import folded_alexnet, fresh_alexnet, taken_down, unfold


@dataclass(frozen=True)
class TrainingPlan:
    """How to train on one dataset.

    Attributes:
        epochs: passes over the training images.
        seconds: how long all of it takes on two CPU cores, about.
        augmentation: the variants of the images that are shown.
        batch_size: images a step.
        learning_rate: AdamW's, at its highest.
        weight_decay: AdamW's (Loshchilov and Hutter, 2019).
    """

    epochs: int
    seconds: int
    augmentation: Augmentation
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05


@dataclass(frozen=True, eq=False)
class Epoch:
    """What is known after an epoch.

    Attributes:
        number: counted from 1.
        loss: mean cross-entropy of the epoch's variants of the training images, with dropout, in nats.
        train_accuracy: how many of those variants were classified right, 0 to 1.
        test_accuracies: how many of the test images are, after this epoch and each before it, 0 to 1.
        seconds: since training began.
        weights: an AlexNet's, float32 on the CPU; nothing changes them any more.
    """

    number: int
    loss: float
    train_accuracy: float
    test_accuracies: tuple[float, ...]
    seconds: float
    weights: dict[str, Tensor] = field(repr=False)


def train_epochs(
    train: ImageDataset, test: ImageDataset, plan: TrainingPlan, seed: int, device: torch.device
) -> Iterator[Epoch]:
    """Train an AlexNet from scratch, and yield it after every epoch; in the folded network where its map is one pixel.

    The learning rate rises and falls once over the whole plan (Smith and Topin, 2018). The same arguments give the
    same weights on one machine's CPU; torch's global generator is seeded.
    """
    torch.manual_seed(seed)
    began = time.monotonic()
    is_folded = map_side(train.preprocessing.input_size) == 1
    fresh, whole = (folded_alexnet, unfold) if is_folded else (fresh_alexnet, taken_down)
    model = fresh(len(train.class_names)).to(memory_format=torch.channels_last).to(device)
    images = torch.from_numpy(train.images.copy()).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(train.labels).to(device)
    steps = -(-len(labels) // plan.batch_size)
    descent = _Descent(model, plan, steps, train.preprocessing)
    tested: tuple[float, ...] = ()
    with progress.loop("training", plan.epochs * steps, "batch") as bar:
        for number in range(1, plan.epochs + 1):
            loss, accuracy = _run_epoch(descent, images, labels, bar)
            tested = (*tested, _accuracy(model, test))
            bar.detail = f"epoch {number}/{plan.epochs}, test accuracy {tested[-1]:.1%}"
            yield Epoch(number, loss, accuracy, tested, time.monotonic() - began, whole(model.state_dict()))


class _Descent:
    """A model with what moves it: one step takes a batch."""

    def __init__(self, model: AlexNet, plan: TrainingPlan, steps: int, preprocessing: Preprocessing) -> None:
        self.model, self.plan, self.preprocessing = model, plan, preprocessing
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            model.parameters(), plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            plan.learning_rate,
            total_steps=plan.epochs * steps,
            pct_start=0.2,
            div_factor=10,
            final_div_factor=100,
            cycle_momentum=False,
        )

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss summed over the batch, and how many of it were right; both before the step."""
        inputs = augmented_inputs(images, self.plan.augmentation, self.preprocessing)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device)):
            logits: Tensor = self.model(inputs)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return loss.detach() * len(labels), (logits.detach().argmax(dim=1) == labels).sum()


def _run_epoch(descent: _Descent, images: Tensor, labels: Tensor, bar: Steps) -> tuple[float, float]:
    """One pass in random order: the mean loss, and the fraction that was right."""
    descent.model.train()
    totals = torch.zeros(2, device=labels.device)
    order = torch.randperm(len(labels)).to(labels.device)
    for chosen in torch.split(order, descent.plan.batch_size):
        totals += torch.stack(descent.step(images[chosen], labels[chosen]))
        bar.update()
    loss, right = (totals / len(labels)).tolist()
    return loss, right


def _accuracy(model: AlexNet, test: ImageDataset) -> float:
    return evaluate_logits(predict_logits(model, test), test.labels, test.class_names).accuracy


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether half the bits are about twice as fast: emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
