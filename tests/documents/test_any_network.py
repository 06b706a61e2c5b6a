"""The page about other networks: its code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from checker.chain import certificate_of
from tests.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/any_network.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
IMPORTS = BLOCKS[0].split("\n\ntorch.manual_seed")[0]
OF_ONNX = [block for block in BLOCKS if "onnx" in block]


def test_the_pages_code_runs(workplace: Path) -> None:
    assert len(BLOCKS) == 12 and BLOCKS[-2:] == OF_ONNX
    exec("\n".join(BLOCKS[:-2]), {})
    assert certificate_of(workplace / "repaired.npz").check().accepted


def test_its_code_for_onnx_runs_behind_the_rest(workplace: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `onnx` is not installed: uv sync --extra onnx")
    reader = next(number for number, block in enumerate(BLOCKS) if "load_digits" in block)
    exec("\n".join([IMPORTS, *BLOCKS[reader:]]), {})
    assert {path.name for path in workplace.iterdir()} == {"reader.onnx", "repaired.onnx"}
