"""A few of the kills that ``python -m tests.kills`` makes by the hundred."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import CHECKOUT
from tests.kills import KINDS, Victim, ended, start


class Failing:
    """A run that ends by an exception, which must not unwind what is the parent's."""

    def run(self) -> int:
        raise RuntimeError("a run that fails")


@pytest.mark.usefixtures("workplace")
def test_a_run_that_fails_ends_as_itself() -> None:
    own = os.getpid()
    try:
        child = start(cast(Victim, Failing()))
    finally:
        if os.getpid() != own:  # the fault that was: the child goes on as if it were the parent
            os._exit(99)
    assert ended(child, 60.0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_is_lost_whenever_a_run_is_killed(kind: str, digits_baseline: Path) -> None:
    asked = ["--kind", kind, "--count", "5", "--seed", "1", "--baseline", str(digits_baseline)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.kills", *asked],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing torn, doubled or lost" in ended.stdout
