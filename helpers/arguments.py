"""Arguments before typer reads them: lists with spaces or commas, ``--sizes 10 50,100``, and names from before.

Old names of options still work for a release, and a line says what they are called now.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import typer

from helpers.cli import Command, say

END = "\0"  # of the arguments; no shell hands that over


class SpacedLists(Command):
    """A command whose options for lists take every value up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the name of a list's option before each of its values, which is what typer understands."""
        several = [option for option in self.params if getattr(option, "multiple", False)]
        files = {name for option in several if option.metavar == "PATH" for name in option.opts}
        has_arguments = any(not name.startswith("-") for option in self.params for name in option.opts)
        lists = {name for option in several for name in option.opts} - (files if has_arguments else set())
        given = list(repeated(args, lists, files))
        try:
            return super().parse_args(ctx, list(given))  # which empties its list
        except typer.BadParameter as error:
            names = set(getattr(error.param, "opts", ()))
            values = [value for name, value in itertools.pairwise(given) if name in names]
            if values:
                error.message = f"{error.message.rstrip('.')} (given: {' '.join(values)})."
            raise


def repeated(arguments: Sequence[str], lists: Collection[str], files: Collection[str] = ()) -> Iterator[str]:
    """``--sizes 10 50,70 --seed 1`` -> ``--sizes 10 --sizes 50 --sizes 70 --seed 1`` for the options in ``lists``.

    Names of files, of which some options are lists, may have commas.

    Raises:
        BadParameter: a list is empty.
    """
    current: str | None = None
    values = 0
    for argument in itertools.chain(itertools.chain.from_iterable(_apart(one, lists) for one in arguments), [END]):
        if argument != END and _is_value(argument) and current is not None:
            for value in filter(None, [argument] if current in files else map(str.strip, argument.split(","))):
                if values:
                    yield current
                values += 1
                yield value
            continue
        if current is not None and not values:
            raise typer.BadParameter(f"{current} needs a value.")
        current, values = (argument if argument in lists else None), 0
        if argument != END:
            yield argument


def _apart(argument: str, lists: Collection[str]) -> list[str]:
    """``--sizes=10,50`` -> ``--sizes 10,50`` of a list."""
    name, equals, values = argument.partition("=")
    return [name, values] if equals and name in lists else [argument]


def _is_value(argument: str) -> bool:
    return not argument.startswith("-") or argument[1:2].isdigit() or argument[1:2] == "."


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
