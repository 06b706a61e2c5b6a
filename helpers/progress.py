"""What is going on, for those who wait: a line that ticks on a terminal, elsewhere a line for each phase, and a log.

`shown` begins it, for one command. Where nobody did, as in a sweep's workers, phases and loops say nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from helpers.errors import ToolError, UsageError
from helpers.start import STDERR, silence

TICK = 0.5  # seconds
SHORT = 0.005  # seconds of a phase that nobody wants to hear of
ESTIMATED = 1.0  # seconds of a loop from which the rest is told
SILENT = 4.5  # seconds after which a line says that it goes on: with a tick, nothing is silent for more than five
PHASES = {
    "load": "the network and the test images",
    "edit set": "the images to repair",
    "activations": "what the last layer gets from the test images",
    "program": "the network on the edit images",
    "ordinary images": "what must not set detectors off",
    "prepare": "detectors of the edit images",
    "metric": "how much ordinary images feel a change",
    "solve": "the least change",
    "write and verify": "the forward pass, and the weights",
    "evaluate": "the answers to the test images",
    "generalization": "the network on copies of the edit images",
    "certify": "the proof, and the checker's look at it",
}


@dataclass(eq=False)
class Steps:
    """A phase, or a loop of so many steps; None where nobody knows how many."""

    name: str
    total: int | None = None
    unit: str = ""
    done: int = 0
    detail: str = ""
    began: float = field(default_factory=time.monotonic)
    told: bool = False  # whether a line said how long it takes
    expected: float | None = None  # seconds, where that is known before

    def update(self, count: int = 1) -> None:
        """So many more steps are done."""
        self.done += count

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes, at the pace so far or as was expected; None where nobody can tell."""
        if self.total and self.done:
            return self.seconds * (self.total / self.done - 1)
        return self.expected - self.seconds if self.expected and self.expected > self.seconds else None


