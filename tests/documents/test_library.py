"""The page about the library: its code runs from a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT, with_cache


def test_its_code_runs_from_any_folder(digits_baseline: Path, warm_cache: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/library.md").read_text(), re.DOTALL)
    (with_cache(tmp_path, warm_cache) / "artifacts").mkdir()
    for name in ("alexnet_base_digits.pth", "alexnet_base_digits.json"):
        if (digits_baseline.parent / name).exists():
            (tmp_path / "artifacts" / name).symlink_to(digits_baseline.parent / name)
    (tmp_path / "my_repairs.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "my_repairs.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "points, of all test images" in done.stdout
