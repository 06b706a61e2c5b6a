"""What a repair is asked to do."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edits.earlier import Earlier
from edits.network.workbench import Workbench
from edits.options import PLANTED_LAYER, KeepWeights, RepairOptions
from editset_helpers.copies import with_copies
from editset_helpers.edit_set import EditSet
from editset_helpers.joining import Member, join, keep_joined
from editset_helpers.location import Location, locate, numbered, own_training_images
from helpers.cli import command_line
from helpers.errors import UsageError
from helpers.files.paths import edit_sets
from sytorch import Deadline


@dataclass(frozen=True, eq=False)
class Task:
    """What to repair, how, and where the result goes.

    Attributes:
        bench: the network and its images.
        edit_set: the images to put right.
        edit_set_path: their file.
        options: the program.
        output: the weights; report, outcomes and certificate lie beside them.
        command: what was typed, for the report.
        kept_weights: the whole network, only what changed, or nothing once it is verified.
        earlier: the repairs that this one is made upon, whose images come first in the edit set; None where there are
            none. ``bench`` is the network before all of them, or the repaired one where that cannot be.
        folder: where files are written before they are published; None where nothing is written yet.
        deadline: for everything from here on.
        disputed: test images, by number, without which drawdown is told once more.
        began: when, UTC.
    """

    bench: Workbench
    edit_set: EditSet
    edit_set_path: Path
    options: RepairOptions
    output: Path
    command: str
    kept_weights: KeepWeights = "full"
    earlier: Earlier | None = None
    folder: Path | None = None
    deadline: Deadline = field(default_factory=Deadline)
    disputed: tuple[int, ...] = ()
    began: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    @property
    def first(self) -> Workbench:
        """The network before all repairs, which every figure is compared with."""
        return self.bench if self.earlier is None else self.earlier.base

    @property
    def kept(self) -> Earlier | None:
        """The earlier repairs whose detectors stay, which those of new images come beside.

        None where they were made for less than is asked now: then all images get new ones.
        """
        earlier = self.earlier
        return earlier if earlier and self.bench is earlier.base and earlier.serves(self.options) else None

    @property
    def known(self) -> int:
        """How many of the first edit images need no detector, for they have one of an earlier repair."""
        return 0 if self.kept is None else self.kept.detected

    @property
    def written(self) -> Path:
        """Where the weights are written before they are published."""
        assert self.folder is not None
        return self.folder / self.output.name

    @functools.cached_property
    def location(self) -> Location:
        """Which test images the edit images are; see `locate`."""
        with self.bench.clock.phase("edit set"):
            return locate(self.edit_set, self.bench.test)

    @functools.cached_property
    def channels(self) -> torch.Tensor:
        """What the convolutions make of what is constrained, (N, k)."""
        return self.bench.training_images.channels.of_inputs(self.constrained.images)

    @functools.cached_property
    def training_positions(self) -> NDArray[np.int64]:
        """Which training images are edit images, ascending; they are not ordinary ones then."""
        alike = self.bench.training_images.alike(self.channels[: len(self.edit_set)])
        return own_training_images(self.edit_set, self.bench.training, alike)

    @functools.cached_property
    def numbered(self) -> EditSet:
        """The edit set with the images' true numbers in its metadata."""
        return numbered(self.edit_set, self.location)

    @functools.cached_property
    def constrained(self) -> EditSet:
        """The edit images and then their copies in the region; see `with_copies`, also for what it raises."""
        with self.bench.clock.phase("edit set"):
            return with_copies(self.edit_set, self.options.region, self.bench.test)

    @property
    def metric_recipe(self) -> str:
        """How the factor of the metric is made, for those who want to make it again."""
        options, bench = self.options, self.bench
        if options.metric == "identity":
            return "the identity"
        if options.plants:
            return (
                f"second moment of the inputs of {options.layer} after spare units of {PLANTED_LAYER} were planted, "
                f"over a sample of right training images of {bench.test.name}, weighted by the softmax's curvature "
                f"before, ridge {options.ridge!r} (a thousandth of it for planted units): {self.command}"
            )
        images = "all" if options.metric_images is None else f"{options.metric_images}"
        return (
            f"second moment of the inputs of {options.layer}, over {images} right training images of "
            f"{bench.test.name}, weighted by the softmax's curvature, ridge {options.ridge!r}: {self.command}"
        )


def task_of(
    bench: Workbench, members: list[Member], options: RepairOptions, output: Path, earlier: Earlier | None = None
) -> Task:
    """The task of repairing a network on edit sets, and on what it was repaired of before.

    Args:
        bench: the network.
        members: the edit sets.
        options: the program.
        output: where the weights go.
        earlier: the repairs that the network has been through.

    Raises:
        UsageError: less is asked than earlier images have, or a picture has two labels.
        ToolError: the sets' common file cannot be written.
    """
    if earlier is not None:
        earlier.check(options)
        bench, members = earlier.base if earlier.counts_from_base(options) else bench, [earlier.member, *members]
    whole = members[0]
    if len(members) > 1:
        edit_set = join(members, bench.test)
        if earlier is not None and len(edit_set) == len(earlier.member.edit_set):
            raise UsageError(
                f"There is nothing to repair: {earlier.now.weights_path} was repaired of all these images already."
            )
        whole = Member(keep_joined(edit_set, edit_sets(bench.dataset, bench.data_root)), edit_set)
    return Task(bench, whole.edit_set, whole.path, options, output, command_line(), earlier=earlier)