class Teller:
    """Who tells, where, and how much."""

    def __init__(self, quiet: bool = False, verbose: bool = False, log: TextIO | None = None) -> None:
        self.quiet, self.verbose, self.log = quiet, verbose, log
        self.running: list[Steps] = []
        self._whole = Steps("starting")  # all that a command does which takes long; at first it imports
        self._is_long = False
        self._phases: set[str] = set()  # that a line was about
        self._drawn = 0  # signs of the line that ticks
        self._spoke = time.monotonic()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def line(self, text: str, *, on_screen: bool = True) -> None:
        """A whole line: for the log, and for the screen unless it is not for that."""
        with self._lock:
            self._spoke = time.monotonic()
            if self.log is not None:
                with contextlib.suppress(OSError):  # a disk that is full now: the work is worth more
                    self.log.write(_timed(text))
            if on_screen:
                self._clear()
                _write(f"{text}\n")

    def progress(self, text: str) -> None:
        """A line for those who see no line that ticks."""
        self.line(text, on_screen=not self.quiet and not _is_terminal())

    def begin_phase(self, name: str, expected: float | None = None) -> Steps:
        """A phase begins: a line says it once, with an estimate where there is one, and none within a loop."""
        if name not in self._phases and not any(other.total for other in self.running):
            self._phases.add(name)
            text = f"{name}: {PHASES[name]}" if name in PHASES else name
            self.progress(f"{text}, {duration(expected)}" if expected and expected >= ESTIMATED else text)
        self.begin(steps := Steps(name, expected=expected))
        return steps

    def end_phase(self, steps: Steps) -> None:
        """It is over; its seconds are for those who asked for more."""
        self.end(steps)
        if self.verbose and steps.seconds >= SHORT:
            self.line(f"{steps.name}: {steps.seconds:.2f} s")

    def begin(self, steps: Steps) -> None:
        """Something begins, perhaps within something else."""
        with self._lock:
            self._whole.name = "at work"
            self.running = [*self.running, steps]
        self._draw()

    def end(self, steps: Steps) -> None:
        """It is over, however it ended."""
        with self._lock:
            self.running = [other for other in self.running if other is not steps]
            if not self.running:
                self._clear()

    def start(self, long: bool) -> None:
        """Look after what is running, now and then; of long work also while nothing that has a name is running."""
        self._is_long = long
        self._ticker.start()

    def stop(self) -> None:
        """Leave a clean line."""
        self._ended.set()
        self._ticker.join()
        self._clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Tell nothing while somebody is asked."""
        with self._lock:
            self._clear()
            yield

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            with self._lock:
                if running := self._shown:
                    self._speak(running[0] if running[0].total else running[-1])
                    self._draw()

    @property
    def _shown(self) -> list[Steps]:
        """What is running, from the outermost on; where nothing is, the whole of long work."""
        return self.running or [self._whole] * self._is_long

    def _speak(self, steps: Steps) -> None:
        """Say how long a loop takes once that can be seen, and later that something still goes on."""
        estimate = steps.left
        if steps.total and estimate is not None and not steps.told and steps.seconds >= ESTIMATED:
            steps.told = True
            self.progress(f"{steps.name}: {steps.total:,} {plural(steps.unit)}, {duration(steps.seconds + estimate)}")
        elif time.monotonic() - self._spoke >= SILENT:
            count = f", {steps.done:,} of {steps.total:,}" if steps.total and steps.done else ""
            rest = "" if estimate is None else f"{count}, {duration(estimate)} left"
            self.progress(f"{steps.name}: {steps.seconds:.0f} s so far{rest}")

    def _draw(self) -> None:
        """The line that ticks: the outermost of what is running, and the innermost."""
        if self.quiet or not _is_terminal():
            return
        with self._lock:
            width = _width()
            text = _meters(self._shown, width)[:width]
            _write(f"\r{text.ljust(self._drawn)}")
            self._drawn = len(text)

    def _clear(self) -> None:
        if self._drawn:
            _write(f"\r{' ' * self._drawn}\r")
            self._drawn = 0


class _Current:
    """Who tells in this process; None where nobody does."""

    teller: Teller | None = None


@contextlib.contextmanager
def shown(
    quiet: bool = False, verbose: bool = False, log: Path | None = None, command: str = "", *, long: bool = False
) -> Iterator[None]:
    """Tell, until the block ends, what goes on.

    Args:
        quiet: only errors.
        verbose: the seconds of each phase.
        log: the same lines go there, too, with their times.
        command: what was typed, for the log.
        long: whether the work takes long.

    Raises:
        UsageError: quiet and verbose.
        ToolError: the log cannot be written.
    """
    if quiet and verbose:
        raise UsageError("--quiet tells nothing and --verbose more: give one of them.")
    with contextlib.ExitStack() as stack:
        teller = Teller(quiet, verbose, None if log is None else stack.enter_context(_opened(log, command)))
        before, _Current.teller = _Current.teller, teller
        teller.start(long)
        try:
            yield
        finally:
            teller.stop()
            _Current.teller = before


def _opened(log: Path, command: str) -> TextIO:
    try:
        with contextlib.ExitStack() as closing:
            stream = closing.enter_context(log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1))
            stream.write(_timed(command))
            closing.pop_all()
    except OSError as error:
        raise ToolError(f"Cannot write the log {log}: {error.strerror}. Name another file.") from error
    return stream


def _timed(text: str) -> str:
    return f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}\n"


@contextlib.contextmanager
def phase(name: str, expected: float | None = None) -> Iterator[None]:
    """Tell that a phase goes on until the block ends, and how many seconds that takes where they are known."""
    teller = _Current.teller
    if teller is None:
        yield
        return
    steps = teller.begin_phase(name, expected)
    try:
        yield
    finally:
        teller.end_phase(steps)


@contextlib.contextmanager
def loop(name: str, total: int | None, unit: str) -> Iterator[Steps]:
    """Tell how far a loop is, until the block ends; each step calls `Steps.update`."""
    steps, teller = Steps(name, total, unit), _Current.teller
    if teller is None:
        yield steps
        return
    teller.begin(steps)
    try:
        yield steps
    finally:
        teller.end(steps)


def parts(count: int, size: int, name: str) -> Iterator[slice]:
    """``count`` things, ``size`` at a time, and how far that is, unless it is done in one go."""
    with loop(name, count, "image") if count > size else contextlib.nullcontext(Steps(name)) as steps:
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            yield part
            steps.update(part.stop - part.start)


def note(line: str) -> None:
    """A line for people on standard error; nowhere if it is to be quiet, lost where that is closed."""
    teller = _Current.teller
    if teller is None:
        _write(f"{line}\n")
    else:
        teller.line(line, on_screen=not teller.quiet)


def paused() -> contextlib.AbstractContextManager[None]:
    """No line ticks until the block ends, for somebody is to answer a question."""
    return contextlib.nullcontext() if _Current.teller is None else _Current.teller.paused()


def complaint(line: str) -> None:
    """The same of an error, which is told in any case."""
    teller = _Current.teller
    if teller is None:
        _write(f"{line}\n")
    else:
        teller.line(line)


def progress(line: str) -> None:
    """A line for those who see no line that ticks, and for the log."""
    if _Current.teller is not None:
        _Current.teller.progress(line)


def duration(seconds: float) -> str:
    """``about 40 seconds``, ``about a minute``, ``about 16 minutes``, ``about 3 hours``."""
    if seconds < 55:
        amount = max(5 * round(seconds / 5), 1) if seconds >= 8 else max(round(seconds), 1)
        return f"about {amount} second{'s' * (amount > 1)}"
    minutes = round(seconds / 60)
    if minutes < 90:
        return "about a minute" if minutes == 1 else f"about {minutes} minutes"
    return f"about {round(seconds / 3600)} hours"


def plural(unit: str) -> str:
    """``images``, ``batches``."""
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"


def _meters(running: list[Steps], width: int) -> str:
    if not running:
        return ""
    first, last = running[0], running[-1]
    outer = "" if first is last else f"{_counted(first)} | "
    if not last.total:
        return f"{outer}{_counted(last)} [{time.strftime('%M:%S', time.gmtime(last.seconds))}]"
    from tqdm import tqdm  # noqa: PLC0415 - --help answers at once

    told = f" {last.detail}" if last.detail else ""
    room = max(width - len(outer) - len(told), 20)
    meter = tqdm.format_meter(last.done, last.total, last.seconds, ncols=room, prefix=last.name, unit=last.unit)
    return f"{outer}{meter}{told}"


def _counted(steps: Steps) -> str:
    count = f" {steps.done}/{steps.total}" if steps.total else f" {steps.done}" if steps.done else ""
    return f"{steps.name}{count}{f' {steps.detail}' if steps.detail else ''}"


def _is_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _width() -> int:
    try:
        columns = os.get_terminal_size(STDERR).columns
    except OSError:
        columns = 0
    return (columns or 80) - 1


def _write(text: str) -> None:
    if sys.stderr is not None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            silence(STDERR)
