"""A repair in words: its name, what the checker said, which class pays for it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from visualizer.content.repairs import ClassOutcome

# The copies of an image, in the order of `editset_helpers.copies.copies`.
COPIES = ("mirrored", "shifted right", "shifted left", "shifted down", "shifted up")
DATASETS = {"cifar10": "CIFAR-10", "digits": "handwritten digits"}
# By number, as sweeps name them.
CLASSES = {"cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")}
FOCUS = {"_correct": "rightly classified ", "_any": "", "_incorrect": "misclassified ", "": "misclassified "}
# What tells files of one kind apart: which experiment, how many and which images, of which network and dataset.
TAIL = re.compile(r"(?:_n\d+_s\d+.*|_\d+_seed\d+)?(?:_[0-9a-f]{8,12})*")
SHAPE = re.compile(
    r"(?:(misclassified)|class_?(?P<number>\d+)(?:_(?P<name>.+?))??(?P<focus>_(?:in)?correct|_any)?|images_.+?)"
    rf"(?:_taken_for_\d+_(?P<taken>.+?))?(?P<train>_train)?(?P<labels>_relabeled)?{TAIL.pattern}"
)
PAYS, PAYS_OF_CLASS = 5, 0.01  # images, and the part of a class, from which a class is named as one that pays


def set_name(path: str | None) -> str:
    """``data/edit_sets/misclassified_edit_dataset.pt`` -> ``misclassified``."""
    return PurePosixPath(path or "unknown").name.removesuffix(".pt").removesuffix("_edit_dataset")


def images_in_words(name: str, count: int | None, dataset: str | None) -> str:
    """``misclassified``, 100 -> ``100 misclassified images of CIFAR-10``; a name of one's own stays as it is."""
    many, of = "image" if count == 1 else "images", f" of {dataset_name(dataset)}" if dataset else ""
    number, found = "?" if count is None else f"{count:,}", SHAPE.fullmatch(name)
    if name.startswith("joined_"):
        return f"{number} {many}{of}"
    if found is None:
        return f"{number} {many}{of}, {name}"
    of_class = found["name"] or _class_name(dataset, found["number"])
    kind = "misclassified " if found[1] else FOCUS[found["focus"] or ""] if of_class else "chosen "
    train, taken = "training " * bool(found["train"]), f" taken for {found['taken']}" if found["taken"] else ""
    told = f" of class {of_class}" if of_class else ""
    of = of.replace(" of ", ", ", 1) if of_class else of
    labels = " with labels that were given" if found["labels"] else ""
    return f"{number} {kind}{train}{many}{told}{of}{taken}{labels}"


def _class_name(dataset: str | None, number: str | None) -> str | None:
    names = dict(enumerate(CLASSES.get(dataset or "", ())))
    return number and names.get(int(number), number)


def dataset_name(dataset: str | None) -> str:
    """As people write it."""
    return DATASETS.get(dataset or "", dataset or "an unknown dataset")


def title_of(report: dict[str, Any]) -> str:
    """The name of a repair; of one upon others, how many images are new."""
    count, earlier = report["edit_set_size"], report["earlier_images"] or 0
    told = images_in_words(set_name(report["edit_set_path"]), count, report["dataset"])
    return f"{told}, {(count or 0) - earlier:,} of them new" if report["earlier"] else told


def verdict_of(report: dict[str, Any]) -> tuple[str, str]:
    """What the checker said of a repair in a word, and in a sentence."""
    status = report["status"]
    if report["certificate_path"] and status == "repaired":
        return "accepted", "The checker, which shares no code with the solver, accepted the certificate."
    if report["certificate_path"]:
        return "proved", "The checker accepted the proof that there is no such repair."
    if status == "not_verified":
        return "refused", "The checker or the forward pass refused the repaired network."
    return "none", "There is no certificate beside this report."


def harm_of(classes: list[ClassOutcome]) -> str | None:
    """A sentence where one class pays for the repair; None where none does."""
    by_net = sorted((row for row in classes if row.count), key=lambda row: row.fixed - row.broken)
    if not by_net:
        return None
    worst, best = by_net[0], by_net[-1]
    lost, won = worst.broken - worst.fixed, best.fixed - best.broken
    if lost < PAYS or lost < PAYS_OF_CLASS * worst.count:
        return None
    share = f"{100 * lost / worst.count:.1f} % of its {worst.count:,} images"
    gain = f", and class {best.name} gains {won:,}" if won > 0 else ", and no class gains"
    return f"Class {worst.name} pays most: {lost:,} more of its images are wrong ({share}){gain}."
