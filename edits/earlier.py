"""Repairs upon repairs: what a network was repaired of before, which the next repair keeps.

The next repair is the smallest change of the network before all of them that puts every image right, earlier and new
ones. So bounds, drawdown and proof count from that network, and nothing adds up. Earlier detectors stay.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edits.network.applying import is_same
from edits.network.prepared import Network
from edits.network.workbench import Workbench
from edits.options import LAST_LAYER, PLANTED_LAYER, RepairOptions
from edits.record.finished import check_same, repaired_images, stated_weights
from edits.record.history import History, told_of
from edits.record.report import RepairReport
from editset_helpers.joining import Member
from editset_helpers.location import locate
from helpers.cli import say
from helpers.errors import UsageError
from helpers.files.outputs import report_path
from model_classes.alexnet import load_alexnet
from model_classes.weights import weights_hash
from sytorch.problem.arrays import Indices
from sytorch.spare_units.preparation import rows_of


@dataclass(frozen=True, eq=False)
class Earlier:
    """A repaired network, and what is to stay of it.

    Attributes:
        now: its workbench.
        base: that of the network before all repairs.
        report: of the last repair, whose edit set holds the images of all.
        member: that edit set.
        history: what the network's file is to say of all of them.
    """

    now: Workbench
    base: Workbench
    report: RepairReport
    member: Member
    history: History

    @functools.cached_property
    def units(self) -> Indices | None:
        """Which units of `PLANTED_LAYER` are detectors, (U,); None where other layers, or its other units, changed."""
        before, after = self.base.model.state_dict(), self.now.model.state_dict()
        changed = {name for name in before if not is_same(before[name], after[name])}
        planted = [f"{PLANTED_LAYER}.{name}" for name in ("weight", "bias")]
        if changed - {*planted, *(f"{LAST_LAYER}.{name}" for name in ("weight", "bias"))}:
            return None
        if any(step["layer"].startswith(PLANTED_LAYER) for step in self.steps if step["layer"]):
            return None
        weight, bias = (before[name] != after[name] for name in planted)
        return np.flatnonzero((weight.any(dim=1) | bias).numpy())

    def counts_from_base(self, options: RepairOptions) -> bool:
        """Whether the next repair can start from the network before all repairs, the earlier detectors in it."""
        return options.plants and self.units is not None

    def serves(self, options: RepairOptions) -> bool:
        """Whether the detectors were made for as large a margin, and for as many copies, as the next repair asks."""
        told, region = self.report, options.region
        if self._planting is None:
            return True
        enough = self._planting["margin"] >= options.margin
        return enough and told.shifts >= region.shifts and (told.flip or not region.flip)

    @property
    def detected(self) -> int:
        """How many of its images, the first ones, have detectors: all that the last repair had which planted any."""
        return 0 if self._planting is None else int(self._planting["edit_set_size"])

    @property
    def _planting(self) -> dict[str, Any] | None:
        return next((step for step in reversed(self.steps) if step["prepare"] == "spare-units"), None)

    @functools.cached_property
    def network(self) -> Network:
        """The repaired network as its last layer sees it."""
        if self.units is None:
            return self.now.network
        return self.base.with_units(self.now.model.state_dict(), PLANTED_LAYER, self.units)

    @functools.cached_property
    def test_positions(self) -> Indices:
        """The test images that were repaired before, by their pixels."""
        found = locate(self.member.edit_set, self.base.test)
        return found.indices[found.indices >= 0] if found.outside is None else np.flatnonzero(~found.outside)

    def without_repaired(self, member: Member) -> Member:
        """A set that was chosen by what the network gets wrong, without pictures that were repaired to other labels.

        Raises:
            UsageError: no other is left.
        """
        pictures = {image.numpy().tobytes() for image in self.member.edit_set.images}
        is_new = np.array([image.numpy().tobytes() not in pictures for image in member.edit_set.images])
        if is_new.all():
            return member
        if not is_new.any():
            raise UsageError(f"There is nothing to repair: {self.now.weights_path} was repaired of all these images.")
        say(
            f"note: {int((~is_new).sum())} of the images of {member.path} are left out, for {self.now.weights_path} "
            "was repaired of these pictures already, with labels that were given."
        )
        return Member(member.path, member.edit_set.at(np.flatnonzero(is_new)))

    def check(self, options: RepairOptions) -> None:
        """Raise `UsageError` where the next repair would keep less than was promised."""
        told, region = self.report, options.region
        lacking = [f"--margin {told.margin:g} or more"] * (options.margin < told.margin)
        lacking += [f"--shifts {told.shifts} or more"] * (region.shifts < told.shifts)
        lacking += ["--flip"] * (told.flip and not region.flip)
        if self.counts_from_base(options) and options.param_bound < told.param_bound:
            lacking.append(f"--param-bound {told.param_bound:g} or more")
        elif self.counts_from_base(options) and self.serves(options) and options.param_bound < self._moved:
            lacking.append(f"--param-bound {math.ceil(1000 * self._moved) / 1000:g} or more")
        if lacking:
            raise UsageError(
                f"{self.now.weights_path} was repaired with more than is asked now; give {' and '.join(lacking)}, so "
                f"that its {told.edit_set_size} images keep what they have."
            )

    @functools.cached_property
    def _moved(self) -> float:
        """The largest change of an entry of its detectors, which stay."""
        layers = (bench.linear(PLANTED_LAYER) for bench in (self.base, self.now))
        before, after = (rows_of(layer, self.units) for layer in layers)
        return float(np.abs(after.astype(np.float64) - before).max(initial=0.0))

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What each repair was, the first one first."""
        return [*self.report.earlier, self.report.step]


def find_earlier(now: Workbench, base: Workbench | None = None) -> Earlier | None:
    """What a network was repaired of, by the report beside its weights or by their file; None where it never was.

    Args:
        now: the network.
        base: the one before all repairs, if it is known already.

    Raises:
        ToolError: the network before, or the edit set, is missing, damaged, or another one than then.
    """
    found, path = told_of(now.weights_path), report_path(now.weights_path)
    if found is None:
        return None
    told, history = found
    if told.weights_hash_after != now.weights_hash:
        say(f"note: what is told of {now.weights_path} is of other weights; it counts as never repaired.")
        return None
    stated, digest = told.first_weights or (told.weights_path, told.weights_hash_before)
    if base is None or base.weights_hash != digest:
        file = stated_weights(stated, digest, path)
        model = load_alexnet(file, len(now.test.class_names))
        base = replace(now, weights_path=file, model=model, weights_hash=weights_hash(model))
        check_same("weights", stated, digest, base.weights_hash)
    return Earlier(now, base, told, repaired_images(told, path, now.test), history)


def repaired(base: Workbench, weights: Path) -> Earlier | None:
    """`find_earlier` for weights that were made from a network that is loaded already."""
    known = (base.model.state_dict(), base.weights_hash)
    model = load_alexnet(weights, len(base.test.class_names), base=known)
    return find_earlier(replace(base, weights_path=weights, model=model, weights_hash=weights_hash(model)), base)
