"""The least that a phase of a repair has to compute and hold, by what its code multiplies, and the time for that.

Both hidden layers of the classifier are `WIDTH` wide; with the bias, a layer has `WIDTH` + 1 inputs. Only what grows
with the images or is as large as a layer is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scale.machine import Machine
from benchmarks.scale.run import Run
from edits.network.training_images import DOUBTFUL
from sytorch.numerics.ascent import POWER_ITERATIONS
from sytorch.solvers.counted import ASCENT

WIDTH = 4096
INPUTS = WIDTH + 1


@dataclass(frozen=True)
class Floor:
    """Operations in float32 and float64, bytes that are read again and again, and bytes that are held at once."""

    single: float = 0.0
    double: float = 0.0
    streamed: float = 0.0
    held: float = 0.0

    def seconds(self, machine: Machine) -> float:
        """One after the other, each at the machine's best rate."""
        return 1e-9 * (
            self.single / machine.gflops32 + self.double / machine.gflops64 + self.streamed / machine.gigabytes
        )


def floor_of(run: Run, phase: str) -> Floor | None:
    """The floor of a phase; None where none was derived."""
    derive = FLOORS.get(phase)
    return None if derive is None else derive(run)


def preparation(run: Run) -> Floor | None:
    """`prepare`: whitened inputs, then for each step the inputs' kernel and the gram matrix of the margins."""
    if not run.margins:
        return None
    images, doubtful = run.edit_images, min(DOUBTFUL, run.sample_images)
    margins, iterations = ([int(word) for word in text.split()] for text in (run.margins, run.iterations))
    layer = 2 * WIDTH * INPUTS
    each_step = 3 * images * layer  # outputs, the change (a solve and a product)
    each_step += doubtful * _moves_of_one(images) + 2 * images**2 * INPUTS
    return Floor(
        single=images * INPUTS**2 + sum(each_step + count * WIDTH**2 + 2 * count**2 * WIDTH for count in margins),
        double=images * layer,
        streamed=sum(4 * count**2 * (done + POWER_ITERATIONS) for count, done in zip(margins, iterations, strict=True)),
        held=8 * INPUTS**2
        + 4 * WIDTH**2
        + 3 * 4 * WIDTH * INPUTS
        + 4 * images**2
        + max(4 * count**2 + 2 * 4 * count * WIDTH for count in margins),
    )


def last_layers_metric(run: Run) -> Floor | None:
    """The metric of the last layer after a preparation: how the sample's outputs move, their moment, its factor.

    Without it the factor comes from the cache.
    """
    if not run.margins:
        return None
    return Floor(
        single=run.sample_images * (_moves_of_one(run.edit_images) + INPUTS**2),  # the moment is symmetric
        double=INPUTS**3 / 3,
        held=(4 + 8) * INPUTS**2 + 4 * run.sample_images * WIDTH,
    )


def _moves_of_one(images: int) -> int:
    """Operations for how an image's outputs move: by the change of the layer, or by its factors where they are thin."""
    return 2 * min(WIDTH * INPUTS, images * (WIDTH + INPUTS))


def last_layers_program(run: Run) -> Floor:
    """The program at the last layer: the kernel of the images in the inverse metric; for `l2` also its dual.

    `sytorch.last_layer.quadratic`: the gram matrix of the rows, the dual's iterations where they are of its ascent,
    and one factorisation in which each image has one active row. Other norms' solvers have iterations of a cost
    not known here.
    """
    images, rows = run.edit_images, run.rows or 0
    kernel = 2 * INPUTS**2 * images + 2 * images**2 * INPUTS
    if run.norm != "l2":
        return Floor(double=kernel, held=8 * images**2 + 2 * 8 * images * INPUTS)
    iterations = (run.solver_iterations or 0) if ASCENT in (run.solver or "") else 0
    return Floor(
        double=kernel + min(images, rows) ** 3 / 3,
        streamed=2 * 8 * rows**2 + 4 * rows**2 * iterations,
        held=8 * images**2 + 2 * 8 * images * INPUTS + 8 * rows**2 + (4 * rows**2 if iterations else 0),
    )


def moved_activations(run: Run) -> Floor | None:
    """The test images through the layer that was prepared; without it they come from the cache."""
    return (
        Floor(single=2 * run.test_images * WIDTH * INPUTS, held=2 * 4 * run.test_images * WIDTH)
        if run.margins
        else None
    )


FLOORS: dict[str, Callable[[Run], Floor | None]] = {
    "prepare": preparation,
    "metric": last_layers_metric,
    "solve": last_layers_program,
    "activations": moved_activations,
}
