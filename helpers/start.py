"""The first import of every script: what Ctrl-C does while the others are imported, and streams that can be written to.

Only the standard library is imported here. In a process that is none of this project's scripts nothing happens.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is not loaded yet
FOLDERS = ("benchmarks", "tools")
STDOUT, STDERR = 1, 2
INTERRUPTED = 130
SOON = 0.02  # seconds
IMPORTER = "<frozen importlib._bootstrap>"
YOUNG = 7_000  # objects; Python's 700 would look through all of torch's four times while it is imported
CLOSED: set[int] = set()  # the streams that were closed when the script began


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` within, where there may be something to tidy up.

    But not where the script itself imports: nothing is open there. Where others import, it is raised when they have.
    """
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, _raise_or_end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def silence(descriptor: int) -> None:
    """Let what a stream still holds go nowhere, so that its end is no second failure."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _end(*_: object) -> None:
    """Ctrl-C where nothing is open: not by an exception, which some imports would swallow or make another of."""
    with contextlib.suppress(OSError):
        over = b"\r\x1b[K" if os.isatty(STDERR) else b""  # a line that ticks
        os.write(STDERR, over + b"interrupted: nothing was half written\n")
    os._exit(INTERRUPTED)


def _raise_or_end(number: int, frame: FrameType | None) -> None:
    if _script_imports(frame):
        _end()
    if _imports(frame):  # some imports would swallow the exception, or make another of it
        threading.Timer(SOON, signal.pthread_kill, (threading.get_ident(), number)).start()  # in this thread, the main
        return
    signal.default_int_handler(number, frame)


def _script_imports(frame: FrameType | None) -> bool:
    """Whether the script's own code, of all that is running, waits for an import."""
    caller = None
    while frame is not None and frame.f_globals.get("__name__") != "__main__":
        caller, frame = frame, frame.f_back
    return frame is not None and caller is not None and caller.f_code.co_filename == IMPORTER


def _imports(frame: FrameType | None) -> bool:
    """Whether anything that is running waits for an import."""
    while frame is not None and frame.f_code.co_filename != IMPORTER:
        frame = frame.f_back
    return frame is not None


def _open_streams() -> None:
    """Take the places of closed streams, which the next files would get; what is printed there still fails.

    Signs that an encoding lacks are written as escapes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            CLOSED.add(descriptor)
            place = os.open(os.devnull, os.O_WRONLY if descriptor == STDERR else os.O_RDONLY)
            if place != descriptor:
                os.dup2(place, descriptor)
                os.close(place)
    sys.stdout = sys.stdout or open(STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(STDERR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_script(file: str | None) -> bool:
    """Whether a process whose main file this is runs a script: one of the top level, or one in or below `FOLDERS`."""
    if file is None:
        return False
    folder, root = os.path.dirname(os.path.realpath(file)), os.path.realpath(ROOT)  # noqa: PTH120
    return folder == root or any(f"{folder}{os.sep}".startswith(f"{root}{os.sep}{name}{os.sep}") for name in FOLDERS)


def leave(status: int) -> NoReturn:
    """End the process as Python would, but do not take all that was imported apart, which costs torch a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does first
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def begin() -> None:
    """Open closed streams, and let Ctrl-C end the process without a traceback until `interruptible`."""
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")  # arrays are used a few times each: a tenth of a repair
    _open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _end)


if is_script(getattr(sys.modules["__main__"], "__file__", None)):
    begin()
