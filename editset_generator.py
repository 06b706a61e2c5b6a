"""Choose the images to repair: those that AlexNet gets wrong, all of them or one class's, some by number, your own."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editset_helpers.selection import SUFFIX, Correctness, Selection
from helpers import progress
from helpers.arguments import knowing
from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    JsonOption,
    PredictedClassOption,
    SplitOption,
    WeightsOption,
    command_line,
    new_app,
    print_json,
    say,
    shared_options,
    tells_failures,
    works_long,
)
from helpers.errors import UsageError
from helpers.files.paths import baseline_weights, edit_sets
from helpers.images.source import SPLITS
from helpers.text import aligned

if TYPE_CHECKING:
    import torch

    from editset_helpers.edit_set import EditSet
    from editset_helpers.generation import Place, Source, Wanted, WantedPictures
    from editset_helpers.listing import Listed

MaxSamplesOption = Annotated[int | None, typer.Option(min=1, help="At most so many images. [default: all]")]
SeedOption = Annotated[int, typer.Option(min=0, help="Which images, when fewer than all.")]
RelabelOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A CSV with the columns image (its number) and label: labels that the dataset has wrong."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"Name of the file, data/edit_sets/NAME{SUFFIX}. [default: by what it holds]"),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a set that exists.")]

app = new_app(__doc__)
Command = knowing({"--output-name": "--output"})


@dataclass(frozen=True)
class Request:
    """Whose mistakes are meant, and where the set goes."""

    dataset: DatasetName = DatasetName.CIFAR10
    data_root: Path | None = None
    weights: Path | None = None
    name: str | None = None
    force: bool = False


def read_request(
    *,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> Request:
    """The options that all commands which make a set share."""
    return Request(dataset, data_root, weights, output, force)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def misclassified(
    request: Request,
    *,
    predicted_class: PredictedClassOption = None,
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 0,
    split: SplitOption = "test",
    relabel: RelabelOption = None,
) -> None:
    """Images of every class that the network classifies wrong."""
    selection = Selection(
        "misclassified", max_samples=max_samples, seed=seed, predicted_class=predicted_class, split=split
    )
    make_edit_set(selection, request, relabel)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def by_class(
    request: Request,
    *,
    target_class: Annotated[str, typer.Option(help="The class: its number, or its name.")],
    predicted_class: PredictedClassOption = None,
    correctness: Annotated[Correctness, typer.Option(help="Images it gets wrong, or right.")] = "incorrect",
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 0,
    split: SplitOption = "test",
    relabel: RelabelOption = None,
) -> None:
    """Images of one class."""
    selection = Selection("by-class", target_class, correctness, max_samples, seed, predicted_class, split)
    make_edit_set(selection, request, relabel)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def indices(
    request: Request,
    *,
    numbers: Annotated[list[str], typer.Argument(help="Numbers of images, from 0 on.", metavar="NUMBER")],
    split: SplitOption = "test",
    relabel: RelabelOption = None,
) -> None:
    """The images with these numbers, whatever the network says of them."""
    make_edit_set(Selection("indices", split=split, indices=numbers_in(numbers)), request, relabel)


@app.command(cls=Command)
@works_long
@tells_failures
@shared_options(read_request)
def from_files(
    request: Request,
    *,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="LIST.csv", help="A CSV with the columns path (from its folder on) and label (name or number)."
        ),
    ],
    correctness: Annotated[Correctness, typer.Option(help="Only those that the network gets wrong, or right.")] = "any",
) -> None:
    """Pictures of your own, of any common type and size."""
    make_set_of_files(path, correctness, request)


@app.command("list")
@tells_failures
def list_command(as_json: JsonOption = False) -> None:
    """The edit sets there are."""
    from editset_helpers.listing import list_edit_sets

    listed = list_edit_sets(edit_sets(DatasetName.CIFAR10))
    if as_json:
        print_json([asdict(entry) for entry in listed])
    elif listed:
        print(aligned([("edit set", "images", "from", "dataset", "weights", "seed"), *map(_row, listed)]))
    else:
        say("There are no edit sets yet; make one with: uv run python editset_generator.py misclassified")


def numbers_in(words: list[str]) -> tuple[int, ...]:
    """``["3", "17,256"]`` -> (3, 17, 256), ascending and once each; raises `UsageError` for what is no number."""
    parts = [part for word in words for part in word.split(",") if part]
    odd = next((part for part in parts if re.fullmatch(r"[0-9]{1,18}", part) is None), None)
    if odd is not None:
        raise UsageError(f"NUMBER is the number of an image, from 0 on, not {odd!r}.")
    return tuple(sorted(set(map(int, parts))))


def make_edit_set(selection: Selection, request: Request | None = None, relabel: Path | None = None) -> Path:
    """Make an edit set unless it exists, training the baseline if that is missing; return where it lies.

    A file that holds another set than what is asked for is left alone unless ``force`` is given or somebody says so;
    see `editset_helpers.generation` for the names.

    Args:
        selection: which images.
        request: whose mistakes, and where to.
        relabel: a file of labels that the dataset has wrong.

    Raises:
        ToolError: no such images, weights or class, no image qualifies, a file cannot be read or written, or another
            set has the name that was asked for.
    """
    from editset_helpers.generation import Wanted, generate_edit_set, open_source
    from editset_helpers.lists import read_relabeled
    from helpers.images.datasets import load_dataset
    from helpers.images.input_spec import spec_of
    from model_classes.training import ensure_baseline

    request = request or Request()
    file = None if request.name is None else file_name(request.name)
    there = spec_of(request.weights or baseline_weights(request.dataset, request.data_root))
    images = load_dataset(request.dataset, selection.split, request.data_root, there)
    if relabel is not None:
        selection = replace(selection, relabeled=read_relabeled(relabel, images))
    selection.check(images)  # are there such a class and such images? then train
    source = open_source(images, ensure_baseline(request.dataset, request.data_root, request.weights))
    if selection.split == "train":
        source = with_known_logits(source, request)
    wanted, force = Wanted(selection, images, source.weights_hash), request.force
    folder = edit_sets(request.dataset, request.data_root)
    place = _usual_place(wanted, folder, force) if file is None else _named_place(wanted, folder / file, force)
    return _put(place, lambda: generate_edit_set(selection, with_doubts(source), command_line()))


def with_doubts(source: Source) -> Source:
    """The source which, when it is asked what the network says of all images, says what is odd about that."""
    from helpers.doubts import tell_doubts

    def logits() -> torch.Tensor:
        found = source.all_logits()
        tell_doubts(found, source.images)
        return found

    return replace(source, logits=logits)


def with_known_logits(source: Source, request: Request) -> Source:
    """The training images with what repairs keep of them in the cache: their logits take minutes otherwise."""
    from edits.network.training_images import TrainingImages
    from model_classes.alexnet import AlexNet

    def logits() -> torch.Tensor:
        assert isinstance(source.model, AlexNet)
        can_flip = request.dataset is not DatasetName.DIGITS
        return TrainingImages(source.model, source.weights_hash, source.images, can_flip).logits

    return replace(source, logits=logits)


def make_set_of_files(path: Path, correctness: Correctness, request: Request) -> Path:
    """Make an edit set of the pictures that a CSV lists, see `editset_helpers.lists`; return where it lies.

    Raises:
        ToolError: a picture, the CSV or the weights are missing or damaged, no picture qualifies, the file cannot be
            written, or another set has its name.
    """
    from editset_helpers.generation import WantedPictures, generate_set_of_files, open_source
    from editset_helpers.lists import read_pictures
    from helpers.images.datasets import load_dataset
    from helpers.images.input_spec import spec_of
    from model_classes.training import ensure_baseline

    which = "" if correctness == "any" else f"_{correctness}"
    file = file_name(request.name or re.sub(r"[^\w-]+", "_", path.stem)[:80] + which)
    there = spec_of(request.weights or baseline_weights(request.dataset, request.data_root))
    splits = [load_dataset(request.dataset, split, request.data_root, there) for split in SPLITS]
    pictures = read_pictures(path, splits[0].class_names, splits[0].preprocessing)
    source = open_source(splits[0], ensure_baseline(request.dataset, request.data_root, request.weights))
    edit_set = generate_set_of_files(path, pictures, correctness, splits, source=source, command=command_line())
    place = _named_place(WantedPictures(edit_set), edit_sets(request.dataset, request.data_root) / file, request.force)
    return _put(place, lambda: edit_set)


def _put(place: Place, make: Callable[[], EditSet]) -> Path:
    """Make a set and write it into its place, unless it is there."""
    from editset_helpers.edit_set import save_edit_set

    if place.note is not None:
        say(f"note: {place.note}")
    if place.exists:
        say(f"kept {place.path} as it was: it holds what is asked for; --force makes it anew")
        return place.path
    edit_set = make()
    save_edit_set(edit_set, place.path)
    print(f"{place.path}: {len(edit_set)} images")
    say_what_it_holds(edit_set)
    return place.path


def say_what_it_holds(edit_set: EditSet) -> None:
    """Tell of images that are right already, and of labels that are not the dataset's."""
    if right := sum(entry["margin"] > 0 for entry in edit_set.metadata):
        say(f"the network gets {right} of them right already")
    if edit_set.relabeled:
        say(f"{edit_set.relabeled} of them have a label that was given, not the dataset's")


