"""Ctrl-C while a solver runs: it ends the solving, and is raised when that has ended, however near the answer was."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


def run_interruptible(solve: Callable[[], object], cancel: Callable[[], object]) -> None:
    """Run a solver's own call in a thread of its own, so that this thread hears Ctrl-C.

    ``highspy``'s own way drops a Ctrl-C that comes when the answer is there, and can wait for ever for a lock that a
    Ctrl-C took it out of.

    Args:
        solve: what takes its time; it is called once.
        cancel: makes ``solve`` return soon; it is called at Ctrl-C, from this thread.

    Raises:
        KeyboardInterrupt: Ctrl-C, after ``solve`` has ended; pressed a third time, at once.
        Exception: what ``solve`` raises.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            solve()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    with hearing(cancel):
        thread.start()
        thread.join()
    if failures:
        raise failures[0]


def take_back() -> None:
    """Hear Ctrl-C again where a library has put a handler of its own into the place of Python's."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is threading.main_thread() and usual is not None:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def hearing(cancel: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C inside calls ``cancel``; what it usually does, it does in the end."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append((number, frame))
        cancel()
        if len(heard) > 2:
            usual(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if heard:
            usual(*heard[0])
