"""The text format ``.nnet`` of collision avoidance networks (Reluplex; Katz et al., CAV 2017), in and out.

Comments, ``//``; the number of layers, inputs, outputs, and the largest layer; the sizes of all layers; a flag that
nobody uses; minimums, maximums, means and ranges of the inputs, the last mean and range being the outputs'; then, layer
by layer, a line of weights for each unit, and a line for each bias. A ReLU is behind every layer but the last.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sytorch.files.stored import Array
from sytorch.files.writing import checked_state, read_file, replace_file
from sytorch.problem.errors import FileError

NUMBER = re.compile(r"[^,\s]+")


@dataclass(frozen=True, eq=False)
class NnetFile:
    """A network of a ``.nnet`` file, and how quantities become its inputs.

    Attributes:
        network: linear layers and ReLUs, in evaluation mode. What it takes, (N, n), and gives, (N, m), is normalised,
            as the weights of the file are. All outputs are scaled by one positive number, so their order is theirs.
        comments: at the head of the file, without ``//``.
        minimums, maximums: of the quantities, float64 (n,); others are clipped to them.
        means, ranges: of the quantities, float64 (n,): an input is ``(quantity - mean) / range``.
        output_mean, output_range: a quantity is ``output * range + mean``; margins are so many times the outputs'.
    """

    network: nn.Sequential
    comments: tuple[str, ...]
    minimums: torch.Tensor
    maximums: torch.Tensor
    means: torch.Tensor
    ranges: torch.Tensor
    output_mean: float
    output_range: float

    def inputs(self, quantities: torch.Tensor) -> torch.Tensor:
        """Quantities, (N, n), as the network takes them: clipped, then normalised, in its floating-point type."""
        clipped = quantities.double().clamp(self.minimums, self.maximums)
        return ((clipped - self.means) / self.ranges).to(next(self.network.parameters()).dtype)

    def quantities(self, outputs: torch.Tensor) -> torch.Tensor:
        """What outputs of the network, (N, m), are in the units of the file, float64."""
        return outputs.double() * self.output_range + self.output_mean


@dataclass
class _Lines:
    """The lines of a file that hold numbers; each is read once, in their order."""

    lines: list[str]
    place: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)

    def numbers(self, what: str, count: int | None) -> Array:
        """The next line's, float64; raises `FileError` unless there are as many as asked, all finite."""
        where = f"line {self.place + 1} ({what})"
        if self.place >= len(self.lines):
            raise FileError(f"it ends before {where}.")
        found = NUMBER.findall(self.lines[self.place])
        try:
            values = np.array([float(text) for text in found])
        except ValueError as error:
            raise FileError(f"{where} holds something that is no number.") from error
        if (count is not None and len(values) != count) or not np.isfinite(values).all():
            raise FileError(f"{where} is to hold {count or 'some'} finite numbers, and has {len(values)}.")
        self.places.setdefault(what, []).append(self.place)
        self.place += 1
        return values

    def sizes(self, what: str, count: int | None) -> list[int]:
        """The next line's, positive whole numbers."""
        values = self.numbers(what, count)
        if (values != values.round()).any() or values.min(initial=1) < 1:
            raise FileError(f"line {self.place} ({what}) is to hold positive whole numbers.")
        return [int(value) for value in values]


def read_nnet(path: str | Path, dtype: torch.dtype = torch.float32) -> NnetFile:
    """A network of the text format ``.nnet``, a chain that every function here takes.

    Args:
        path: the file.
        dtype: of the network; the file's decimal numbers are rounded to it.

    Raises:
        FileError: the file is missing or damaged; the message names the line.
    """
    return _read(Path(path), dtype)[0]


