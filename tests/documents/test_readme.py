"""The documents' commands exist with all their options, their links lead somewhere, and every option has its line."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edits.record.report import RepairReport
from tests.conftest import CHECKOUT

PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *PAGES]
MENTIONING = [
    path for path in (*DOCUMENTS, *sorted((CHECKOUT / "docs/benchmarks").glob("*.md"))) if path.stem != "history"
]
COMMANDS = sorted(
    command
    for path in (CHECKOUT / "README.md", *PAGES)
    for command in re.findall(r"^uv run python (.+)$", path.read_text(), re.MULTILINE)
)
OPTIONS = dict(
    re.findall(r"^## `(\w+)\.py`\n(.*?)(?=^## |\Z)", (CHECKOUT / "docs/options.md").read_text(), re.M | re.S)
)
SCRIPTS = sorted(path.stem for path in CHECKOUT.glob("*.py"))
OF_EVERY_SCRIPT = {"--help", "--version", "--install-completion", "--show-completion"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    script, *arguments = shlex.split(command)
    options = [word for word in arguments if word.startswith("--")]
    if script == "-m":
        script, *arguments = arguments
    shown = _help(script.removesuffix(".py"), arguments)
    for option in options:
        assert re.search(rf"{option}\b", shown), f"{script} has no {option}"


@pytest.mark.parametrize("path", MENTIONING, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_module_that_a_page_says_to_run_can_be_run(path: Path) -> None:
    """The history is left out, which tells of modules that are no more."""
    for module in re.findall(r"python -m ((?:benchmarks|tests)[\w.]*\w)", path.read_text()):
        file = CHECKOUT / f"{module.replace('.', '/')}.py"
        assert file.is_file() and '__name__ == "__main__"' in file.read_text(), module


def _help(script: str, arguments: list[str]) -> str:
    app = getattr(importlib.import_module(script), "app", None)
    if app is None:  # the checker, which knows no typer
        return _told(script)
    words = [word for word in arguments if not word.startswith("-")][:1]
    group = hasattr(typer.main.get_command(app), "commands")
    shown = CliRunner().invoke(app, [*(words if group else []), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    return shown.stdout


def _told(script: str) -> str:
    """What a script says with ``--help``."""
    asked, environment = [sys.executable, f"{script}.py", "--help"], os.environ | {"COLUMNS": "200"}
    return subprocess.run(asked, capture_output=True, text=True, check=True, cwd=CHECKOUT, env=environment).stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_has_its_line_and_no_other(script: str) -> None:
    documented = re.findall(r"^\| `(--[\w-]+)`", OPTIONS[script], re.MULTILINE)
    assert len(documented) == len(set(documented))
    there = _options_of(script) - OF_EVERY_SCRIPT
    assert not there - set(documented), "not in docs/options.md: " + ", ".join(sorted(there - set(documented)))
    assert not set(documented) - there, f"{script}.py has no " + ", ".join(sorted(set(documented) - there))


def _options_of(script: str) -> set[str]:
    """The options of a script and of its commands, but for those that are hidden: old names."""
    app = getattr(importlib.import_module(script), "app", None)
    if app is None:
        return set(re.findall(r"--[\w-]+", _told(script)))
    command = typer.main.get_command(app)
    commands = [command, *getattr(command, "commands", {}).values()]
    shown = [parameter for each in commands for parameter in each.params if not getattr(parameter, "hidden", False)]
    return {name for parameter in shown for name in parameter.opts if name.startswith("--")}


def test_every_field_of_the_report_has_its_line_and_no_other() -> None:
    (section,) = re.findall(r"^## The report\n(.*?)(?=^## )", (CHECKOUT / "docs/files.md").read_text(), re.M | re.S)
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(field.name for field in fields(RepairReport))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text()):
        if "://" not in target:
            path = document.parent / target if target else document
            assert path.exists(), target
            assert not anchor or anchor in _anchors(path), f"{target}#{anchor}"


def _anchors(document: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_and_ci_run_the_same_commands() -> None:
    ci = (CHECKOUT / ".ci/run").read_text()
    readme = (CHECKOUT / "README.md").read_text()
    tests = ("uv run pytest", "uv run pytest -m slow")
    commands = re.findall(r"^(uv run python .+)$", readme, re.MULTILINE)
    assert len(commands) == 2 and commands[0].startswith("uv run python run_repair.py misclassified")
    for command in (*commands, *tests):
        assert command in ci and command in readme


def test_the_readmes_costs_are_those_of_the_figures() -> None:
    """Drawdown and copies of each row and size, as the table of one run has them."""
    lines = (CHECKOUT / "docs/figures.md").read_text().split("## All misclassified images")[0].splitlines()
    names, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    seen = {
        (row["reach"], row["norm"], row["metric"], row["requested repair set size"]): row
        for row in (dict(zip(names, cells, strict=True)) for cells in rows)
    }
    kinds = [(reach, "l2", "training") for reach in ("near", "exact", "wide")]
    kinds += [("none", "l2", "training"), ("none", "l2", "per-class")]
    table = (CHECKOUT / "README.md").read_text().split("## What it costs")[1].split("| what is done")[1]
    for kind, line in zip(kinds, table.splitlines()[2:], strict=False):
        cells = [cell.strip(" *%") for cell in line.split("|")[2:-1]]
        for size, drawdown, copies in zip(("100", "400", "1000"), cells[::2], cells[1::2], strict=True):
            if drawdown == "-":
                assert (*kind, size) not in seen
                continue
            row, (mean, _, spread) = seen[*kind, size], drawdown.partition(" ± ")
            assert float(mean) == float(row["drawdown mean"]), (kind, size)
            assert spread == (row["drawdown std"] if float(row["drawdown std"]) > 0.03 else ""), (kind, size)
            assert float(copies) == round(float(row["generalization"])), (kind, size)
