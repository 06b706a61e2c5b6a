"""Which images of a split go into an edit set, and what the set is then called."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import UsageError
from helpers.images.source import Split

if TYPE_CHECKING:  # scripts read their options from here
    from helpers.images.datasets import ImageDataset

SUFFIX = "_edit_dataset.pt"
MOST_NAMED = 8
Kind = Literal["misclassified", "by-class", "indices"]
Correctness = Literal["incorrect", "correct", "any"]


@dataclass(frozen=True)
class Selection:
    """Which images go into an edit set.

    Attributes:
        kind: every class's misclassified images, or one class's, or those with these numbers.
        target_class: the class, for ``by-class``: its number or its name.
        correctness: which of the class's images, by whether the network is right.
        max_samples: at most so many images; None for all.
        seed: which of them, when fewer than all.
        predicted_class: only images that the network takes for this class; None for any.
        split: of which split.
        indices: the numbers, for ``indices``: ascending, none twice.
        relabeled: images whose label is wrong in the dataset, ascending, with the labels that they are to have.
    """

    kind: Kind
    target_class: str | None = None
    correctness: Correctness = "incorrect"
    max_samples: int | None = None
    seed: int = 0
    predicted_class: str | None = None
    split: Split = "test"
    indices: tuple[int, ...] = ()
    relabeled: tuple[tuple[int, int], ...] = ()

    @property
    def focus(self) -> Correctness:
        """Whether the network is right about the images."""
        return "incorrect" if self.kind == "misclassified" else self.correctness

    def facts(self, class_names: tuple[str, ...]) -> dict[str, Any]:
        """What an edit set's provenance says of it; raises `UsageError` for no such class."""
        choice: dict[str, Any] = {"kind": self.kind, "max_samples": self.max_samples, "seed": self.seed}
        if self.kind == "by-class":
            target = class_names[resolve_class(self.target_class, class_names)]
            choice |= {"target_class": target, "correctness": self.correctness}
        predicted = None if self.predicted_class is None else resolve_class(self.predicted_class, class_names)
        choice["predicted_class"] = None if predicted is None else class_names[predicted]
        choice["indices"] = list(self.indices) if self.kind == "indices" else None
        choice["relabeled"] = {str(number): class_names[label] for number, label in self.relabeled} or None
        return choice

    def check(self, dataset: ImageDataset) -> None:
        """Raise `UsageError` where the dataset has no such class or no such image."""
        self.facts(dataset.class_names)
        check_numbers(self.indices, dataset)


def check_numbers(numbers: tuple[int, ...], dataset: ImageDataset) -> None:
    """Raise `UsageError` unless all of these are numbers of images."""
    odd = [number for number in numbers if not 0 <= number < len(dataset)]
    if odd:
        raise UsageError(
            f"There is no {dataset.split} image {odd[0]} of {dataset.name}: its images have the numbers 0 to "
            f"{len(dataset) - 1}."
        )


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
    return f"{_what(selection, class_names)}{_how(selection, class_names)}{few}"


def _what(selection: Selection, class_names: tuple[str, ...]) -> str:
    if selection.kind == "misclassified":
        return "misclassified"
    if selection.kind == "by-class":
        suffix = "" if selection.correctness == "incorrect" else f"_{selection.correctness}"
        return f"class_{_class_name(selection.target_class, class_names)}{suffix}"
    numbers = "_".join(map(str, selection.indices))
    return f"images_{numbers if len(selection.indices) <= MOST_NAMED else _digest(numbers)}"


def _how(selection: Selection, class_names: tuple[str, ...]) -> str:
    as_what = selection.predicted_class
    taken_for = "" if as_what is None else f"_taken_for_{_class_name(as_what, class_names)}"
    labels = f"_relabeled_{_digest(repr(selection.relabeled))}" if selection.relabeled else ""
    return f"{taken_for}{'' if selection.split == 'test' else '_train'}{labels}"


def _class_name(name: str | None, class_names: tuple[str, ...]) -> str:
    number = resolve_class(name, class_names)
    readable = re.sub(r"[^\w-]+", "_", class_names[number])
    return f"{number}_{readable[:80]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def description(selection: Selection, dataset: ImageDataset) -> str:
    """Why a selection is empty, for people."""
    names = dataset.class_names
    target = selection.target_class if selection.kind == "by-class" else None
    of_class, taken_for = (
        None if name is None else names[resolve_class(name, names)] for name in (target, selection.predicted_class)
    )
    images = f"{dataset.split} image" if of_class is None else f"{dataset.split} image of class {of_class}"
    if taken_for is not None:
        wanted = {"incorrect": "wrongly ", "correct": "rightly ", "any": ""}[selection.focus]
        return f"the network takes no {images} {wanted}for {taken_for}"
    answers = {"incorrect": "every", "correct": "no", "any": "no"}[selection.focus]
    return f"the network classifies {answers} {images} right"
