"""The page of repairs upon repairs is run from its first command to its last."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import verify
from helpers.cli import DatasetName
from helpers.evaluation import predict_logits
from helpers.images.datasets import load_dataset
from model_classes.alexnet import load_alexnet
from tests.conftest import CHECKOUT, with_cache

PAGE = (CHECKOUT / "docs/next_repair.md").read_text()
# Commands, and programs: one of both is empty.
STEPS = re.findall(r"^uv run python (.+)$|^```python\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)


@pytest.mark.slow
def test_every_command_of_the_page_runs(
    tmp_path_factory: pytest.TempPathFactory, warm_cache: Path, digits_baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_cache(tmp_path_factory.mktemp("next"), warm_cache)
    (folder / "artifacts").mkdir()
    for suffix in (".pth", ".json"):
        (folder / f"artifacts/alexnet_base_digits{suffix}").symlink_to(digits_baseline.with_suffix(suffix))
    with contextlib.chdir(folder):
        test = load_dataset(DatasetName.DIGITS, "test")
        predicted = predict_logits(load_alexnet(digits_baseline), test).argmax(dim=1).numpy()
        # Which digits are taken wrongly for others depends on the machine that trained the network.
        taken = str(predicted[predicted != test.labels][0])
        for command, program in STEPS:
            script, *words = shlex.split(command.replace("--predicted-class 8", f"--predicted-class {taken}")) or [""]
            if program:
                exec(program, {})
            elif script == "verify.py":
                monkeypatch.setattr(sys, "argv", [script, *words])
                assert verify.main() == 0, command
            else:
                result = CliRunner().invoke(importlib.import_module(Path(script).stem).app, words)
                assert result.exit_code == 0, f"{command}\n{result.output}"
        before, first, base = (
            Path(f"artifacts/{name}.pth").read_bytes() for name in ("before", "first", "alexnet_base_digits")
        )
        assert before == first != base == Path("artifacts/at_first.pth").read_bytes()
        assert list(Path("results").rglob("sequence.png"))
