"""What every script of the command line shares: its options, and how its failures are told."""

from __future__ import annotations

import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from helpers.errors import ToolError

P = ParamSpec("P")
R = TypeVar("R")


class DatasetName(StrEnum):
    """Where images come from."""

    CIFAR10 = "cifar10"
    DIGITS = "digits"


DatasetOption = Annotated[
    DatasetName, typer.Option("--dataset", help="Images: CIFAR-10, or the bundled digits (offline).")
]
DataRootOption = Annotated[
    Path | None,
    typer.Option("--data-root", help="An image folder {train,test}/<class>/* to use instead of data/cifar10."),
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Weights of the AlexNet. [default: artifacts/alexnet_base.pth]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def new_app(help_text: str) -> typer.Typer:
    """A typer application whose errors are plain sentences, in a pipe as on a terminal."""
    return typer.Typer(
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def tells_failures(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `ToolError` into one sentence on standard error and its exit code, Ctrl-C into 130."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ToolError as error:
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            say("interrupted: nothing was half written")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(141) from None

    return wrapped


def shared_options(reader: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give several commands the options of one function.

    The decorated command gets, as its last argument, what ``reader`` makes of its own options; the command line shows
    the command's parameters, then the reader's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
        shared = list(inspect.signature(reader, eval_str=True).parameters.values())

        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = {parameter.name: values.pop(parameter.name) for parameter in own}
            command(*given.values(), reader(**values))

        signature = inspect.Signature([*own, *shared])
        vars(wrapped).update(__signature__=signature)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
        return wrapped

    return decorate


def say(line: str) -> None:
    """One line for people, on standard error, so that standard output stays a result."""
    print(line, file=sys.stderr, flush=True)


def command_line() -> str:
    """The command that is running, as one could type it again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=2, allow_nan=False))
