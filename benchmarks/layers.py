"""Repair every layer on the same edit sets, and show what each costs: one table, one command.

Every repair runs in a process of its own, so that its peak memory is its own. The seconds are without those of the
layer's metric, which is computed once for a network and kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from helpers.arguments import knowing
from helpers.cli import new_app

RUN_REPAIR = Path(__file__).parent.parent / "run_repair.py"
LAYERS = tuple(f"features.{i}" for i in (0, 3, 6, 8, 10)) + tuple(f"classifier.{i}" for i in (1, 4, 6))
TITLES = ("images", "layer", "pattern", "status", "edit accuracy", "drawdown", "generalization", "proof", "s", "MB")

app = new_app(__doc__)


@dataclass(frozen=True)
class Case:
    """One repair: how many images, which layer, and whether its patterns are fixed."""

    images: int
    layer: str
    pattern: str

    def run(self, dataset: str, time_limit: float, seed: int) -> tuple[str, ...]:
        """The row of this repair."""
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "repaired.pth"
            asked = {
                "--dataset": dataset, "--max-samples": self.images, "--layer": self.layer, "--pattern": self.pattern,
                "--prepare": "none", "--time-limit": time_limit, "--seed": seed, "--output": output,
            }  # fmt: skip
            words = [str(word) for pair in asked.items() for word in pair]
            done = subprocess.run(
                [sys.executable, str(RUN_REPAIR), "misclassified", *words], capture_output=True, text=True, check=False
            )
            report = output.with_suffix(".json")
            if not report.exists():
                return self._row("failed", "-", "-", "-", done.stderr.strip().splitlines()[-1], "-", "-")
            return self._described(json.loads(report.read_text()))

    def _described(self, report: dict[str, Any]) -> tuple[str, ...]:
        seconds, memory = _without_metric(report["seconds"]), f"{report['peak_memory_mb']:,.0f}"
        if report["status"] != "repaired":
            least = report["smallest_bound"]
            proof = "none" if least is None else f"no bound below {least:.3g} works"
            return self._row(report["status"], "-", "-", "-", proof, seconds, memory)
        proof = "none" if report["gap"] is None else f"gap {report['gap']:.0e}"
        accuracy, after = (
            f"{100 * report['edit_accuracy_after']:.1f} %",
            f"{100 * report['generalization_after']:.1f} %",
        )
        return self._row("repaired", accuracy, f"{report['drawdown_points']:.2f}", after, proof, seconds, memory)

    def _row(self, *rest: str) -> tuple[str, ...]:
        return (str(self.images), self.layer, self.pattern, *rest)


def _without_metric(seconds: dict[str, float]) -> str:
    return f"{sum(spent for phase, spent in seconds.items() if phase != 'metric'):.0f}"


def cases(sizes: list[int], layers: list[str]) -> list[Case]:
    """Both patterns for every hidden layer; the last has no pattern behind it."""
    return [
        Case(size, layer, pattern)
        for size in sizes
        for layer in layers
        for pattern in (("fixed",) if layer == LAYERS[-1] else ("fixed", "relinearise"))
    ]


@app.command(cls=knowing({"--size": "--sizes", "--layer": "--layers"}))
def main(
    sizes: Annotated[list[int], typer.Option(help="Edit images.")] = [10, 50, 100],  # noqa: B006
    layers: Annotated[list[str], typer.Option(help="Which layers.")] = list(LAYERS),  # noqa: B006
    dataset: Annotated[str, typer.Option(help="cifar10 or digits.")] = "cifar10",
    time_limit: Annotated[float, typer.Option(help="Seconds for each program.")] = 300.0,
    seed: Annotated[int, typer.Option(help="Which images.")] = 0,
) -> None:
    """Print the table as Markdown, row by row as repairs end."""
    print("| " + " | ".join(TITLES) + " |\n|" + "---|" * len(TITLES), flush=True)
    for case in cases(sizes, layers):
        print("| " + " | ".join(case.run(dataset, time_limit, seed)) + " |", flush=True)


if __name__ == "__main__":
    app()
