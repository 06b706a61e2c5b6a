"""Old names of options mean what today's mean, in every script that has some, and a line says what they are now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import analysis
import editset_generator
import experiment_runner
import run_repair
import train
from benchmarks import layers
from helpers.arguments import OldNames, knowing, renamed, repeated
from helpers.cli import new_app, print_json

FORMER = {
    "--output-file": "--output",
    "--pattern held": "--pattern fixed",
    "--copies none": "--reach exact",
    "--margin": "--margins",
}
NEEDED = {
    "experiment_runner": ["--edit-set-sizes", "1", "--edit-set-types", "misclassified"],
    "analysis": ["results/x.csv"],
}
OF_COMMANDS = {"by-class": ["--target-class", "0"], "file": ["x.pt"], "indices": ["3"], "from-files": ["x"]}
VALUES = {
    "--repair-set-sizes": ["2", "4"],
    "--batch-sizes": ["2", "4"],
    "--repair-set-types": ["misclassified", "class_homogeneous_correct"],
    "--param-bound": ["3.5"],
    "--margin": ["1.5"],
    "--output-file": ["results/mine.csv"],
    "--output-dir": ["plots"],
    "--output-name": ["mine"],
    "--size": ["3", "4"],
    "--layer": ["classifier.4", "classifier.6"],
}
SCRIPTS: dict[str, typer.Typer] = {
    "experiment_runner": experiment_runner.app,
    "analysis": analysis.app,
    "editset_generator": editset_generator.app,
    "run_repair": run_repair.app,
    "benchmarks.layers": layers.app,
}


def _commands(app: typer.Typer) -> list[OldNames]:
    command: Any = typer.main.get_command(app)
    return [each for each in getattr(command, "commands", {"": command}).values() if isinstance(each, OldNames)]


EVERY = [
    pytest.param(script, command, old, new, id=f"{script} {command.name} {old}")
    for script, app in SCRIPTS.items()
    for command in _commands(app)
    for old, new in command.former.items()
]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--output-file x", "--output x"),
        ("--output-file=x", "--output=x"),
        ("--pattern held --margin 1 2", "--pattern fixed --margins 1 2"),
        ("--pattern=held", "--pattern=fixed"),
        ("--copies none --margin 1", "--reach exact --margins 1"),
        ("--copies=none", "--reach=exact"),
        ("--pattern relinearise", "--pattern relinearise"),
        ("held -- --output-file", "held -- --output-file"),
    ],
)
def test_old_words_are_put_into_todays(given: str, meant: str) -> None:
    assert renamed(given.split(), FORMER)[0] == meant.split()


@pytest.mark.parametrize(("script", "command", "old", "new"), EVERY)
def test_an_old_name_gives_what_the_new_one_gives(
    script: str, command: OldNames, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [*OF_COMMANDS.get(str(command.name), [])]
    rest += _without(new, NEEDED.get(script, []))
    today, before = (_params(command, [*rest, *name.split(), *VALUES.get(old, [])]) for name in (new, old))
    assert today == before
    note = f"note: {old} is called {new} now; the old name works until the next release.\n"
    assert capsys.readouterr() == ("", note)


def _without(option: str, words: list[str]) -> list[str]:
    """Words without an option and its value."""
    place = words.index(option) if option in words else len(words)
    return words[:place] + words[place + 2 :]


def _params(command: OldNames, words: list[str]) -> dict[str, Any]:
    return dict(command.make_context("script", words).params)


def test_every_old_name_of_the_user_is_there() -> None:
    known = [old for command in _commands(experiment_runner.app) for old in command.former]
    assert {"--repair-set-sizes", "--repair-set-types", "--output-file", "--param-bound", "--margin"} <= set(known)


def test_what_is_printed_stays_json_and_help_tells_todays_names_alone() -> None:
    app = new_app("One command.")

    @app.command(cls=knowing({"--old": "--output"}))
    def main(*, output: Path = Path("y")) -> None:
        print_json({"output": str(output)})

    ended = CliRunner().invoke(app, ["--old", "x"])
    assert (json.loads(ended.stdout), ended.exit_code) == ({"output": "x"}, 0)
    assert ended.stderr == "note: --old is called --output now; the old name works until the next release.\n"
    assert "--old" not in CliRunner().invoke(app, ["--help"]).output


def test_an_old_name_beside_the_new_one_is_refused() -> None:
    words = [*NEEDED["experiment_runner"], "--param-bound", "5", "--param-bounds", "1", "2"]
    ended = CliRunner().invoke(experiment_runner.app, words)
    assert ended.exit_code == 2
    assert "--param-bound is the old name of --param-bounds: give one of them." in ended.stderr


LISTS, FILES = {"--sizes", "--types", "--also"}, {"--also"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--types", "a, b", "c ,d"], ["--types", "a", "--types", "b", "--types", "c", "--types", "d"]),
        (
            ["--also", "x,y.pt", "z.pt", "--sizes", "1,2"],
            ["--also", "x,y.pt", "--also", "z.pt", "--sizes", "1", "--sizes", "2"],
        ),
        (["--sizes", "1", "", "--seed", ""], ["--sizes", "1", "--seed", ""]),
    ],
)
def test_commas_and_blanks_are_of_lists_and_not_of_files(given: list[str], expected: list[str]) -> None:
    assert list(repeated(given, LISTS, FILES)) == expected


@pytest.mark.parametrize("empty", [["--sizes", ""], ["--sizes", ","], ["--sizes"], ["--sizes", " , "]])
@pytest.mark.parametrize("rest", [[], ["--types", "a"], ["--seed", "1"]])
def test_an_empty_list_is_named(empty: list[str], rest: list[str]) -> None:
    """The fault: it took the next option for its value."""
    with pytest.raises(typer.BadParameter, match="--sizes needs a value"):
        list(repeated([*empty, *rest], LISTS, FILES))


@pytest.mark.parametrize(
    ("script", "given", "said"),
    [
        (train, ["--mean", "0.5", "--std", "0.5", "0.5", "0.5"], "--mean needs 3 values"),
        (train, ["--mean", "a,b,c"], "'--mean': it is no number"),
        (experiment_runner, ["--edit-set-sizes", "2.5"], "it is no whole number (given: 2.5)"),
        (run_repair, ["misclassified", "--margin", "abc"], "it is no number (given: abc)"),
        (run_repair, ["file", "--also", "A.pt", "B.pt"], "The edit set file B.pt does not exist"),
        (run_repair, ["misclassified", "--output", ".", "--dry-run"], "cannot be the weights file"),
        (train, ["--output", ".", "--dry-run"], "cannot be the weights file"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_in_plain_words(
    script: Any, given: list[str], said: str, workplace: Path
) -> None:
    result = CliRunner().invoke(script.app, [*given, "--dataset", "digits"])
    assert result.exit_code and said in result.output and not result.output.count("parse"), result.output


def test_numbers_of_channels_may_have_commas(workplace: Path) -> None:
    spaces, commas = (
        CliRunner().invoke(train.app, ["--dataset", "digits", "--dry-run", "--mean", *mean, "--std", "1,1,1"])
        for mean in (["0.5", "0.4", "0.3"], ["0.5,0.4, 0.3"])
    )
    assert spaces.exit_code == 0 and spaces.output == commas.output
