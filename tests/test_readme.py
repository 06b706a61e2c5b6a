"""The documents' commands exist with all their options, and their links lead somewhere."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import CHECKOUT

DOCUMENTS = [path for path in (CHECKOUT / "README.md", CHECKOUT / "ARCHITECTURE.md") if path.exists()]
COMMANDS = re.findall(r"^uv run python (.+)$", (CHECKOUT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    script, *arguments = shlex.split(command)
    options = [word for word in arguments if word.startswith("--")]
    shown = _help(script.removesuffix(".py"), [word for word in arguments if not word.startswith("-")][:1])
    for option in options:
        assert re.search(rf"{option}\b", shown), f"{script} has no {option}"


def _help(script: str, words: list[str]) -> str:
    app = getattr(importlib.import_module(script), "app", None)
    if app is None:  # the checker, which knows no typer
        asked = [sys.executable, str(CHECKOUT / f"{script}.py"), "--help"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    group = hasattr(typer.main.get_command(app), "commands")
    shown = CliRunner().invoke(app, [*(words if group else []), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    return shown.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_readme_and_ci_run_the_same_commands() -> None:
    ci = (CHECKOUT / ".ci/run").read_text()
    readme = (CHECKOUT / "README.md").read_text()
    tests = ("uv run pytest", "uv run pytest -m slow")
    for command in ("uv run python run_repair.py misclassified --dataset digits", *tests):
        assert command in ci and command in readme
