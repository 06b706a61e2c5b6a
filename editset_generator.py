"""Choose the images to repair: the test images that AlexNet gets wrong, all of them or one class's."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editset_helpers.selection import SUFFIX, Correctness, Selection
from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    JsonOption,
    WeightsOption,
    command_line,
    new_app,
    print_json,
    say,
    tells_failures,
)
from helpers.errors import UsageError
from helpers.files.paths import baseline_weights, edit_sets
from helpers.old_names import knowing
from helpers.tables import aligned

if TYPE_CHECKING:
    from editset_helpers.generation import Place, Wanted
    from editset_helpers.listing import Listed

MaxSamplesOption = Annotated[int | None, typer.Option(min=1, help="At most so many images. [default: all]")]
SeedOption = Annotated[int, typer.Option(min=0, help="Which images, when fewer than all.")]
OutputOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"Name of the file, data/edit_sets/NAME{SUFFIX}. [default: by what it holds]"),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a set that exists.")]

app = new_app(__doc__)
Command = knowing({"--output-name": "--output"})


@app.command(cls=Command)
@tells_failures
def misclassified(
    *,
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Test images of every class that the network classifies wrong."""
    selection = Selection("misclassified", max_samples=max_samples, seed=seed)
    make_edit_set(selection, dataset=dataset, data_root=data_root, weights=weights, name=output, force=force)


@app.command(cls=Command)
@tells_failures
def by_class(
    *,
    target_class: Annotated[str, typer.Option(help="The class: its number, or its name.")],
    correctness: Annotated[Correctness, typer.Option(help="Images it gets wrong, or right.")] = "incorrect",
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 0,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    weights: WeightsOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Test images of one class."""
    selection = Selection("by-class", target_class, correctness, max_samples, seed)
    make_edit_set(selection, dataset=dataset, data_root=data_root, weights=weights, name=output, force=force)


@app.command("list")
@tells_failures
def list_command(as_json: JsonOption = False) -> None:
    """The edit sets there are."""
    from editset_helpers.listing import list_edit_sets

    listed = list_edit_sets(edit_sets(DatasetName.CIFAR10))
    if as_json:
        print_json([asdict(entry) for entry in listed])
    elif listed:
        print(aligned([("edit set", "images", "dataset", "weights", "seed"), *map(_row, listed)]))
    else:
        say("There are no edit sets yet; make one with: uv run python editset_generator.py misclassified")


def make_edit_set(
    selection: Selection,
    *,
    dataset: DatasetName = DatasetName.CIFAR10,
    data_root: Path | None = None,
    weights: Path | None = None,
    name: str | None = None,
    force: bool = False,
) -> Path:
    """Make an edit set unless it exists, training the baseline if that is missing; return where it lies.

    A file that holds another set than what is asked for is left alone unless ``force`` is given or somebody says so;
    see `editset_helpers.generation` for the names.

    Raises:
        ToolError: no such images, weights or class, no image qualifies, the file cannot be written, or another set has
            the name that was asked for.
    """
    from editset_helpers.edit_set import save_edit_set
    from editset_helpers.generation import Wanted, generate_edit_set, open_source
    from helpers.images.datasets import load_dataset
    from helpers.images.input_spec import spec_of
    from model_classes.training import ensure_baseline

    file = None if name is None else file_name(name)
    there = spec_of(weights or baseline_weights(dataset, data_root))
    selection.facts(load_dataset(dataset, "test", data_root, there).class_names)  # is there such a class? then train
    source = open_source(dataset, data_root, ensure_baseline(dataset, data_root, weights))
    wanted, folder = Wanted(selection, source.test, source.weights_hash), edit_sets(dataset, data_root)
    place = _usual_place(wanted, folder, force) if file is None else _named_place(wanted, folder / file, force)
    if place.note is not None:
        say(f"note: {place.note}")
    if place.exists:
        say(f"kept {place.path} as it was: it holds what is asked for; --force makes it anew")
        return place.path
    edit_set = generate_edit_set(selection, source, command_line())
    save_edit_set(edit_set, place.path)
    print(f"{place.path}: {len(edit_set)} images")
    return place.path


def _usual_place(wanted: Wanted, folder: Path, force: bool) -> Place:
    """Where a set goes that is named by what it holds; with ``force`` under its shortest name whatever is there."""
    from editset_helpers.generation import Place, place_of, usual_path

    usual = usual_path(wanted, folder)
    if force or (usual.exists() and (why := wanted.misfit(usual)) is not None and _may_replace(usual, why)):
        return Place(usual, exists=False)
    return place_of(wanted, folder)


def _named_place(wanted: Wanted, path: Path, force: bool) -> Place:
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
    return sys.stdin.isatty() and typer.confirm(f"{path} {why}. Replace it?", default=False, err=True)


def _row(entry: Listed) -> tuple[str, ...]:
    if entry.problem is not None:
        say(f"damaged: {entry.problem}")
        return (entry.path, "damaged", "-", "-", "-")
    values = (entry.images, entry.dataset, (entry.weights_hash or "")[:12] or None, entry.seed)
    return (entry.path, *("-" if value is None else str(value) for value in values))


if __name__ == "__main__":
    app()
