"""The formats: how a network is written in each, and how what was written is run, without torch's own modules."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.errors import ToolError

Run = Callable[[Tensor], Tensor]
NOTES = "alexnet-repair.json"  # of a TorchScript archive
INPUT, OUTPUT, BATCH = "images", "logits", "batch"
NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class Format:
    """One way to write a network.

    Attributes:
        suffix: of its files, added to the stem of the weights' name.
        check: raises `ToolError` where a package is missing.
        write: a network in evaluation mode, inputs of the shape that it is for, what is to be known of it, and a file.
        load: a file that was written -> what it computes, float32 (n, 3, S, S) -> (n, C).
    """

    suffix: str
    check: Callable[[], None]
    write: Callable[[nn.Module, Tensor, Mapping[str, Any], Path], None]
    load: Callable[[Path], Run]


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401, PLC0415  an optional extra
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise ToolError(f"ONNX needs the project's extra, {error.name} is missing: uv sync --extra onnx.") from error


def _write_onnx(model: nn.Module, inputs: Tensor, notes: Mapping[str, Any], file: Path) -> None:
    """By torch's exporter, all in one file; what is to be known is its metadata, texts as they are, others as JSON."""
    import onnx  # noqa: PLC0415

    with _quiet():
        program = torch.onnx.export(
            model,
            (inputs,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    written = program.model_proto
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}
    onnx.helper.set_model_props(written, texts)
    file.write_bytes(written.SerializeToString())


def _load_onnx(file: Path) -> Run:
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _write_torchscript(model: nn.Module, _: Tensor, notes: Mapping[str, Any], file: Path) -> None:
    """What is to be known of it is an extra file of the archive, JSON."""
    with _quiet():
        scripted: Any = torch.jit.script(model)
        content: bytes = scripted.save_to_buffer(_extra_files={NOTES: json.dumps(dict(notes))})
    file.write_bytes(content)  # torch itself ends the process where the disk is full


def _load_torchscript(file: Path) -> Run:
    reading: Any = torch.jit.load
    with _quiet():
        network = reading(file, map_location="cpu")

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(images)
        return logits

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what torch's exporters say of their own future."""
    levels = {name: logging.getLogger(name).level for name in NOISY}
    try:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


FORMATS = {
    "onnx": Format(".onnx", _check_onnx, _write_onnx, _load_onnx),
    "torchscript": Format("_torchscript.pt", lambda: None, _write_torchscript, _load_torchscript),
}
