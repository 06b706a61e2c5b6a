"""About how long the phases of a repair take, from its sizes: what is told before they begin."""

from __future__ import annotations

from edits.options import RepairOptions
from edits.task import Task
from sytorch.last_layer.by_class import MANY_POINTS

FEW_CLASSES = 50  # with more, how many margins bind decides, which nobody knows before

# Seconds on two cores: in any case, and for each image or copy that is constrained; measured on CIFAR-10 with up to
# 1,000 images of 64 x 64. Of a hidden layer's certificate nothing was measured.
PLANTED = {
    "program": (0.0, 1e-3),
    "prepare": (1.5, 2e-3),
    "solve": (0.1, 1.5e-3),
    "write and verify": (1.0, 1e-3),
    "generalization": (0.3, 7e-3),
    "certify": (1.5, 2.5e-3),
}
ALONE = {name: times for name, times in PLANTED.items() if name != "prepare"} | {"solve": (0.0, 7e-3)}
ALONE_L1 = ALONE | {"solve": (0.0, 1.4e-2)}
HIDDEN = {"solve": (10.0, 1.0)}
STARTED = 4.5  # of a command besides: imports, images, weights, what is looked up
CUBED = 2.5e-10  # of l2 class by class: 5,000 images took 40 seconds and 10,224 took 380 on slow cores


def expected(phase: str, task: Task) -> float | None:
    """Seconds that a phase of a repair takes, None where nobody knows."""
    options, classes = task.options, len(task.bench.test.class_names)
    if phase == "solve" and (classes >= FEW_CLASSES or options.whole_program or options.norm.startswith("linf")):
        return None
    start, each = _phases(options).get(phase, (None, 0.0))
    if start is None:
        return None
    larger = 1.0 if phase == "solve" else task.bench.test.preprocessing.times_larger
    seconds = start + each * larger * len(task.constrained)
    seconds += _of_many(options, len(task.constrained)) if phase == "solve" else 0.0
    return seconds if phase != "solve" or options.time_limit is None else min(seconds, options.time_limit)


def seconds_of(options: RepairOptions, images: int) -> float:
    """Seconds that a whole command takes, where what depends on the network alone is there."""
    return STARTED + sum(start + each * images for start, each in _phases(options).values()) + _of_many(options, images)


def _phases(options: RepairOptions) -> dict[str, tuple[float, float]]:
    alone = ALONE_L1 if options.norm == "l1" else ALONE
    return HIDDEN if options.is_hidden else PLANTED if options.plants else alone


def _of_many(options: RepairOptions, images: int) -> float:
    """Seconds that solving takes besides, where thousands of images or copies are constrained."""
    return CUBED * images**3 if images > MANY_POINTS and options.norm == "l2" and not options.is_hidden else 0.0
