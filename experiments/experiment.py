"""One experiment: what it asks for, and the context that all experiments of a sweep share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edits.options import KeepWeights, RepairOptions
from editset_helpers.selection import Correctness, Kind, Selection
from helpers.cli import DatasetName
from helpers.images.source import Split


class SetType(StrEnum):
    """Which images an experiment repairs."""

    MISCLASSIFIED = "misclassified"
    CLASS_CORRECT = "class_homogeneous_correct"
    CLASS_INCORRECT = "class_homogeneous_incorrect"

    @property
    def focus(self) -> Correctness:
        """Whether the network was right about the images."""
        return "correct" if self is SetType.CLASS_CORRECT else "incorrect"


class Sizing(StrEnum):
    """What happens where fewer images qualify than were asked for."""

    FLEXIBLE = "flexible"
    STRICT = "strict"


@dataclass(frozen=True)
class Context:
    """What all experiments of a sweep share: the network, its images, and where files go. It is sent to workers.

    Attributes:
        dataset, data_root, weights: the network and its images.
        weights_hash, images_hash, training_hash: of their contents, so that a name means one thing for ever; the
            training images' is None where they decide nothing.
        folder: for weights and reports of this table alone.
        edit_sets: for edit sets, which tables share.
        command: what was typed.
        disputed: test images, by number, without which drawdown is told once more.
        also: edit sets that every experiment repairs, too, and the hashes of their contents.
    """

    dataset: DatasetName
    data_root: Path | None
    weights: Path
    weights_hash: str
    images_hash: str
    training_hash: str | None
    folder: Path
    edit_sets: Path
    command: str
    disputed: tuple[int, ...] = ()
    also: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One combination.

    Attributes:
        id: its name, which says everything that decides the result.
        former_id: the name that tables of format 1 have for it; None where that might mean another experiment.
        iteration: which step of a sequence of repairs it is, from 1 on; 0 of one that stands alone.
        upon: the experiment that is the step before; None for the first.
        predicted_class: only images that the network takes for this class; None for any.
        split: the images are of this split.
    """

    id: str
    former_id: str | None
    set_type: SetType
    target_class: int | None
    size: int
    seed: int
    sizing: Sizing
    kept_weights: KeepWeights
    options: RepairOptions
    iteration: int = 0
    upon: str | None = None
    predicted_class: int | None = None
    split: Split = "test"

    @property
    def names(self) -> list[str]:
        """All that a table may call it."""
        return [name for name in (self.id, self.former_id) if name is not None]

    @property
    def selection(self) -> Selection:
        """Which images."""
        predicted = None if self.predicted_class is None else str(self.predicted_class)
        target = None if self.target_class is None else str(self.target_class)
        kind: Kind = "misclassified" if target is None else "by-class"
        return Selection(kind, target, self.set_type.focus, self.size, self.seed, predicted, self.split)

    @property
    def set_name(self) -> str:
        """``misclassified_n100_s0``, ``class3_incorrect_n25_s1``: the images, whatever is done with them."""
        kind = "misclassified" if self.target_class is None else f"class{self.target_class}_{self.set_type.focus}"
        kind += "" if self.predicted_class is None else f"_taken_for_{self.predicted_class}"
        kind += "" if self.split == "test" else f"_{self.split}"
        step = f"_step{self.iteration}" if self.iteration else ""
        return f"{kind}_n{self.size}_s{self.seed}{step}"
