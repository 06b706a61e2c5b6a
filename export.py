"""Write a network as ONNX or TorchScript, for programs without this toolkit; the file is run before it appears."""

from __future__ import annotations

import helpers.start  # noqa: F401 - before the slow imports

# isort: split
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from helpers.cli import (
    DataRootOption,
    DatasetName,
    DatasetOption,
    JsonOption,
    new_app,
    print_json,
    tells_failures,
    works_long,
)
from helpers.errors import UsageError
from helpers.text import described

if TYPE_CHECKING:
    from edits.export.exporting import Exported

FormatOption = Annotated[
    Literal["onnx", "torchscript"], typer.Option("--format", help="onnx needs the extra: uv sync --extra onnx.")
]
OutputOption = Annotated[
    Path | None, typer.Option(help="The file. [default: beside the weights, NAME.onnx or NAME_torchscript.pt]")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]

EditSetOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Run it on the images of this edit set. [default: the repaired ones]"),
]

app = new_app(__doc__)


@app.command()
@works_long
@tells_failures
def main(
    *,
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="Weights; a repair's are checked on the images of its report.")
    ],
    form: FormatOption = "onnx",
    output: OutputOption = None,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    edit_set: EditSetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a network as ONNX or TorchScript, for programs without this toolkit; the file is run before it appears.

    It is run on the images that the weights were repaired of, by their report or by their file itself; each of them has
    to have its margin. Where these are not known it is run on test images, or else on random ones. In any case it has
    to give torch's logits.
    """
    from edits.export.exporting import export
    from edits.export.formats import FORMATS

    path = output or weights.with_name(weights.stem + FORMATS[form].suffix)
    target = _target(path, weights, force)
    exported = export(weights, form, target, dataset=dataset, data_root=data_root, edit_set=edit_set)
    if as_json:
        print_json(asdict(exported))
    else:
        print(in_words(exported))


def _target(output: Path, weights: Path, force: bool) -> Path:
    from helpers.files.outputs import writable_output

    target = writable_output(output)
    if weights.exists() and target.exists() and target.samefile(weights):
        raise UsageError(f"{output} is the weights file itself: name another --output.")
    if target.exists() and not force:
        raise UsageError(f"{output} is there already; name another --output, or give --force.")
    return target


def in_words(exported: Exported) -> str:
    """What was written, and what it was checked by."""
    checked, side = exported.checked, " x ".join(map(str, exported.input_shape))
    rows = [("inputs", f"N x {side}, float32"), ("outputs", f"N x {exported.outputs} logits")]
    rows.append(("run on", checked.what))
    if checked.right is not None:
        asked = "" if checked.required_margin is None else f" (promised: {checked.required_margin:g})"
        rows += [
            ("right", f"{checked.right:,} of {checked.images:,}"),
            ("least margin", f"{checked.least_margin:.4f}{asked}"),
        ]
    rows.append(("from torch's logits", f"{checked.largest_difference:.2g} at most"))
    return f"{exported.output}: {exported.size / 1e6:,.1f} MB\n\n{described(rows)}"


if __name__ == "__main__":
    app()
