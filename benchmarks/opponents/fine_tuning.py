"""Fine-tuning until every edit image is right by the margin: the opponent that most people would use.

Edit images are mixed with training images, the loss is cross-entropy on both and the hinge of what the edit images'
margins lack, the optimiser is Adam (Kingma and Ba 2015). Several settings are tried; of those that reach every margin
the one is taken that leaves most of the training images right that were kept aside. Test images play no part.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.opponents.case import Attempt, Case, Run, Timer
from benchmarks.opponents.trainable import Part, Pool, Trainable, trainable
from helpers.evaluation import margins

BATCH = 256
CHECK_EVERY = 10
KEPT_ASIDE = 2000
ROUNDING = 1e-3  # the folded network that is trained differs from the whole one by rounding
OVERSHOOT = 0.2  # of the hinge, so that margins arrive


@dataclass(frozen=True)
class Setting:
    """A learning rate, and the weight of the edit images' loss where the training images' has 1."""

    rate: float
    weight: float

    def __str__(self) -> str:
        return f"learning rate {self.rate:g}, weight {self.weight:g}"


@dataclass(frozen=True, eq=False)
class Tuned:
    """Where one setting led.

    Attributes:
        setting: the learning rate and the weight.
        state: the network's weights.
        seconds: until it stopped.
        missing: how many edit images lack the margin.
        kept: the share of the training images kept aside that are right.
    """

    setting: Setting
    state: dict[str, torch.Tensor]
    seconds: float
    missing: int
    kept: float


def fine_tuning(part: Part, *settings: Setting) -> Run:
    """The method that trains a part of the network in one of these settings."""
    return functools.partial(_run, part, settings)


def _run(part: Part, settings: tuple[Setting, ...], case: Case) -> Attempt:
    tried = [fine_tune(case, part, setting) for setting in settings]
    best = min(tried, key=lambda tuned: (tuned.missing, -tuned.kept))
    total = sum(tuned.seconds for tuned in tried)
    message = f"Adam, {best.setting}; {len(settings)} settings were tried, in {total:.0f} s"
    if best.missing:
        message = f"stopped: time limit reached, {best.missing} images lack the margin; {message}"
    return Attempt(best.state, best.seconds, message=message)


def fine_tune(case: Case, part: Part, setting: Setting) -> Tuned:
    """Train until every edit image has the margin, or the time is up."""
    lesson = _lesson(case, part)
    order = torch.randperm(len(lesson.setup.pool), generator=lesson.generator)
    aside = min(KEPT_ASIDE, len(order) // 5)
    timer = Timer()
    missing = _train(lesson, order[aside:], setting, case.time_limit)
    seconds, network = timer.seconds, lesson.setup.network
    kept = _accuracy(network, lesson.setup.pool, order[:aside])
    return Tuned(setting, lesson.setup.whole_state(), seconds, missing, kept)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is to be learned: edit images as the trained part sees them, (N, ...), their labels, and the margin."""

    setup: Trainable
    edits: torch.Tensor
    labels: torch.Tensor
    goal: float
    generator: torch.Generator

    def loss(self, chosen: torch.Tensor, replayed: torch.Tensor, weight: float) -> torch.Tensor:
        """Of edit images, which have a weight, and training images at these positions."""
        pool, labels = self.setup.pool, self.labels[chosen]
        logits = self.setup.network(torch.cat([self.edits[chosen], pool.inputs(replayed)]))
        edited, others = logits[: len(labels)], logits[len(labels) :]
        hinge = (self.goal + OVERSHOOT - margins(edited, labels)).clamp(min=0).mean()
        cross_entropy = nn.functional.cross_entropy
        return weight * (hinge + cross_entropy(edited, labels)) + cross_entropy(others, pool.labels[replayed])

    def lacking(self) -> torch.Tensor:
        """The positions of the edit images that lack the margin."""
        return torch.nonzero(margins(_logits(self.setup.network, self.edits), self.labels) < self.goal)[:, 0]

    def edit_batch(self, lacking: torch.Tensor) -> torch.Tensor:
        """All edit images where they are few; else half of those that lacked the margin at last, half of any."""
        count, half = len(self.labels), (BATCH // 2,)
        if count <= BATCH:
            return torch.arange(count)
        hard = lacking[torch.randint(len(lacking), half, generator=self.generator)]
        return torch.cat([hard, torch.randint(count, half, generator=self.generator)])


def _lesson(case: Case, part: Part) -> Lesson:
    setup = trainable(case.bench, part)
    generator = torch.Generator().manual_seed(case.seed)
    edits = setup.inputs_of(case.edit_set.images)
    return Lesson(setup, edits, case.edit_set.labels, case.margin + ROUNDING, generator)


def _train(lesson: Lesson, usable: torch.Tensor, setting: Setting, time_limit: float) -> int:
    """Returns how many edit images lack the margin in the end."""
    timer, optimiser = Timer(), torch.optim.Adam(lesson.setup.network.parameters(), lr=setting.rate)
    lacking = lesson.lacking()
    while len(lacking) and timer.seconds < time_limit:
        for _ in range(CHECK_EVERY):
            replayed = usable[torch.randint(len(usable), (BATCH,), generator=lesson.generator)]
            loss = lesson.loss(lesson.edit_batch(lacking), replayed, setting.weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        lacking = lesson.lacking()
    return len(lacking)


def _accuracy(network: nn.Module, pool: Pool, positions: torch.Tensor) -> float:
    right = _logits(network, pool.inputs(positions)).argmax(dim=1) == pool.labels[positions]
    return float(right.float().mean())


def _logits(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        parts = [network(part) for part in torch.split(inputs, 2 * BATCH)]
    return torch.cat(parts).clone()
