"""Names that options had before this release: they still work, and a line says what they are called now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import typer

from helpers.cli import say
from helpers.spaced_lists import SpacedLists


class OldNames(SpacedLists):
    """A command that understands old names of its options; see `knowing`."""

    former: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put today's names in the place of old ones, and say so on standard error."""
        current, used = renamed(args, self.former)
        for old in used:
            new = self.former[old]
            option, former = new.partition(" ")[0], old.partition(" ")[0]
            if option != former and option in {argument.partition("=")[0] for argument in args}:
                raise typer.BadParameter(f"{old} is the old name of {new}: give one of them.", ctx)
            say(f"note: {old} is called {new} now; the old name works until the next release.")
        return super().parse_args(ctx, current)


def knowing(former: Mapping[str, str]) -> type[OldNames]:
    """The kind of a command with old names.

    Args:
        former: today's name of each old one: ``{"--output-file": "--output"}``, or with the value that has another
            name, ``{"--pattern held": "--pattern fixed"}``, perhaps of another option.
    """

    class Knowing(OldNames):
        """A command with these."""

    Knowing.former = former
    return Knowing


def renamed(arguments: Sequence[str], former: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Arguments with today's names, and the old names that were among them, once each.

    What follows ``--`` is no option.
    """
    made, used = list[str](), list[str]()
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        known = (name, f"{name} {value}", f"{made[-1]} {argument}" if made else "")
        old = next((old for old in known if old in former), None)
        if old is None:
            made.append(argument)
            continue
        used.append(old)
        new, _, other = former[old].partition(" ")
        if old == known[2]:
            made[-1:] = [new, other]
        else:
            made.append(f"{new}{equals}{other or value}")
    return [*made, *arguments[end:]], list(dict.fromkeys(used))
