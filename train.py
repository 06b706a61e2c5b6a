"""Train the baseline AlexNet that repairs begin from. Ctrl-C keeps the last finished epoch."""

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
    DryRunOption,
    InputSizeOption,
    JsonOption,
    MeanOption,
    ResizeOption,
    StdOption,
    new_app,
    print_json,
    tells_failures,
    works_long,
)
from helpers.errors import ToolError, UsageError
from helpers.files.paths import baseline_weights

if TYPE_CHECKING:
    import torch

    from helpers.images.preprocessing import Preprocessing
    from model_classes.baseline import Baseline

EpochsOption = Annotated[int | None, typer.Option(min=1, help="Passes over the images. [default: 12]")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of everything random: the same seed, the same weights.")]
OutputOption = Annotated[Path | None, typer.Option(help="The weights file. [default: artifacts/alexnet_base.pth]")]
DeviceOption = Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1; auto is CUDA where there is one.")]
PresetOption = Annotated[
    Literal["cifar", "imagenet"] | None,
    typer.Option(
        "--preprocessing",
        help="How pictures become inputs. cifar: 32, 70, centre 64; imagenet: torchvision's, 256, centre 224, "
        "normalised. It is written beside the weights. [default: cifar]",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a weights file that exists.")]

PART = 256 / 224  # of an input's side: what torchvision resizes to before it crops

app = new_app(__doc__)


@app.command()
@works_long
@tells_failures
def main(
    *,
    dataset: DatasetOption = DatasetName.CIFAR10,
    data_root: DataRootOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    output: OutputOption = None,
    device: DeviceOption = "auto",
    preprocessing: PresetOption = None,
    input_size: InputSizeOption = None,
    resize: ResizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the baseline AlexNet that repairs begin from. Ctrl-C keeps the last finished epoch."""
    path = output or baseline_weights(dataset, data_root)
    if path.is_file() and not force and not dry_run:
        raise ToolError(f"{path} exists and was kept; --force replaces it, --output writes elsewhere.")
    from helpers.images.input_spec import USUAL, spec_with
    from model_classes.training import train_alexnet

    if input_size is not None and resize is None and preprocessing is None:
        resize = round(input_size * PART)
    made = spec_with(USUAL, preprocessing, (input_size, resize), (mean, std)).preprocessing
    chosen = choose_device(device)
    if dry_run:
        from edits.forecast import listed
        from helpers.files.outputs import possible_output

        possible_output(path)

        told = forecast(dataset, data_root, path, epochs=epochs, device=chosen, preprocessing=made)
        if as_json:
            print_json(told)
        else:
            print(listed(told))
        return
    baseline = train_alexnet(
        dataset, path, data_root=data_root, epochs=epochs, seed=seed, device=chosen, preprocessing=made
    )
    if as_json:
        print_json(asdict(baseline))
    else:
        print(in_words(baseline))


def forecast(
    dataset: DatasetName,
    data_root: Path | None,
    path: Path,
    *,
    epochs: int | None,
    device: torch.device,
    preprocessing: Preprocessing,
) -> dict[str, str]:
    """What a training would make, from what, and about how long that takes, for people, in words."""
    from edits.forecast import DECODED, SIZES, made_first
    from helpers.images.datasets import counted, is_decoded
    from helpers.images.input_spec import InputSpec
    from model_classes.training import PLANS, seconds_on

    usual, plan = SIZES[dataset], PLANS[dataset]
    tests, training = counted(dataset, data_root) or usual
    is_there = is_decoded(dataset, data_root, InputSpec(preprocessing))
    missing = {} if is_there else {"the images, downloaded if need be and decoded": DECODED * (tests + training)}
    passes = epochs or plan.epochs
    share = passes / plan.epochs * training / usual[1] * preprocessing.times_larger
    told = made_first(missing, seconds_on(plan, device) * share)
    if device.type != "cpu":
        told["time"] = f"not known on {device}"
    return {
        "images": f"{training:,} training images, {tests:,} test images",
        "inputs": preprocessing.described,
        "epochs": f"{passes} on {device}",
        "weights": f"{path}{', which is there: --force replaces it' if path.is_file() else ''}",
        **told,
    }


def choose_device(name: str) -> torch.device:
    """``auto`` or a device of torch's.

    Raises:
        UsageError: torch knows no such device, or cannot use it here.
    """
    import torch

    from model_classes.training import usual_device

    if name == "auto":
        return usual_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"--device {name} cannot be used here; cpu always can.") from error
    return device


def in_words(baseline: Baseline) -> str:
    """The result in one line."""
    accuracy = f"{baseline.test_accuracy:.2%} of the test images right"
    return f"{baseline.weights}: {accuracy} after {baseline.epochs} epochs, {baseline.seconds:.0f} s"


if __name__ == "__main__":
    app()
