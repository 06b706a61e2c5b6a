"""Measure the accuracy of any AlexNet weights on the test images, and on an edit set."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    DisputedOption,
    InputSizeOption,
    JsonOption,
    MeanOption,
    ResizeOption,
    StdOption,
    WeightsOption,
    new_app,
    print_json,
    say,
    tells_failures,
    works_long,
)
from helpers.errors import ToolError, UsageError
from helpers.files.paths import baseline_weights
from helpers.text import aligned, percent

if TYPE_CHECKING:
    import torch

    from editset_helpers.edit_set import EditSet
    from helpers.evaluation import Evaluation
    from helpers.images.datasets import ImageDataset
    from helpers.images.input_spec import InputSpec

PresetOption = Annotated[
    Literal["cifar", "imagenet"] | None,
    typer.Option(
        "--preprocessing",
        help="How pictures become inputs. cifar: 32, 70, centre 64, as train.py does it; imagenet: torchvision's, 256, "
        "centre 224, normalised. [default: what is remembered, else cifar]",
    ),
]
ClassesOption = Annotated[
    Path | None, typer.Option(help="A text file of the classes in the order of the outputs, one name a line.")
]

CROWDED = 30  # classes, whose confusion would not fit on a screen

app = new_app(__doc__)


@dataclass(frozen=True)
class EditEvaluation:
    """Accuracy on an edit set and on the test images outside it: None where these are not known, as the note says.

    ``undisputed_*`` is of those outside that are not disputed; None where no disputed images were named.
    """

    path: str
    count: int
    edit_accuracy: float
    drawdown_accuracy: float | None
    drawdown_count: int | None
    drawdown_note: str | None = None
    undisputed_accuracy: float | None = None
    undisputed_count: int | None = None


@dataclass(frozen=True)
class Report:
    """What `evaluate` measured, of which weights and which images."""

    weights: str
    weights_hash: str
    dataset: str
    dataset_hash: str
    preprocessing: dict[str, Any]
    test: Evaluation
    edit_set: EditEvaluation | None


def evaluate(
    weights: Path | None = None,
    dataset: DatasetName = DatasetName.CIFAR10,
    data_root: Path | None = None,
    edit_set: Path | None = None,
    *,
    batch_size: int | None = None,
    disputed: Path | None = None,
    spec: InputSpec | None = None,
) -> Report:
    """Run weights (by default the dataset's baseline) over the test images and, if given, an edit set.

    How images become inputs is what is remembered beside the weights, unless ``spec`` is given.

    Raises:
        ToolError: images, weights or edit set are missing or damaged, or the edit set has other classes.
    """
    from editset_helpers.class_order import load_for
    from editset_helpers.lists import read_numbers
    from helpers.evaluation import BATCH_SIZE, evaluate_logits, predict_logits
    from helpers.images.datasets import load_dataset
    from helpers.images.input_spec import spec_of
    from model_classes.alexnet import load_alexnet
    from model_classes.weights import weights_hash

    batch_size = batch_size or BATCH_SIZE
    path = weights or baseline_weights(dataset, data_root)
    if weights is None and not path.exists():
        raise ToolError(f"There are no weights {path}: train them with train.py, or name some with --weights.")
    images = load_dataset(dataset, "test", data_root, spec or spec_of(path))
    model = load_alexnet(path, len(images.class_names))
    edits = None if edit_set is None else load_for(edit_set, images)
    numbers = [] if disputed is None else read_numbers(disputed, images).tolist()
    logits = predict_logits(model, images, batch_size, told="test images")
    test = evaluate_logits(logits, images.labels, images.class_names)
    on_edits = None
    if edits is not None:
        edit_logits = predict_logits(model, edits.images, batch_size)
        on_edits = _evaluate_edits(str(edit_set), edits, edit_logits, test=images, test_logits=logits, disputed=numbers)
    made = images.spec.as_json()
    return Report(str(path), weights_hash(model), images.name, images.content_hash, made, test, on_edits)


def _evaluate_edits(
    path: str,
    edits: EditSet,
    edit_logits: torch.Tensor,
    *,
    test: ImageDataset,
    test_logits: torch.Tensor,
    disputed: list[int],
) -> EditEvaluation:
    """From logits: accuracy on the edit set, and on the test images outside it where known."""
    from editset_helpers.location import ALL_DISPUTED, locate, without
    from helpers.evaluation import is_right

    location, right = locate(edits, test), is_right(test_logits, test.labels)
    edit_accuracy = float(is_right(edit_logits, edits.labels.numpy()).mean())
    found = EditEvaluation(path, len(edits), edit_accuracy, None, None, location.note)
    if location.outside is None or not location.outside.any():
        return found
    accuracy, count = float(right[location.outside].mean()), int(location.outside.sum())
    found = replace(found, drawdown_accuracy=accuracy, drawdown_count=count)
    kept = without(location.outside, disputed)
    if disputed and not kept.any():
        say(ALL_DISPUTED)
    if not disputed or not kept.any():
        return found
    return replace(found, undisputed_accuracy=float(right[kept].mean()), undisputed_count=int(kept.sum()))


@app.command()
@works_long
@tells_failures
def main(
    *,
    weights: WeightsOption = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    edit_set: Annotated[Path | None, typer.Option(help="An edit set: adds edit and drawdown accuracy.")] = None,
    repair: Annotated[
        Path | None,
        typer.Option("--report", help="A repair's report: measures that repair, before and after, and compares."),
    ] = None,
    exclude_disputed: DisputedOption = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at a time. [default: 500]")] = None,
    preprocessing: PresetOption = None,
    input_size: InputSizeOption = None,
    resize: ResizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    classes: ClassesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the accuracy of AlexNet weights on the test images, and on an edit set; or a repair by its report.

    What is said of preprocessing and classes is remembered beside the weights, and every script reads it.
    """
    of_inputs = (preprocessing, (input_size, resize), (mean, std), classes)
    says_inputs = of_inputs != (None, (None, None), (None, None), None)
    if repair is not None:
        if weights is not None or edit_set is not None or says_inputs:
            raise UsageError(
                "--report says which weights and edit set are meant: leave out --weights and --edit-set, and what says "
                "how images are prepared."
            )
        if exclude_disputed is not None:
            raise UsageError("--report says which disputed images are meant: leave out --exclude-disputed.")
        compare(repair, data_root, batch_size, as_json)
        return
    if exclude_disputed is not None and edit_set is None:
        raise UsageError("--exclude-disputed is about drawdown: name the --edit-set, too.")
    from helpers.doubts import doubts
    from helpers.files.outputs import certificate_path
    from helpers.images.input_spec import spec_of, spec_with

    path = weights or baseline_weights(dataset, data_root)
    spec = spec_with(spec_of(path), *of_inputs)
    if spec != spec_of(path) and certificate_path(path).exists():
        raise UsageError(f"{path} was repaired with images prepared as is remembered: measure a copy of it otherwise.")
    report = evaluate(
        weights, dataset, data_root, edit_set, batch_size=batch_size, disputed=exclude_disputed, spec=spec
    )
    if says_inputs:
        remember(spec, path)
    for doubt in doubts(report.test, spec.preprocessing.described):
        say(f"note: {doubt}")
    if as_json:
        print_json(asdict(report))
    else:
        print("\n\n".join(_tables(report)))


def remember(spec: InputSpec, weights: Path) -> None:
    """Write beside the weights how their inputs are made, and say so."""
    from helpers.files.outputs import preprocessing_path
    from helpers.images.input_spec import keep_spec

    keep_spec(spec, weights)
    order = "" if spec.classes is None else f"; {len(spec.classes)} classes, {spec.classes[0]!r} first"
    say(f"remembered in {preprocessing_path(weights)}, for every script: {spec.preprocessing.described}{order}")


def compare(repair: Path, data_root: Path | None, batch_size: int | None, as_json: bool) -> None:
    """Measure a repair again and show it beside its report; raises `ToolError` where they do not agree."""
    from edits.outcome.remeasuring import remeasure
    from helpers.evaluation import BATCH_SIZE

    found = remeasure(repair, data_root, batch_size or BATCH_SIZE)
    if as_json:
        print_json(asdict(found))
    else:
        rows = [(figure.name, _shown(figure.told), _shown(figure.measured)) for figure in found.figures]
        outside = "unknown" if found.drawdown_count is None else found.drawdown_count
        print(f"{found.report}: {found.edit_set_size} edit images, {outside} test images outside\n")
        print(aligned([("figure", "report", "measured"), *rows]))
        if found.drawdown_note is not None:
            print(f"\nnote: {found.drawdown_note}")
        if found.agree:
            print("\nthe report agrees with what was measured")
    if not found.agree:
        differing = ", ".join(figure.name for figure in found.figures if not figure.agrees)
        raise ToolError(f"The report {repair} does not agree with what was measured: {differing}.")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _tables(report: Report) -> Iterator[str]:
    from helpers.images.input_spec import spec_from
    from helpers.images.preprocessing import CIFAR

    test, spec = report.test, spec_from(report.preprocessing)
    made = "" if spec.preprocessing == CIFAR else f", {spec.preprocessing.described}"
    yield f"{report.weights} on the {test.count} test images of {report.dataset}{made}"
    totals = [("accuracy", percent(test.accuracy)), ("loss", f"{test.loss:.4f}")]
    yield aligned([*totals, *_edit_rows(report.edit_set)])
    if report.edit_set is not None and report.edit_set.drawdown_note is not None:
        yield f"note: {report.edit_set.drawdown_note}"
    classes = [
        (str(number), name, percent(accuracy))
        for number, (name, accuracy) in enumerate(test.per_class.items())
        if accuracy is not None or len(test.per_class) <= CROWDED
    ]
    if len(test.per_class) > CROWDED:
        yield "accuracy of the classes that there are images of"
        yield aligned([("class", "accuracy"), *((f"{number} {name}", right) for number, name, right in classes)])
        return
    yield "accuracy by class, and how often each class (rows) was taken for each (columns)"
    rows = zip(classes, test.confusion, strict=True)
    table = [(f"{number} {name}", right, *map(str, row)) for (number, name, right), row in rows]
    yield aligned([("class", "accuracy", *(number for number, *_ in classes)), *table])


def _edit_rows(edits: EditEvaluation | None) -> list[tuple[str, str]]:
    if edits is None:
        return []
    outside = "outside the edit set" if edits.drawdown_count is None else f"{edits.drawdown_count} outside the edit set"
    rows = [
        (f"edit accuracy ({edits.count} images)", percent(edits.edit_accuracy)),
        (f"drawdown accuracy ({outside})", percent(edits.drawdown_accuracy)),
    ]
    if edits.undisputed_count is not None:
        undisputed = f"{edits.undisputed_count} of these undisputed"
        rows.append((f"drawdown accuracy ({undisputed})", percent(edits.undisputed_accuracy)))
    return rows


if __name__ == "__main__":
    app()
