"""A few of the kills that ``python -m tests.kills`` makes by the hundred."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.kills import KINDS


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
