"""Which test images go into an edit set, and what the set is then called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import UsageError

if TYPE_CHECKING:  # scripts read their options from here
    from helpers.images.datasets import ImageDataset

SUFFIX = "_edit_dataset.pt"
Kind = Literal["misclassified", "by-class"]
Correctness = Literal["incorrect", "correct", "any"]


@dataclass(frozen=True)
class Selection:
    """Which images go into an edit set.

    Attributes:
        kind: every class's misclassified images, or one class's.
        target_class: the class, for ``by-class``: its number or its name.
        correctness: which of the class's images, by whether the network is right.
        max_samples: at most so many images; None for all.
        seed: which of them, when fewer than all.
    """

    kind: Kind
    target_class: str | None = None
    correctness: Correctness = "incorrect"
    max_samples: int | None = None
    seed: int = 0

    def facts(self, class_names: tuple[str, ...]) -> dict[str, Any]:
        """What an edit set's provenance says of it; raises `UsageError` for no such class."""
        choice = {"kind": self.kind, "max_samples": self.max_samples, "seed": self.seed}
        if self.kind == "misclassified":
            return choice
        target = class_names[resolve_class(self.target_class, class_names)]
        return {**choice, "target_class": target, "correctness": self.correctness}


def resolve_class(target: str | None, class_names: tuple[str, ...]) -> int:
    """The position of a class given by name, by number, or by name in another case.

    Raises:
        UsageError: there is no such class; the message lists those there are.
    """
    if target in class_names:
        return class_names.index(target)
    if target is not None and re.fullmatch(r"[0-9]{1,6}", target) and int(target) < len(class_names):
        return int(target)
    lower = [name.lower() for name in class_names]
    if target is not None and lower.count(target.lower()) == 1:
        return lower.index(target.lower())
    known = ", ".join(f"{number} {name}" for number, name in enumerate(class_names))
    raise UsageError(f"There is no class {target!r}; the classes are {known}.")


def default_name(selection: Selection, class_names: tuple[str, ...]) -> str:
    """The name of a selection, as files have it: ``misclassified``, ``class_3_cat_correct_100_seed1``."""
    few = "" if selection.max_samples is None else f"_{selection.max_samples}_seed{selection.seed}"
    if selection.kind == "misclassified":
        return f"misclassified{few}"
    target = resolve_class(selection.target_class, class_names)
    readable = re.sub(r"[^\w-]+", "_", class_names[target])
    suffix = "" if selection.correctness == "incorrect" else f"_{selection.correctness}"
    return f"class_{target}_{readable[:80]}{suffix}{few}"


def description(selection: Selection, dataset: ImageDataset) -> str:
    """Why a selection is empty, for people."""
    if selection.kind == "misclassified":
        return f"the network classifies every {dataset.split} image right"
    name = dataset.class_names[resolve_class(selection.target_class, dataset.class_names)]
    answers = {"incorrect": "every", "correct": "no", "any": "no"}[selection.correctness]
    return f"the network classifies {answers} {dataset.split} image of class {name} right"