def _usual_place(wanted: Wanted, folder: Path, force: bool) -> Place:
    """Where a set goes that is named by what it holds; with ``force`` under its shortest name whatever is there."""
    from editset_helpers.generation import Place, place_of, usual_path

    usual = usual_path(wanted, folder)
    if force or (usual.exists() and (why := wanted.misfit(usual)) is not None and _may_replace(usual, why)):
        return Place(usual, exists=False)
    return place_of(wanted, folder)


def _named_place(wanted: Wanted | WantedPictures, path: Path, force: bool) -> Place:
    """Where a set goes that somebody named; raises `UsageError` where another is there that is to stay."""
    from editset_helpers.generation import Place

    if force or not path.exists():
        return Place(path, exists=False)
    why = wanted.misfit(path)
    if why is None or _may_replace(path, why):
        return Place(path, exists=why is None)
    raise UsageError(f"{path} {why}; --force replaces it, or give another --output.")


def file_name(name: str) -> str:
    """``mine``, ``mine.pt`` or ``mine_edit_dataset.pt`` -> ``mine_edit_dataset.pt``; no folders.

    Raises:
        UsageError: the name is empty, hidden, over 100 characters, or holds a path separator.
    """
    stem = name.removesuffix(".pt").removesuffix("_edit_dataset")
    if not re.fullmatch(r"[^./\\\0\s][^/\\\0]{0,99}", stem):
        raise UsageError(f"--output is a short file name without folders, not {name!r}.")
    return stem + SUFFIX


def _may_replace(path: Path, why: str) -> bool:
    """Ask where there is somebody to answer."""
    if not sys.stdin.isatty():
        return False
    with progress.paused():
        return typer.confirm(f"{path} {why}. Replace it?", default=False, err=True)


def _row(entry: Listed) -> tuple[str, ...]:
    if entry.problem is not None:
        say(f"damaged: {entry.problem}")
        return (entry.path, "damaged", "-", "-", "-", "-")
    values = (entry.images, entry.source, entry.dataset, (entry.weights_hash or "")[:12] or None, entry.seed)
    return (entry.path, *("-" if value is None else str(value) for value in values))


if __name__ == "__main__":
    app()
