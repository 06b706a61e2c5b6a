"""The files of a baseline: its weights, and a record of how they came to be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.cli import say
from helpers.errors import ToolError
from helpers.files.outputs import report_path
from helpers.files.writing import read_json, write_json
from helpers.images.input_spec import USUAL, InputSpec, keep_spec
from model_classes.epochs import Epoch
from model_classes.weight_files import save_weights
from model_classes.weights import read_weights, weights_hash


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What is known of a training before it begins.

    Attributes:
        dataset: the images' name.
        dataset_hash: the content hash of the training images.
        seed: of everything random.
        device: where it runs.
        planned_epochs: those asked for.
    """

    dataset: str
    dataset_hash: str
    seed: int
    device: str
    planned_epochs: int


@dataclass(frozen=True, kw_only=True)
class Baseline(TrainingRun):
    """What was saved; also the JSON file beside the weights.

    Attributes:
        weights: the file.
        weights_hash: `model_classes.weights.weights_hash` of its content.
        epochs: those finished; fewer than planned after Ctrl-C.
        test_accuracy: 0 to 1.
        train_accuracy: in the last epoch, on augmented images and with dropout, 0 to 1.
        test_accuracies: after each epoch.
        seconds: from the first batch on.
    """

    weights: str
    weights_hash: str
    epochs: int
    test_accuracy: float
    train_accuracy: float
    test_accuracies: tuple[float, ...]
    seconds: float


def save_baseline(epoch: Epoch, run: TrainingRun, output: Path, spec: InputSpec = USUAL) -> Baseline:
    """Write the weights after an epoch, their record and their input specification, each whole or not at all.

    A line says so.

    Raises:
        ToolError: a file cannot be written.
    """
    baseline = Baseline(
        **asdict(run),
        weights=str(output),
        weights_hash=weights_hash(epoch.weights),
        epochs=epoch.number,
        test_accuracy=epoch.test_accuracies[-1],
        train_accuracy=epoch.train_accuracy,
        test_accuracies=epoch.test_accuracies,
        seconds=round(epoch.seconds, 2),
    )
    save_weights(epoch.weights, output)
    keep_spec(spec, output)
    write_json(report_path(output), asdict(baseline))
    _tell(baseline)
    return baseline


def was_interrupted(weights: Path) -> bool:
    """Whether the record beside these very weights says that epochs are missing; without a record, no."""
    try:
        record = read_json(report_path(weights))
        if record["epochs"] >= record["planned_epochs"]:
            return False
        return bool(weights_hash(read_weights(weights)) == record["weights_hash"])
    except (ToolError, KeyError, TypeError):
        return False


def _tell(saved: Baseline) -> None:
    progress = f"epoch {saved.epochs} of {saved.planned_epochs}, {saved.seconds:.0f} s"
    accuracy = f"{saved.test_accuracy:.1%} of the test images right"
    say(f"{progress}: {accuracy}; saved in {saved.weights}")
