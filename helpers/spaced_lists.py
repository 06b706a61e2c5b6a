"""Lists on the command line with spaces or commas, ``--sizes 10 50,100``, as well as by repeating the option."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import typer

from helpers.cli import Command


class SpacedLists(Command):
    """A command whose options for lists take every value up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the name of a list's option before each of its values, which is what typer understands."""
        lists = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        given = list(repeated(args, lists))
        try:
            return super().parse_args(ctx, list(given))  # which empties its list
        except typer.BadParameter as error:
            names = set(getattr(error.param, "opts", ()))
            values = [value for name, value in itertools.pairwise(given) if name in names]
            if values:
                error.message = f"{error.message.rstrip('.')} (given: {' '.join(values)})."
            raise


def repeated(arguments: list[str], lists: Collection[str]) -> Iterator[str]:
    """``--sizes 10 50,70 --seed 1`` -> ``--sizes 10 --sizes 50 --sizes 70 --seed 1`` for the options in ``lists``."""
    current: str | None = None
    values = 0
    for argument in itertools.chain.from_iterable(_apart(argument, lists) for argument in arguments):
        if _is_value(argument) and current is not None:
            for value in filter(None, argument.split(",")):
                if values:
                    yield current
                values += 1
                yield value
        else:
            current, values = (argument if argument in lists else None), 0
            yield argument


def _apart(argument: str, lists: Collection[str]) -> list[str]:
    """``--sizes=10,50`` -> ``--sizes 10,50`` of a list."""
    name, equals, values = argument.partition("=")
    return [name, values] if equals and name in lists else [argument]


def _is_value(argument: str) -> bool:
    return not argument.startswith("-") or argument[1:2].isdigit() or argument[1:2] == "."
