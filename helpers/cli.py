"""What every script of the command line shares: its options, and how its failures are told."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from helpers import progress
from helpers.errors import ToolError
from helpers.images.source import Split
from helpers.start import CLOSED, INTERRUPTED, ROOT, STDOUT, interruptible, is_script, leave, silence
from helpers.text import printable

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

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
InputSizeOption = Annotated[int | None, typer.Option(help="Side of the inputs, in pixels: CenterCrop.")]
ResizeOption = Annotated[int | None, typer.Option(help="What a picture's shorter side is resized to before: Resize.")]
MeanOption = Annotated[
    tuple[float, float, float] | None, typer.Option(help="Of red, green and blue in [0, 1]: Normalize.")
]
StdOption = Annotated[tuple[float, float, float] | None, typer.Option(help="The same, standard deviations.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be made, from what, and about how long; write nothing.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Tell nothing but errors and the result.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Tell each phase with its seconds.")]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="Append what is told to a file, with times.", metavar="FILE")
]


class Versioned:
    """A command, or a group of them, with ``--version``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        asking = typer.Typer(add_completion=False)
        asking.command()(_asks_for_version)
        [option] = typer.main.get_command(asking).params
        option.expose_value = False
        vars(self)["params"].append(option)


PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "it is no whole number",
    "Input should be a valid number, unable to parse string as a number": "it is no number",
}


class Command(Versioned, TyperCommand):
    """A command with ``--version``, which says in plain words what is wrong with a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `typer.core.TyperCommand.parse_args`."""
        try:
            return super().parse_args(ctx, list(_commas(args, self.params)))
        except typer.BadParameter as error:
            told = error.message.removeprefix("Value error, ")
            error.message = PLAIN.get(told.rstrip("."), told)
            raise


def _commas(arguments: list[str], options: Sequence[Any]) -> Iterator[str]:
    """``--mean 0.5,0.4,0.3`` -> ``--mean 0.5 0.4 0.3`` of an option that takes so many values.

    Raises:
        BadParameter: an option follows too soon.
    """
    wanted = {name: option.nargs for option in options if option.nargs > 1 for name in option.opts}
    apart = (
        [name, values] if equals and name in wanted else [argument]
        for argument in arguments
        for name, equals, values in [argument.partition("=")]
    )
    arguments = [part for parts in apart for part in parts]
    for place, argument in enumerate(arguments):
        name = arguments[place - 1] if place else ""
        parts = [part.strip() for part in argument.split(",")]
        yield from parts if len(parts) == wanted.get(name) else [argument]
        values = arguments[place + 1 : place + 1 + wanted.get(argument, 0)]
        if any(value.startswith("--") for value in values) and "," not in values[0]:
            raise typer.BadParameter(f"{argument} needs {wanted[argument]} values.")


class Commands(Versioned, TyperGroup):
    """A script of several commands, with ``--version``."""


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(version())
        raise typer.Exit


def _asks_for_version(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Its option is every command's."""


def version() -> str:
    """``alexnet-repair 0.1.0 (8033b04)``: of the project, and the commit where it is a checkout."""
    project = tomllib.loads(Path(ROOT, "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = f"{project['name']} {project['version']}"
    if not Path(ROOT, ".git").exists():
        return told
    try:
        asked = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude", "*"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return told
    return f"{told} ({found.stdout.strip()})"


class App(typer.Typer):
    """A typer application that also tells when what it prints by itself, as with ``--help``, cannot be written."""

    def command(self, *args: Any, cls: type[TyperCommand] | None = None, **kwargs: Any) -> Callable[[F], F]:
        """See `typer.Typer.command`; every command has ``--version``."""
        return super().command(*args, cls=cls or Command, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; a script ends here."""
        try:
            try:
                return super().__call__(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except OSError as error:
            status = tell_os_error(error)
        except SystemExit as ended:
            if not (ended.code is None or isinstance(ended.code, int)):
                raise
            status = ended.code or 0
        if is_script(getattr(sys.modules["__main__"], "__file__", None)):
            leave(status)
        sys.exit(status)


def new_app(help_text: str) -> App:
    """A typer application whose errors are plain sentences, in a pipe as on a terminal."""
    return App(
        cls=Commands,
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def tells_failures(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `ToolError` into one sentence on standard error and its exit code, Ctrl-C into 130.

    So is what the system says: a disk that is full, a result that cannot be printed. Bugs keep their tracebacks.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        asked: dict[str, Any] = {name: kwargs.pop(name) for name in _HOW_MUCH if name in kwargs}
        with contextlib.ExitStack() as telling:  # which is still there when the failure is told
            try:
                with interruptible():
                    telling.enter_context(progress.shown(**asked, command=command_line(), long=bool(asked)))
                    result = command(*args, **kwargs)
                    sys.stdout.flush()
                return result
            except ToolError as error:
                progress.complaint(f"error: {printable(str(error))}")
                raise typer.Exit(error.exit_code) from error
            except KeyboardInterrupt:
                progress.complaint("interrupted: nothing was half written")
                raise typer.Exit(INTERRUPTED) from None
            except OSError as error:
                raise typer.Exit(tell_os_error(error)) from error

    return wrapped


def works_long(command: Callable[P, R]) -> Callable[P, R]:
    """Give a command that `tells_failures` the options which say how much it tells of its work."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    _sign(
        command,
        [*own, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **told) for name, told in _HOW_MUCH.items())],
    )
    return command


_HOW_MUCH: dict[str, dict[str, Any]] = {
    "quiet": {"annotation": QuietOption, "default": False},
    "verbose": {"annotation": VerboseOption, "default": False},
    "log": {"annotation": LogOption, "default": None},
}


def _sign(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Let typer see these parameters."""
    signature = inspect.Signature(parameters)
    vars(function).update(__signature__=signature)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


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
        progress.complaint(f"error: Cannot print the result: {reason}. Files that were written are whole.")
    else:
        progress.complaint(f"error: Cannot use {error.filename}: {reason}.")
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

        _sign(wrapped, [*own, *shared])
        return wrapped

    return decorate


def say(line: str) -> None:
    """One line for people, on standard error, so that standard output stays a result; see `progress.note`."""
    progress.note(line)


@functools.cache
def say_once(line: str) -> None:
    """`say` what is true of a whole run, however many of its repairs come upon it."""
    say(line)


def command_line() -> str:
    """The command that is running, as one could type it again; bytes that are no text are escapes."""
    return printable(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=2, allow_nan=False))
