"""The files of one result, weights and what lies beside them: their names, and whether they can be written."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

from helpers.errors import ToolError, UsageError
from helpers.files.places import explained_os_errors, is_no_file, link_target, refuse_unwritable

REPORT = ".json"
OUTCOMES = "_outcomes.pt"
CERTIFICATE = "_certificate.npz"
METRIC = "_metric_"
PREPROCESSING = "_preprocessing.json"
USUAL_SUFFIX = ".pth"
OTHER_SUFFIXES = {".safetensors", ".pt", ".bin", ".ckpt"}


def beside(weights: Path, suffix: str) -> Path:
    """The name of a file that belongs to a weights file; weights of different names share none.

    ``three.pth`` and ``.json`` give ``three.json``; ``three.safetensors`` gives ``three.safetensors.json``, and so
    does every other suffix.
    """
    name = weights.name.removesuffix(USUAL_SUFFIX)
    return weights.with_name((weights.name if Path(name).suffix in OTHER_SUFFIXES else name) + suffix)


def report_path(weights: Path) -> Path:
    """``three.pth`` -> ``three.json``."""
    return beside(weights, REPORT)


def outcomes_path(weights: Path) -> Path:
    """``three.pth`` -> ``three_outcomes.pt``."""
    return beside(weights, OUTCOMES)


def certificate_path(weights: Path) -> Path:
    """``three.pth`` -> ``three_certificate.npz``."""
    return beside(weights, CERTIFICATE)


def preprocessing_path(weights: Path) -> Path:
    """``three.pth`` -> ``three_preprocessing.json``: not for results alone; weights of one's own have it, too."""
    return beside(weights, PREPROCESSING)


def failed_paths(weights: Path) -> tuple[Path, Path, Path]:
    """Where a repair that failed is told: its report, the certificate of a refutation, and the network of that."""
    return beside(weights, "_failed.json"), beside(weights, f"_failed{CERTIFICATE}"), beside(weights, "_failed.pth")


def metric_paths(weights: Path) -> list[Path]:
    """The factors of a metric that are kept beside weights: ``three_metric_inputs_0.npy`` and the like."""
    return [*weights.parent.glob(f"{glob.escape(beside(weights, METRIC).name)}*.npy")]


def files_beside(weights: Path) -> list[Path]:
    """Everything that belongs to weights, whether it is there or not."""
    return [*result_paths(weights)[1:], *metric_paths(weights), preprocessing_path(weights), *failed_paths(weights)]


def result_paths(weights: Path) -> tuple[Path, Path, Path, Path]:
    """The weights, their report, outcomes and certificate."""
    return weights, report_path(weights), outcomes_path(weights), certificate_path(weights)


def writable_output(weights: Path) -> Path:
    """Where a result really goes, tried before the work: each of its files can be written, under its own name.

    A symbolic link is written through: the result is its target. A file with several hard links gets a new one, and
    its other names keep the old content.

    Raises:
        UsageError: ``weights`` is a folder or a device, has the name of another file's report, or shares its report
            with other weights.
        ToolError: the folder cannot be written, a name is too long for it, or a file there is read-only.
    """
    target = possible_output(weights)
    with explained_os_errors(weights):
        target.parent.mkdir(parents=True, exist_ok=True)
    for path in result_paths(target):
        with explained_os_errors(path):
            _try_name(path)
    return target


def possible_output(weights: Path) -> Path:
    """The same as far as it can be told without making anything."""
    with explained_os_errors(weights):
        target = link_target(weights)
        if is_no_file(target) or target.suffix == REPORT or target.name == USUAL_SUFFIX:
            raise UsageError(f"{weights} cannot be the weights file: name a file like artifacts/alexnet.pth.")
        folder = next(place for place in target.absolute().parents if place.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ToolError(f"Cannot write {weights}: {folder} takes no files.")
        _refuse_shared_report(target)
        for path in result_paths(target):
            refuse_unwritable(path)
    return target


def _refuse_shared_report(weights: Path) -> None:
    for other in (weights.with_name(weights.name + USUAL_SUFFIX), weights.with_name(weights.stem)):
        if other != weights and report_path(other) == report_path(weights) and other.is_file():
            raise UsageError(
                f"The report of {weights} would be that of {other}, {report_path(other).name}: name another file."
            )


def _try_name(path: Path) -> None:
    """Make a file of that name in a folder beside, which is removed; look at the file that has the name now."""
    refuse_unwritable(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".trial.") as folder:
        (Path(folder) / path.name).touch()
