"""Writing repaired weights: only what passed the forward pass is written; the checker loads the file again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

import sytorch
from edits.network.applying import changes_of, first_changed
from edits.network.channels import run_modules
from edits.pace import expected
from edits.record.history import of_report, way_back
from edits.record.status import asked
from edits.task import Task
from helpers.errors import NotVerifiedError
from helpers.evaluation import checked, margins, predict_logits
from helpers.stopwatch import give_memory_back
from model_classes.alexnet import AlexNet, alexnet_of, load_alexnet
from model_classes.changes import apply_to, changes_content
from model_classes.weight_files import save_weights
from model_classes.weights import base_file, weights_hash
from sytorch import chain_of

if TYPE_CHECKING:
    from edits.methods.hidden_layer import HiddenLayer

ATTEMPTS = 3
NEARLY = 1e-5  # of the logits; a tenth of what is usually allowed for rounding


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repair that was written and verified.

    Attributes:
        solution: the change, with its proof.
        state: the weights after, by name.
        logits: float32 (N, C), of the images and copies that were constrained, by the file.
        digest: the `weights_hash` of the state.
        allowance: by how much more than the margin the program asked for.
        metric: of the last layer; None for another.
        problem: of a layer other than the last; None for that.
    """

    solution: sytorch.Solution
    state: dict[str, torch.Tensor]
    logits: torch.Tensor
    digest: str
    allowance: float
    metric: sytorch.Metric | None = None
    problem: HiddenLayer | None = None


class RefutedError(Exception):
    """No change gives the margin that was asked.

    Attributes:
        contradiction: the proof.
        problem: of a layer other than the last; None for that.
    """

    def __init__(self, contradiction: sytorch.Contradiction, problem: HiddenLayer | None = None):
        super().__init__("the constraints contradict each other")
        self.contradiction, self.problem = contradiction, problem


def with_allowances(allowance: float, attempt: Callable[[float], Repaired]) -> Repaired:
    """What an attempt gives; where rounding took a margin, the next one asks for ten times the allowance."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt(allowance)
        except NotVerifiedError:
            allowance *= 10
    return attempt(allowance)


def write_verified(
    task: Task, state: dict[str, torch.Tensor], check: Callable[[AlexNet], None] = lambda _: None
) -> tuple[torch.Tensor, str]:
    """See that every image has its margin in float32, and write the weights, or what changed.

    The file is not read here: the checker does, which compares what it holds with the hash, and runs it (`certify`).

    Args:
        task: what is asked.
        state: the weights after.
        check: may look at the network too, and raise `NotVerifiedError`.

    Returns:
        The logits of what was constrained, float32 (N, C), and the weights' hash.

    Raises:
        NotVerifiedError: an image misses its margin.
        ToolError: the file cannot be written.
    """
    bench, content, asked = task.bench, dict[str, Any](state), task.options.margin
    with bench.clock.phase("write and verify", expected("write and verify", task)):
        give_memory_back()
        model = alexnet_of(state)
        check(model)
        logits = _logits(task, model)
        smallest = float(margins(logits, task.constrained.labels).min())
        if smallest < asked + NEARLY * float(logits.abs().max()):  # the checker runs all of the network
            logits = predict_logits(model, task.constrained.images)
            smallest = float(margins(logits, task.constrained.labels).min())
        if smallest < asked:
            raise NotVerifiedError(
                f"With the repaired weights an image or a copy misses the margin {asked:g} by {asked - smallest:.2g}."
            )
        if task.kept_weights != "full":
            content = _changes(task, state)
        digest = weights_hash(state)
        save_weights(content, task.written, _history(task, state, digest))
    return logits, digest


def _changes(task: Task, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What changed since the last file of whole weights; the state itself where that would not give back every bit."""
    bench = task.bench
    path = base_file(bench.weights_path)
    if path is None:
        return changes_content(changes_of(bench.model, state), bench.weights_path, bench.weights_hash, task.output)
    model = load_alexnet(path, len(bench.test.class_names))
    base, digest = model.state_dict(), weights_hash(model)
    content = changes_content(changes_of(model, state), path, digest, task.output)
    return content if weights_hash(apply_to(base, content, task.output)) == weights_hash(state) else state


def _logits(task: Task, model: AlexNet) -> torch.Tensor:
    """The network's, (N, C); it runs from the first layer on that is not as it was before."""
    first = first_changed(task.bench.model, model.state_dict())
    if not task.bench.training_images.is_linear(first):
        return predict_logits(model, task.constrained.images)
    _, layer, tail = chain_of(model).split(first)
    inputs = task.bench.training_images.channels.behind(first, task.channels)
    return checked(run_modules([layer, *tail.layers], inputs))


def _history(task: Task, state: dict[str, torch.Tensor], digest: str) -> str:
    """What the file says of itself: the repairs before, and this one as far as it is known now."""
    report, earlier = asked(task), task.earlier
    report.output_path, report.weights_hash_after = str(task.output), digest
    if earlier is None:
        return of_report(report).text
    before, base = earlier.now.model.state_dict(), task.bench.model.state_dict()
    return earlier.history.then(report, way_back(state, before, base)).text
