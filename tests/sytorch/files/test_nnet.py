"""The text format of collision avoidance networks: read, normalised, repaired, written with only the repair changed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from torch import nn

import sytorch

SIZES = (5, 8, 8, 5)
HEAD = """\
// Neural Network File Format by somebody, 2016
// a second comment, with 1, 2 numbers
3,5,5,8,
5,8,8,5,
0,
0.0,-3.141593,-3.141593,100.0,0.0,
60760.0,3.141593,3.141593,1200.0,1200.0,
1.9791091e+04,0.0,0.0,650.0,600.0,7.5188840201005975,
60261.0,6.28318530718,6.28318530718,1100.0,1200.0,373.94992,
"""


def text(seed: int = 0, sizes: tuple[int, ...] = SIZES) -> str:
    """A network of random weights with six digits, as such files have them."""
    rng, lines = np.random.default_rng(seed), list[str]()
    for given_, units in itertools.pairwise(sizes):
        lines += ["".join(f"{value:.5e}," for value in row) for row in rng.normal(size=(units, given_))]
        lines += [f"{value:.5e}," for value in rng.normal(size=units)]
    return HEAD + "\n".join(lines) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acas.nnet"
    path.write_text(text())
    return path


def by_hand(content: str, quantities: list[float]) -> list[float]:
    """The format's own evaluation, number by number (NNet's ``evaluate_network``)."""
    lines = [line for line in content.splitlines() if not line.startswith("//")]
    rows = [[float(number) for number in line.rstrip(",").split(",")] for line in lines]
    sizes, (low, high, mean, span), rest = [int(size) for size in rows[1]], rows[3:7], rows[7:]
    values = [(min(max(value, low[i]), high[i]) - mean[i]) / span[i] for i, value in enumerate(quantities)]
    for layer, units in enumerate(sizes[1:]):
        weights, biases, rest = rest[:units], rest[units : 2 * units], rest[2 * units :]
        values = [
            sum(w * v for w, v in zip(row, values, strict=True)) + bias[0]
            for row, bias in zip(weights, biases, strict=True)
        ]
        if layer < len(sizes) - 2:
            values = [max(value, 0.0) for value in values]
    return [value * span[-1] + mean[-1] for value in values]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.integers(0, 1000), some.lists(some.floats(-1e5, 1e5), min_size=5, max_size=5))
def test_the_outputs_are_those_of_the_formats_own_evaluation(file: Path, seed: int, quantities: list[float]) -> None:
    file.write_text(text(seed))
    nnet = sytorch.read_nnet(file, torch.float64)
    given_ = torch.tensor([quantities], dtype=torch.float64)
    found = nnet.quantities(nnet.network(nnet.inputs(given_)))[0]
    assert found.tolist() == pytest.approx(by_hand(file.read_text(), quantities), rel=1e-9, abs=1e-6)


def test_what_a_file_says_is_there(file: Path) -> None:
    nnet = sytorch.read_nnet(file)
    assert nnet.comments[1] == "a second comment, with 1, 2 numbers"
    kinds = [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in nnet.network] == kinds and sytorch.chain_of(nnet.network).repairable == (
        "0",
        "2",
        "4",
    )
    assert (nnet.output_mean, nnet.output_range) == (7.5188840201005975, 373.94992)
    beyond = torch.tensor([[1e9, -9.0, 0.0, 0.0, 600.0]])
    assert nnet.inputs(beyond).dtype == torch.float32
    expected = [(60760.0 - 19791.091) / 60261.0, -3.141593 / 6.28318530718, 0.0, -550 / 1100, 0.0]
    assert nnet.inputs(beyond)[0].tolist() == pytest.approx(expected)


def test_a_repair_changes_the_lines_of_its_units_and_nothing_else(file: Path, tmp_path: Path) -> None:
    """Output 0 is to be the greatest of four points, by one unit of the last layer: a row and a bias change."""
    nnet, written = sytorch.read_nnet(file), tmp_path / "repaired.nnet"
    rng = np.random.default_rng(0)
    low, high = nnet.minimums.numpy(), nnet.maximums.numpy()
    points, ordinary = (nnet.inputs(torch.from_numpy(rng.uniform(low, high, (n, 5)))) for n in (4, 200))
    labels, margin = torch.zeros(4, dtype=torch.int64), 2.0 / nnet.output_range
    metric = sytorch.kronecker_metric(nnet.network, "4", lambda: [ordinary], 200)
    view = sytorch.linearise(nnet.network, "4[0:1]", points)
    change = sytorch.fixed_pattern_program(view, labels, margin, metric, bound=50.0).solve().change
    state = nnet.network.state_dict()
    state["4.weight"] += torch.from_numpy(change[:, :-1])
    state["4.bias"] += torch.from_numpy(change[:, -1])
    sytorch.write_nnet(nnet.network, file, written)
    pairs = list(zip(file.read_text().splitlines(), written.read_text().splitlines(), strict=True))
    first_row, first_bias = len(pairs) - 10, len(pairs) - 5
    assert [place for place, (old, new) in enumerate(pairs) if old != new] == [first_row, first_bias]
    again = sytorch.read_nnet(written)
    assert all(
        torch.equal(again.network.state_dict()[name], value) for name, value in nnet.network.state_dict().items()
    )
    quantities = again.quantities(again.network(points))
    assert ((quantities[:, :1] - quantities[:, 1:]).amin(dim=1) > 2.0 - 1e-3).all()


def test_without_a_change_the_file_is_the_same(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    sytorch.write_nnet(sytorch.read_nnet(file).network, file, tmp_path / "same.nnet")
    assert (tmp_path / "same.nnet").read_bytes() == file.read_bytes()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.floats(width=32, allow_nan=False, allow_infinity=False), some.booleans())
def test_every_number_comes_back(file: Path, value: float, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    nnet = sytorch.read_nnet(file, dtype)
    nnet.network.state_dict()["2.weight"][3, 4] = value / 3 if double else value
    sytorch.write_nnet(nnet.network, file, file.with_name("one.nnet"))
    again = sytorch.read_nnet(file.with_name("one.nnet"), dtype).network.state_dict()["2.weight"]
    assert torch.equal(again, nnet.network.state_dict()["2.weight"])


def _lines(change: Callable[[list[str]], object]) -> Callable[[str], str]:
    def changed(content: str) -> str:
        lines = content.splitlines()
        change(lines)
        return "\n".join(lines)

    return changed


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: "", "it ends before line 1 (numbers of layers"),
        (lambda content: content[: len(content) // 2], "line"),
        (lambda content: content.replace("3,5,5,8,", "3,5,5,"), "line 3 (numbers of layers, inputs and outputs"),
        (lambda content: content.replace("3,5,5,8,", "3,4,5,8,"), "it has 4 inputs and 5 outputs"),
        (lambda content: content.replace("5,8,8,5,", "5,8,8.5,5,"), "line 4 (sizes of the layers) is to hold positive"),
        (lambda content: content.replace("60760.0", "many"), "line 7 (maximums of the inputs) holds something"),
        (lambda content: content.replace("60760.0", "nan"), "line 7 (maximums of the inputs) is to hold 5 finite"),
        (lambda content: content.replace("60261.0", "0.0"), "a range is not positive"),
        (lambda content: content.replace("60760.0", "-1.0"), "a minimum is above its maximum"),
        (_lines(lambda lines: lines.pop()), "it ends before line"),
        (_lines(lambda lines: lines.append("1.0,")), "comes behind the last bias"),
    ],
)
def test_damaged_files_are_told_by_their_line(file: Path, damage: Callable[[str], str], said: str) -> None:
    file.write_text(damage(file.read_text()))
    with pytest.raises(sytorch.FileError, match=re.escape(said)) as failure:
        sytorch.read_nnet(file)
    assert str(failure.value).startswith(f"{file} is no .nnet file, or damaged: ") and "\n" not in str(failure.value)


def test_what_is_no_text_and_what_is_another_network_are_refused(file: Path, tmp_path: Path) -> None:
    network = sytorch.read_nnet(file).network
    network.append(nn.Linear(5, 5))
    with pytest.raises(sytorch.FileError, match="The module is not that of"):
        sytorch.write_nnet(network, file, file)
    (tmp_path / "bytes.nnet").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(sytorch.FileError, match="it is no text"):
        sytorch.read_nnet(tmp_path / "bytes.nnet")
