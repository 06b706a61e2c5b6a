"""Random programs against independent ones, each kind from one generator and judged by one oracle.

The suite runs a short form; the long one is ``python -m tests.properties --kind fixed-pattern --count 500``.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import hypothesis
import typer
from hypothesis.strategies import SearchStrategy

Outcome = Literal["solved", "refuted", "unknown", "wrong"]
SEED = 0
KINDS = {
    "fixed-pattern": "tests.sytorch.hidden_layer.oracle",
    "last-layer": "tests.sytorch.last_layer.oracle",
}  # modules, each of which has a KIND


@dataclass(frozen=True)
class Verdict:
    """What came of a program: solved or refuted, both as it should be; the solver does not know; or a wrong answer."""

    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of programs.

    Attributes:
        cases: generates them.
        judge: has one solved and compares the answer with what is computed apart.
    """

    cases: SearchStrategy[Any]
    judge: Callable[[Any], Verdict]


def kind_named(name: str) -> Kind:
    """The kind of that name."""
    kind = importlib.import_module(KINDS[name]).KIND
    assert isinstance(kind, Kind)
    return kind


def tally(kind: Kind, count: int, seed: int = SEED, tell: Callable[[str], object] = lambda _: None) -> Counter[Outcome]:
    """How many of so many random programs had each outcome; unknown and wrong ones are told."""
    found: Counter[Outcome] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(kind.cases)
    def each(case: object) -> None:
        verdict = kind.judge(case)
        found[verdict.outcome] += 1
        if verdict.outcome in ("unknown", "wrong"):
            tell(f"{verdict.outcome}: {case!r}: {verdict.why}")

    each()
    return found


def main(
    kind: Annotated[str, typer.Option(help=f"One of: {', '.join(KINDS)}.")],
    count: Annotated[int, typer.Option(min=1, help="How many programs.")] = 500,
    seed: Annotated[int, typer.Option(help="Same seed, same programs.")] = SEED,
) -> None:
    """Solve random programs, compare each with an independent answer, and print how many had which outcome."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of: {', '.join(KINDS)}.", param_hint="--kind")
    found = tally(kind_named(kind), count, seed, functools.partial(typer.echo, err=True))
    outcomes: tuple[Outcome, ...] = ("solved", "refuted", "unknown", "wrong")
    typer.echo(json.dumps({"kind": kind, "seed": seed} | {outcome: found[outcome] for outcome in outcomes}))
    raise typer.Exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    typer.run(importlib.import_module("tests.properties").main)  # whose classes are those that kinds are made of
