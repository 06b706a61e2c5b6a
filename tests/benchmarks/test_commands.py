"""What whole commands take: real commands on the digits, and what the tables say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import commands
from benchmarks.commands import Command, table


def _command(seconds: float, drawdown: float, **phases: float) -> Command:
    report = {"edit_set_size": 1000, "drawdown_points": drawdown, "generalization_after": 0.875, "outside_wrong": 1525}
    return Command(
        {**report, "outside_mended": 2, "outside_broken": 1, "peak_memory_mb": 2048.4, "seconds": phases}, seconds
    )


def test_figures_are_means_of_the_commands_and_phases_add_up() -> None:
    found = {
        ("1000", "near"): [_command(20.0, -0.02, solve=3.0, load=0.01), _command(22.0, 0.02, solve=5.0, load=0.01)],
        ("all", "exact"): [_command(30.0, 0.01, certify=4.0)],
    }
    costs, times = table(found).split("\n\n")
    assert costs.splitlines()[2:] == [
        "| 1,000 | near | 2 | 0.00 ± 0.03 | 87.5 ± 0.0 | 2.0 of 1,525 | 1.0 | 21.0 ± 1.4 | 2,048 |",
        "| 1,000 | exact | 1 | 0.01 | 87.5 | 2.0 of 1,525 | 1.0 | 30.0 | 2,048 |",
    ]
    assert times.splitlines()[0] == "| images | reach | solve | certify | the rest |"
    assert times.strip().splitlines()[2:] == [
        "| 1,000 | near | 4.00 | 0.00 | 16.99 |",
        "| 1,000 | exact | 0.00 | 4.00 | 26.00 |",
    ]


@pytest.mark.usefixtures("warm_workplace")
def test_the_digits_are_repaired_by_commands(digits_baseline: Path) -> None:
    told = ["--dataset", "digits", "--weights", str(digits_baseline), "--sizes", "3", "--seeds", "1"]
    done = CliRunner().invoke(commands.app, [*told, "--reaches", "exact"])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("| 3 | exact | 1 |")).split(" | ")
    assert float(row[7]) > 1 and float(row[8].rstrip(" |").replace(",", "")) > 500
    for wrong in (["--sizes", "0"], ["--reaches", "far"]):
        assert CliRunner().invoke(commands.app, [*told[:4], *wrong]).exit_code == 2
