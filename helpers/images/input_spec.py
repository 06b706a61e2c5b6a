"""What belongs to weights besides their numbers: how pictures become inputs, and which class each output is.

A small JSON file beside the weights remembers it, ``net.pth`` -> ``net_preprocessing.json``. Where there is none, the
preprocessing is `CIFAR` and the classes are in the order of the images' source.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.errors import ToolError, UsageError
from helpers.files.outputs import preprocessing_path
from helpers.files.publishing import settle
from helpers.files.writing import read_json, write_json
from helpers.images.preprocessing import CIFAR, PRESETS, Channels, Preprocessing, preprocessing_from
from helpers.tables import printable


@dataclass(frozen=True)
class InputSpec:
    """How pictures become inputs of a network, and what its outputs mean.

    Attributes:
        preprocessing: of pictures.
        classes: the class of each output; None for the order of the images' source.
    """

    preprocessing: Preprocessing = CIFAR
    classes: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """As the file beside the weights says it."""
        return {**self.preprocessing.as_json(), "classes": None if self.classes is None else list(self.classes)}

    def hash_of(self, content_hash: str) -> str:
        """The hash of images that are prepared so, from that of their pixels: what a network gets has one name.

        The usual preprocessing has the hash of the pixels, and so the names of all files that were ever made with it.
        """
        if self == InputSpec():
            return content_hash
        return hashlib.sha256(json.dumps([content_hash, self.as_json()]).encode()).hexdigest()


USUAL = InputSpec()


def spec_of(weights: Path) -> InputSpec:
    """What is remembered beside weights; the usual where there is no such file.

    Raises:
        ToolError: the file is damaged, or says something impossible.
    """
    settle(weights)
    return spec_there(weights)


def spec_there(weights: Path) -> InputSpec:
    """The same for those who only read: nothing that a killed process left is put into its place first."""
    for path in (preprocessing_path(weights), preprocessing_path(weights.resolve())):  # weights may be a link
        if path.exists():
            return _read(path)
    return USUAL


def _read(path: Path) -> InputSpec:
    try:
        return spec_from(read_json(path))
    except UsageError as error:
        raise ToolError(f"{path} does not say how images are prepared: {error} Remove it, or make it again.") from error


def spec_from(content: Any) -> InputSpec:
    """What `InputSpec.as_json` has written, perhaps without classes; raises `UsageError` for anything else."""
    if not isinstance(content, dict):
        raise UsageError("It holds no JSON object.")
    classes = content.get("classes")
    made = preprocessing_from({name: value for name, value in content.items() if name != "classes"})
    return InputSpec(made, None if classes is None else checked_classes(classes))


def spec_with(
    spec: InputSpec,
    preset: str | None = None,
    sizes: tuple[int | None, int | None] = (None, None),
    normal: tuple[Channels | None, Channels | None] = (None, None),
    classes: Path | None = None,
) -> InputSpec:
    """A specification with what options say; None leaves a thing as it was.

    Args:
        spec: what is remembered.
        preset: one of `PRESETS`.
        sizes: of the input, and to resize to; where no preset says otherwise, pictures are not squeezed then.
        normal: mean and standard deviation.
        classes: a file of their names.

    Raises:
        UsageError: the options fit no preprocessing, or the file names no classes.
        ToolError: the file cannot be read.
    """
    made = spec.preprocessing if preset is None else PRESETS[preset]
    given = dict(zip(("input_size", "resize", "mean", "std"), (*sizes, *normal), strict=True))
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if preset is None and sizes != (None, None):
        changed["squeezed"] = False
    return InputSpec(replace(made, **changed), spec.classes if classes is None else read_classes(classes))


def checked_classes(names: Any) -> tuple[str, ...]:
    """The names of the classes in the order of the outputs; raises `UsageError` where that is no list of names."""
    if not (isinstance(names, list) and len(names) >= 2 and all(isinstance(name, str) and name for name in names)):
        raise UsageError("The classes are a list of two names or more.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"The class {min(twice)!r} is there twice.")
    return tuple(names)


def read_classes(path: Path) -> tuple[str, ...]:
    """The classes of a text file, one name a line.

    Raises:
        ToolError: the file cannot be read.
        UsageError: it names fewer than two classes, or one twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ToolError(f"Cannot read the classes {path}: {reason}.") from error
    try:
        return checked_classes([printable(line.strip()) for line in lines if line.strip()])
    except UsageError as error:
        raise UsageError(f"--classes {path}: {error} Give one name a line.") from error


def keep_spec(spec: InputSpec, weights: Path, place: Path | None = None) -> None:
    """Write the file beside weights; the usual needs none, and one that is there is removed.

    Args:
        spec: what is remembered.
        weights: the weights' file.
        place: where the file is written, if not beside them.
    """
    path = place or preprocessing_path(weights)
    if spec == USUAL:
        path.unlink(missing_ok=True)
    else:
        write_json(path, spec.as_json())
