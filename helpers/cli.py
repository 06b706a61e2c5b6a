"""What every script of the command line shares: its options, and how its failures are told."""

from __future__ import annotations

import errno
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
from helpers.images.source import Split
from helpers.start import CLOSED, INTERRUPTED, STDERR, STDOUT, interruptible, silence
from helpers.text import printable

P = ParamSpec("P")
R = TypeVar("R")

BROKEN_PIPE = 141
REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}


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
SplitOption = Annotated[Split, typer.Option("--split", help="Images of the test split, or of the training split.")]
PredictedClassOption = Annotated[
    str | None,
    typer.Option("--predicted-class", help="Only images that the network takes for this class. [default: any]"),
]
DisputedOption = Annotated[
    Path | None,
    typer.Option(
        "--exclude-disputed",
        metavar="FILE",
        help="Numbers of test images whose labels people dispute, one a line: drawdown is told with and without them.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


class App(typer.Typer):
    """A typer application that also tells when what it prints by itself, as with ``--help``, cannot be written."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        try:
            try:
                return super().__call__(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except OSError as error:
            sys.exit(tell_os_error(error))


def new_app(help_text: str) -> App:
    """A typer application whose errors are plain sentences, in a pipe as on a terminal."""
    return App(
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def tells_failures(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `ToolError` into one sentence on standard error and its exit code, Ctrl-C into 130.

    So is what the system says: a disk that is full, a result that cannot be printed. Bugs keep their tracebacks.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with interruptible():
                result = command(*args, **kwargs)
                sys.stdout.flush()
            return result
        except ToolError as error:
            say(f"error: {printable(str(error))}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            say("interrupted: nothing was half written")
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            raise typer.Exit(tell_os_error(error)) from error

    return wrapped


def tell_os_error(error: OSError) -> int:
    """Say what the system refused, and return the exit code.

    Raises:
        OSError: ``error``, where it may well be a bug.
    """
    if isinstance(error, BrokenPipeError):
        silence(STDOUT)
        return BROKEN_PIPE
    is_closed = error.errno == errno.EBADF and STDOUT in CLOSED
    if not is_closed and error.errno not in REFUSALS:
        raise error
    reason = "standard output is closed" if is_closed else error.strerror
    if error.filename is None:  # files that are written have names
        silence(STDOUT)
        say(f"error: Cannot print the result: {reason}. Files that were written are whole.")
    else:
        say(f"error: Cannot use {error.filename}: {reason}.")
    return ToolError.exit_code


def shared_options(reader: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give several commands the options of one function.

    The decorated command gets, as its first argument, what ``reader`` makes of its own options; the command line shows
    the command's other parameters, then the reader's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        shared = list(inspect.signature(reader, eval_str=True).parameters.values())

        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = {parameter.name: values.pop(parameter.name) for parameter in own}
            command(reader(**values), **given)

        signature = inspect.Signature([*own, *shared])
        vars(wrapped).update(__signature__=signature)
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
        return wrapped

    return decorate


def say(line: str) -> None:
    """One line for people, on standard error, so that standard output stays a result; lost where that is closed."""
    if sys.stderr is not None:  # else `print` would take standard output
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            silence(STDERR)


def command_line() -> str:
    """The command that is running, as one could type it again; bytes that are no text are escapes."""
    return printable(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=2, allow_nan=False))
