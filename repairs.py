"""The repairs that networks have been through: list them, show a chain, undo the last one, compare two networks."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
import contextlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    JsonOption,
    new_app,
    print_json,
    say,
    tells_failures,
    works_long,
)
from helpers.errors import ToolError, UsageError
from helpers.text import aligned, percent

if TYPE_CHECKING:
    from edits.record.chain import Comparison, Step

WEIGHTS = (".pth", ".pt", ".safetensors")
NAMED = 10  # images, of those broken or fixed

app = new_app(__doc__)
WeightsArgument = Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Repaired weights.")]


@app.command("list")
@tells_failures
def list_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look, and in the folders in it.")] = Path(
        "artifacts"
    ),
    as_json: JsonOption = False,
) -> None:
    """The repaired weights of a folder, the latest first."""
    steps = sorted(_found(folder), key=lambda step: step.timestamp, reverse=True)
    if as_json:
        print_json([asdict(step) for step in steps])
    elif steps:
        print(_table(steps))
    else:
        say(f"There are no repairs in {folder} yet; make one with: uv run python run_repair.py misclassified")


@app.command()
@tells_failures
def show(weights: WeightsArgument, as_json: JsonOption = False) -> None:
    """The chain of repairs of a network, the first one first."""
    from edits.record.chain import steps_of

    base, steps = steps_of(weights)
    if as_json:
        print_json({"base": base, "repairs": [asdict(step) for step in steps]})
        return
    print(f"{base} before all repairs\n")
    print(_table(steps))
    for number, step in enumerate(steps, 1):
        gone = "" if step.is_there else " (gone)"
        print(f"\n{number}  {step.weights}{gone}\n   {step.edit_set}\n   {step.command}")
        if step.last_drawdown_points is not None:
            print(f"   drawdown against the repair before: {step.last_drawdown_points:.2f} points")


@app.command()
@works_long
@tells_failures
def undo(
    weights: WeightsArgument,
    output: Annotated[Path, typer.Option(help="Where the network before the last repair is written.")],
    whole: Annotated[bool, typer.Option("--all", help="The network before all repairs instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write the network before the last repair, bit for bit; the repaired one stays."""
    from edits.record.chain import undo as write_before
    from helpers.files.outputs import writable_output

    target = writable_output(output)
    if target.resolve() == weights.resolve():
        raise UsageError(f"{output} is the repaired network, which stays; name another --output.")
    if target.exists() and not force:
        raise UsageError(f"{output} is there already; name another --output, or give --force.")
    print(write_before(weights, target, whole))


@app.command()
@works_long
@tells_failures
def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="Weights.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Other weights.")],
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    as_json: JsonOption = False,
) -> None:
    """Two networks side by side: edit sets, weights that differ, accuracy by class, test images only one gets right."""
    from edits.record.chain import compare as measure
    from helpers.images.datasets import load_dataset
    from helpers.images.input_spec import spec_of

    if spec_of(first) != spec_of(second):
        raise UsageError(f"{first} and {second} take images of other sizes or other classes: they cannot be compared.")
    test = load_dataset(dataset, "test", data_root, spec_of(first))
    found = measure(first, second, test)
    sets = [_edit_sets(weights) for weights in (first, second)]
    if as_json:
        print_json(_as_json(found, test.class_names) | {"edit_sets": sets})
        return
    for weights, repaired in zip((first, second), sets, strict=True):
        print(f"{weights}: {', then '.join(repaired) or 'no repair is known'}")
    print()
    rows = [(moved.name, f"{moved.entries:,}", f"{moved.largest:.4g}", f"{moved.norm:.4g}") for moved in found.moved]
    print(aligned([("weights that differ", "entries", "largest", "norm"), *(rows or [("none", "", "", "")])]))
    print()
    classes = zip(test.class_names, *found.accuracies, strict=True)
    points = [
        (name, percent(before), percent(after), f"{100 * (after - before):+.2f}") for name, before, after in classes
    ]
    print(aligned([("class", str(first.name), str(second.name), "points"), *points]))
    for what, images in (("right by the first alone", found.broken), ("right by the second alone", found.fixed)):
        listed = ", ".join(map(str, images[:NAMED])) + (" ..." if len(images) > NAMED else "")
        print(f"\n{what}: {len(images):,} test images{': ' + listed if len(images) else ''}")


def _found(folder: Path) -> list[Step]:
    """The last steps of all repairs in a folder, by reports or by the files themselves; other files are passed over."""
    from edits.record.chain import steps_of

    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    steps, named = [], set[Path]()
    for file in sorted(folder.rglob("*")):
        stem = file.with_suffix("")
        weights = file if file.suffix in WEIGHTS else stem if stem.suffix else stem.with_suffix(".pth")
        if file.suffix in (*WEIGHTS, ".json") and weights.is_file() and weights not in named:
            named.add(weights)
            with contextlib.suppress(ToolError):
                steps.append(steps_of(weights)[1][-1])
    return steps


def _edit_sets(weights: Path) -> list[str]:
    """What a network was repaired of, a repair each; nothing where it never was."""
    from edits.record.chain import steps_of
    from edits.record.history import told_of

    steps = [] if told_of(weights) is None else steps_of(weights)[1]
    return [f"{step.new:,} images by {step.edit_set}" for step in steps]


def _table(steps: list[Step]) -> str:
    rows = [
        (
            step.weights,
            step.timestamp[:16].replace("T", " "),
            f"{step.new:,}",
            f"{step.images:,}",
            f"{step.margin:g}",
            f"{step.layer}{' after spare units' * (step.prepare == 'spare-units')}",
            "-" if step.drawdown_points is None else f"{step.drawdown_points:.2f}",
            percent(step.generalization),
        )
        for step in steps
    ]
    return aligned(
        [("weights", "made (UTC)", "new images", "images", "margin", "changed", "drawdown", "copies right"), *rows]
    )


def _as_json(found: Comparison, class_names: tuple[str, ...]) -> dict[str, object]:
    return {
        "weights": [asdict(moved) for moved in found.moved],
        "accuracies": {
            name: None if math.isnan(before) else [before, after]  # a class may have no test images
            for name, before, after in zip(class_names, *found.accuracies.tolist(), strict=True)
        },
        "right_by_the_first_alone": found.broken.tolist(),
        "right_by_the_second_alone": found.fixed.tolist(),
    }


if __name__ == "__main__":
    app()
