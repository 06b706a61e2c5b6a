"""Kills runs at random moments, and looks at what they leave: ``python -m tests.kills --kind sweep --count 500``.

A run is a fork of this process, which has imported and loaded everything, so that most of its time is the work. It is
ended by SIGKILL or SIGINT; then its outputs are checked, and the next run goes on with what is there. What a run
completes is compared with what an undisturbed run made, and begun anew.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from helpers.start import begin
from tests.kill_repairs import RepairVictim
from tests.kill_sweeps import SweepVictim

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LONGEST = 300.0


class Victim(Protocol):
    """A run that may be killed at any moment, in the folder that is the current one."""

    def warm_up(self) -> None:
        """Load what every run needs, without threads and without solving: forks inherit neither."""

    def run(self) -> int:
        """Do all of the work that is not done yet, in a child; the exit code."""

    def keep_reference(self) -> None:
        """Remember what an undisturbed run has made."""

    def check(self) -> None:
        """After a kill: raise `AssertionError` unless each output is wholly old or wholly new and nothing is lost."""

    def check_complete(self) -> None:
        """After a run that ended by itself: raise `AssertionError` unless all is as the undisturbed run made it."""

    def begin_anew(self) -> None:
        """Remove the outputs."""


# By name: from a baseline of the digits to a victim.
KINDS: dict[str, Callable[[Path], Victim]] = {"repair": RepairVictim, "sweep": SweepVictim}


def start(victim: Victim) -> int:
    """Fork a run that Ctrl-C reaches; its process id. What it says goes to ``run.log``."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if child := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return child
    code = 1
    try:  # what the parent cleans up in its end is not the child's, wherever Ctrl-C meets it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        begin()  # Ctrl-C does what it does to a script
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        log = os.open("run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = victim.run()
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """The exit code of a child, negative for a signal; None while it runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def undisturbed(victim: Victim) -> tuple[int, float]:
    """Exit code and seconds of a run that nobody kills, whose outputs become the reference."""
    begun = time.monotonic()
    code = ended(start(victim), LONGEST)
    assert code is not None, "the undisturbed run does not end"
    seconds = time.monotonic() - begun
    victim.keep_reference()
    victim.begin_anew()
    return code, seconds


def kill(victim: Victim, count: int, seed: int) -> Counter[str]:
    """Kill so many runs; raises `AssertionError` where something is lost. How many ended in which way."""
    rng, tally = random.Random(seed), Counter[str]()
    usual, seconds = undisturbed(victim)
    while tally["SIGKILL"] + tally["SIGINT"] < count:
        child, how = start(victim), rng.choice((signal.SIGKILL, signal.SIGINT))
        code = ended(child, rng.uniform(0, seconds))
        if code is None:
            os.kill(child, how)
            code = ended(child, LONGEST)
        if code is None:
            os.kill(child, signal.SIGKILL)
        assert code is not None, f"a run does not end after {how.name}: {Path('run.log').read_text()}"
        victim.check()
        if code in (-signal.SIGKILL, 130):
            tally[how.name] += 1
            if (done := tally["SIGKILL"] + tally["SIGINT"]) % 50 == 0:
                print(f"{done} of {count} killed, nothing lost", file=sys.stderr, flush=True)
            continue
        assert code == usual, f"a run ended with {code}: {Path('run.log').read_text()}"
        victim.check_complete()
        victim.begin_anew()
        tally["complete"] += 1
    assert ended(start(victim), LONGEST) == usual, Path("run.log").read_text()
    victim.check_complete()
    return tally


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments, and check what they leave.")
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--count", type=int, default=100, help="how many kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--baseline", type=Path, help="weights of the digits; trained anew if not given")
    asked = parser.parse_args()
    if not ONE_THREAD.items() <= os.environ.items():  # read when libraries are loaded, and forks have no threads
        os.execve(sys.executable, [sys.executable, "-m", "tests.kills", *sys.argv[1:]], {**os.environ, **ONE_THREAD})
    baseline = None if asked.baseline is None else asked.baseline.absolute()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, contextlib.chdir(folder):
        victim = KINDS[asked.kind](_trained() if baseline is None else baseline)
        victim.warm_up()
        tally = kill(victim, asked.count, asked.seed)
    told = ", ".join(f"{number} {what}" for what, number in sorted(tally.items()))
    print(f"{asked.kind}: {told}; nothing torn, doubled or lost")


def _trained() -> Path:
    from helpers.cli import DatasetName
    from model_classes.training import train_alexnet

    path = Path("baseline.pth").absolute()
    train_alexnet(DatasetName.DIGITS, path, epochs=2)
    return path


if __name__ == "__main__":
    main()
