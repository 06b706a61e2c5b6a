"""``l1`` in the weights themselves with images that are right already as constraints: PRDNN's choice.

Sotoudeh and Thakur, "Provable Repair of Deep Neural Networks", PLDI 2021, minimise a norm of one layer's change and
propose to keep drawdown low by adding points that the network gets right to the specification. For the last layer their
decoupled network is the network itself.
"""

from __future__ import annotations

import numpy as np
import torch

import sytorch
from benchmarks.opponents.case import Attempt, Case, Timer, last_layer_state
from benchmarks.opponents.trainable import sampled
from edits.options import LAST_LAYER
from helpers.evaluation import is_right
from sytorch.problem.arrays import Indices


def l1_with_right_images(case: Case) -> Attempt:
    """As many right training images as edit images are constrained to stay right."""
    right = _outputs(case, len(case.edit_set))
    timer = Timer()
    labels = np.concatenate([case.edit_set.labels.numpy(), right[1]])
    margins = _margins(case, right[0], labels)
    message = f"{len(right[1]):,} right training images are constraints, too"
    try:
        program = sytorch.minimise("l1", sytorch.IdentityMetric()).subject_to(margins, case.bound)
        solution = program.solve("auto", case.time_limit)
    except sytorch.SolverTimeLimitError:
        return Attempt(None, timer.seconds, "time limit", message)
    except sytorch.ContradictionError:
        return Attempt(None, timer.seconds, "infeasible", message)
    state = last_layer_state(case, torch.from_numpy(solution.change))
    return Attempt(state, timer.seconds, message=f"{message}; {solution.effort.solver}, gap {solution.gap:.0e}")


def _outputs(case: Case, count: int) -> tuple[sytorch.AffineOutputs, Indices]:
    """Affine outputs and labels of the first ``count`` images of the sample that the network gets right."""
    seen, labels, sample = case.bench.training_images, case.bench.training.labels, sampled(case.bench)
    chosen = sample[is_right(seen.logits[sample], labels[sample])][:count]
    inputs = sytorch.append_one(seen.seen_at(LAST_LAYER, chosen).astype(np.float64))
    return sytorch.AffineOutputs(seen.logits[chosen].double().numpy(), inputs), labels[chosen]


def _margins(case: Case, right: sytorch.AffineOutputs, labels: Indices) -> sytorch.Margins:
    """The edit images' margin, and none for the others, which only have to stay ahead by what rounding takes."""
    edits = len(case.edit_set)
    parts = [
        sytorch.margin(case.outputs, labels[:edits], case.safe_margin),
        sytorch.margin(right, labels[edits:], case.safe_margin - case.margin),
    ]
    both = sytorch.AffineOutputs(
        np.concatenate([part.outputs.logits for part in parts]), np.concatenate([part.outputs.inputs for part in parts])
    )
    return sytorch.Margins(both, np.concatenate([part.required for part in parts]), labels)
