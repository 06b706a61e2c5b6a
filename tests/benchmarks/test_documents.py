"""The page of figures: its sections run what they name, and a command that fails leaves no page."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import documents
from benchmarks.documents import SECTIONS, Section, page
from helpers.errors import ToolError
from tests.conftest import CHECKOUT


def test_a_section_runs_its_commands_and_shows_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.py").write_text("print('| a |\\n| --- |\\n| 1 |')\n")
    monkeypatch.setattr(documents, "CHECKOUT", tmp_path)
    text = page((Section("A table", "Of one number.", ("table.py",)),))
    assert "## A table\n\nOf one number.\n\n```bash\nuv run python table.py\n```\n\n| a |\n| --- |\n| 1 |\n" in text
    assert "commit " in text and " cores, torch " in text


def test_a_command_that_fails_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(documents, "CHECKOUT", tmp_path)
    monkeypatch.setattr(documents, "SECTIONS", (Section("A table", "Of nothing.", ("broken.py",)),))
    told = CliRunner().invoke(documents.app, [])
    assert told.exit_code == ToolError.exit_code and "exit code 3" in told.stderr
    assert not (tmp_path / "docs").exists()


def test_every_section_names_scripts_that_are_there_and_tables_that_its_commands_write() -> None:
    for section in SECTIONS:
        for command in section.commands:
            script = command.split()[0]
            assert script == "-m" or (CHECKOUT / script).is_file()
        for table in section.tables:
            assert any(f"--output {table}" in command for command in section.commands)