def write_nnet(model: nn.Module, given: str | Path, path: str | Path) -> None:
    """Write a ``.nnet`` file again with the weights of the module that `read_nnet` made of it, repaired since.

    Numbers that did not change stay as they are written, and so does everything else: comments, sizes, normalisation.
    Those that did are written with as many digits as give the same number back.

    Args:
        model: the network of what `read_nnet` has made of ``given``, with other weights.
        given: that file.
        path: where to, perhaps ``given`` itself; the file is whole or not there.

    Raises:
        FileError: the module is not that of the file, or holds NaN or infinity.
    """
    dtype = next(model.parameters()).dtype
    before, lines = _read(Path(given), dtype)
    old = before.network.state_dict()
    state = checked_state(model, old, Path(given))
    for name, tensor in state.items():
        rows = tensor.reshape(len(tensor), -1).numpy()
        for place, row, was in zip(lines.places[name], rows, old[name].reshape(len(tensor), -1).numpy(), strict=True):
            lines.lines[place] = _replaced(lines.lines[place], row, was)
    replace_file(Path(path), "".join(lines.lines).encode())


def _replaced(line: str, row: Array, was: Array) -> str:
    """A line with the numbers that differ."""
    news = iter(zip(row, was, strict=True))

    def number(found: re.Match[str]) -> str:
        new, old = next(news)
        return found[0] if new == old else np.format_float_scientific(new, unique=True, trim="0")

    return NUMBER.sub(number, line)


def _read(path: Path, dtype: torch.dtype) -> tuple[NnetFile, _Lines]:
    try:
        lines = _Lines(read_file(path).decode().splitlines(keepends=True))
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is no .nnet file: it is no text.") from error
    try:
        return _parsed(lines, dtype), lines
    except FileError as error:
        raise FileError(f"{path} is no .nnet file, or damaged: {error}") from error


def _parsed(lines: _Lines, dtype: torch.dtype) -> NnetFile:
    comments = list(itertools.takewhile(lambda line: line.startswith("//"), lines.lines))
    lines.place = len(comments)
    count, inputs, outputs, _ = lines.sizes("numbers of layers, inputs and outputs, largest layer", 4)
    sizes = lines.sizes("sizes of the layers", count + 1)
    if (sizes[0], sizes[-1]) != (inputs, outputs):
        raise FileError(f"its layers are of the sizes {sizes}, and it has {inputs} inputs and {outputs} outputs.")
    lines.numbers("flag", None)
    least, most = (
        torch.from_numpy(lines.numbers(f"{name} of the inputs", inputs)) for name in ("minimums", "maximums")
    )
    means, ranges = (torch.from_numpy(lines.numbers(name, inputs + 1)) for name in ("means", "ranges"))
    if (least > most).any() or (ranges <= 0).any():
        raise FileError("a minimum is above its maximum, or a range is not positive.")
    network = nn.Sequential(*itertools.chain.from_iterable(_layers(lines, sizes, dtype)))
    if any(line.strip() for line in lines.lines[lines.place :]):
        raise FileError(f"line {lines.place + 1} comes behind the last bias.")
    told = tuple(line[2:].strip() for line in comments)
    mean, span = float(means[-1]), float(ranges[-1])
    return NnetFile(network.eval().requires_grad_(False), told, least, most, means[:-1], ranges[:-1], mean, span)


def _layers(lines: _Lines, sizes: list[int], dtype: torch.dtype) -> list[tuple[nn.Module, ...]]:
    """Linear layers, with ReLUs between them; where each number is goes under the name in the network."""
    made: list[tuple[nn.Module, ...]] = []
    for place, (given, units) in enumerate(itertools.pairwise(sizes)):
        weight, bias = f"{2 * place}.weight", f"{2 * place}.bias"
        rows = np.stack([lines.numbers(weight, given) for _ in range(units)])
        constants = np.concatenate([lines.numbers(bias, 1) for _ in range(units)])
        with torch.device("meta"):
            layer = nn.Linear(given, units)
        state = {"weight": torch.from_numpy(rows).to(dtype), "bias": torch.from_numpy(constants).to(dtype)}
        if not all(bool(torch.isfinite(values).all()) for values in state.values()):
            raise FileError(f"a number of layer {place + 1} is larger than {dtype} holds.")
        layer.load_state_dict(state, assign=True)
        made.append((layer,) if place == len(sizes) - 2 else (layer, nn.ReLU()))
    return made
