"""Result tables in every dialect: read as the same rows by all, gone on with as they are, or refused and untouched."""

from __future__ import annotations

import csv
import fcntl
import io
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import analysis
import experiment_runner
from experiments import leftovers
from experiments.analysis.summary import read_tables, summarise
from experiments.plan import results_folder
from experiments.table.cells import FLAGS, flag, number
from experiments.table.reading import OURS, read_file
from experiments.table.row import CLOSED, COLUMNS, FLAG, LATER, NUMBERS, STATUSES, Row
from experiments.table.values import typed
from experiments.table.writing import open_table
from helpers.errors import ToolError, UsageError
from visualizer.app import create_app

SHARED_CASES = {
    "foreign table": b"name,score\nalice,1\nbob,2\n",
    "notes without a newline": b"notes on the lab meeting, no newline at the end",
    "one letter": b"e",
    "cut off in the header": ",".join(COLUMNS)[:40].encode(),
    "blank lines": b"\n\n  \n",
    "a summary": b"repair_set_type,requested_repair_set_size,experiments,repaired\nmisclassified,2,1,1\n",
    "no text": bytes(range(256)),
    "UTF-16": ",".join(COLUMNS).encode("utf-16"),
    "a column twice": f"{','.join(COLUMNS)},status\n".encode(),
    "a column too few": ",".join(COLUMNS[1:]).encode() + b"\n",
}


def row(number: int = 0, **values: Any) -> Row:
    """A row of a repair that failed, but for the values given."""
    made = Row(
        experiment_id=f"misclassified_n{number}_s0_0123456789ab",
        timestamp="2026-11-27T02:39:03+00:00",
        repair_set_type="misclassified",
        repair_set_focus="incorrect_only",
        requested_repair_set_size=number,
        edit_set_sizing_strategy="flexible",
        target_class=None,
        param_bound=5.0,
        margin=2.0,
        baseline_model_path="artifacts/alexnet_base.pth",
        seed=0,
        layer="classifier.6",
        norm="l1",
        metric="training",
        baseline_weights_hash="ab" * 32,
        prepare="none",
        dataset="digits",
    )
    return replace(made, **values)


def write(path: Path, rows: list[Row]) -> None:
    """A table of ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_table(path) as table:
        table.begin()
        for made in rows:
            table.put(made)


# Any table, in any dialect

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from(",;\t\"'\n\r =|\udcff"), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLES = st.integers(0, 2**53 - 1)


def _values(name: str, kind: str) -> st.SearchStrategy[Any]:
    if name in CLOSED:
        return st.sampled_from(CLOSED[name])
    of_kind = {"int": WHOLES, "float": FLOATS, "bool": st.booleans(), "str": TEXTS}[kind.removesuffix(" | None")]
    return of_kind | st.none() if "None" in kind else of_kind


ROWS = st.builds(Row, **{field.name: _values(field.name, str(field.type)) for field in fields(Row)})
TABLES = st.lists(ROWS, max_size=4).map(
    lambda rows: [replace(made, experiment_id=f"e{place}") for place, made in enumerate(rows)]
)


@dataclass(frozen=True)
class Saved:
    """How a spreadsheet saves a table."""

    delimiter: str
    newline: str
    bom: bool
    quoting: Any
    decimal: str
    flags: tuple[str, str]
    order: tuple[str, ...]
    last_newline: bool

    def save(self, rows: list[Row]) -> bytes:
        """The bytes of the file, written without any of the code that reads it."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, delimiter=self.delimiter, lineterminator=self.newline, quoting=self.quoting)
        writer.writerow(self.order)
        writer.writerows([self.cell(getattr(made, name, "mine")) for name in self.order] for made in rows)
        text = stream.getvalue()
        text = text if self.last_newline else text.removesuffix(self.newline)
        return text.encode("utf-8-sig" if self.bom else "utf-8")

    def cell(self, value: Any) -> str:
        """As a spreadsheet shows it: whole numbers without a fraction, E for powers of ten."""
        if isinstance(value, bool):
            return self.flags[0] if value else self.flags[1]
        if isinstance(value, float):
            told = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value).upper()
            return told.replace(".", self.decimal)
        told = " ".join("" if value is None else str(value).split() if isinstance(value, str) else [str(value)])
        return told.encode(errors="replace").decode()


SPELLINGS = [tuple(map(case, pair)) for pair in FLAGS for case in (str.upper, str.lower, str.capitalize)]
ORDERS = st.permutations([*COLUMNS[:-1], "my notes"]).map(lambda names: (*names, COLUMNS[-1])) | st.just(COLUMNS)
SAVED = st.builds(
    Saved,
    delimiter=st.sampled_from([",", ";", "\t"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    decimal=st.sampled_from([".", ","]),
    flags=st.sampled_from(SPELLINGS),
    order=ORDERS,
    last_newline=st.booleans(),
)
EXCEL = Saved(";", "\r\n", True, csv.QUOTE_MINIMAL, ",", ("WAHR", "FALSCH"), COLUMNS, True)
SHEETS = Saved(",", "\r\n", False, csv.QUOTE_MINIMAL, ".", ("TRUE", "FALSE"), COLUMNS, False)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(deadline=None, max_examples=100)
@given(rows=TABLES, saved=SAVED)
@example(rows=[row(1), row(2, repair_successful=True, status="repaired", gap=1e-12)], saved=EXCEL)
@example(rows=[row(1), row(2, repair_successful=True, status="repaired", gap=1e-12)], saved=SHEETS)
def test_a_table_saved_by_a_spreadsheet_is_read_as_the_same_rows(folder: Path, rows: list[Row], saved: Saved) -> None:
    ours, theirs = folder / "ours.csv", folder / "theirs.csv"
    ours.unlink(missing_ok=True)
    write(ours, rows)
    theirs.write_bytes(saved.save(rows))
    told = typed(read_file(theirs))
    pd.testing.assert_frame_equal(told[list(COLUMNS)], typed(read_file(ours))[list(COLUMNS)])
    assert told[FLAG].tolist() == [made.repair_successful for made in rows]
    for name in NUMBERS:
        assert [None if pd.isna(value) else value for value in told[name]] == [getattr(made, name) for made in rows]


@settings(deadline=None, max_examples=60)
@given(rows=TABLES, saved=SAVED, more=ROWS)
@example(rows=[row(1), row(2, repair_successful=True)], saved=EXCEL, more=row(3, gap=0.5))
@example(rows=[row(1), row(2, repair_successful=True)], saved=SHEETS, more=row(3, gap=0.5))
def test_a_table_saved_by_a_spreadsheet_is_gone_on_with_in_its_dialect(
    folder: Path, rows: list[Row], saved: Saved, more: Row
) -> None:
    path, more = folder / "theirs.csv", replace(more, experiment_id="more")
    path.write_bytes(saved.save(rows))
    with open_table(path) as table:
        table.begin()
        table.put(more)
    whole = replace(saved, last_newline=True)
    if rows and any("," in whole.cell(getattr(made, name)) for made in rows for name in NUMBERS):
        assert "." not in "".join(read_file(path).column("gap"))
    after = typed(read_file(path))
    (folder / "ours.csv").unlink(missing_ok=True)
    write(folder / "ours.csv", [*rows, more])
    pd.testing.assert_frame_equal(after[list(COLUMNS)], typed(read_file(folder / "ours.csv"))[list(COLUMNS)])
    before = _parts(whole.save(rows), saved)
    assert _parts(path.read_bytes(), saved)[: len(before)] == before  # no cell of theirs is touched
    if saved.quoting is not csv.QUOTE_NONNUMERIC:
        assert path.read_bytes().startswith(saved.save([]))


def _parts(content: bytes, saved: Saved) -> list[list[str]]:
    stream = io.StringIO(content.decode("utf-8-sig"), newline="")
    return list(csv.reader(stream, delimiter=saved.delimiter))


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=3), data=st.data())
def test_of_a_table_cut_off_anywhere_only_whole_rows_count(folder: Path, rows: list[Row], data: st.DataObject) -> None:
    rows = [replace(made, experiment_id=f"e{place}") for place, made in enumerate(rows)]
    path = folder / "cut.csv"
    path.unlink(missing_ok=True)
    write(path, rows)
    whole, content = typed(read_file(path)), path.read_bytes()
    first = content.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(content)) | st.just(len(content) - 1))
    path.write_bytes(content[:cut])
    read = typed(read_file(path))
    ended = content[first:cut].count(b"\n")
    assert len(read) == ended + (content[cut : cut + 1] == b"\n" and cut > first)
    pd.testing.assert_frame_equal(read, whole.iloc[: len(read)], check_dtype=False)
    with open_table(path) as table:
        table.begin()
        assert table.ids == whole["experiment_id"].tolist()[: len(read)]
    assert path.read_bytes() == OURS.written(_lines(content)[: len(read) + 1])


def _lines(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


# Cells

NOT_REPAIRED = [
    "",
    "FALSCH",
    "falsch",
    "no",
    " False",
    "0",
    "FAUX",
    "FALSE",
    "false ",
    "\N{NO-BREAK SPACE}False",
    "0.0",
]
ARE_REPAIRED = ["True", "TRUE", "WAHR", "1", "yes", " true", "VRAI", "1.0"]


def test_flags_mean_one_thing() -> None:
    assert not any(map(flag, NOT_REPAIRED))
    assert all(map(flag, ARE_REPAIRED))
    for pair in FLAGS:
        assert (flag(pair[0]), flag(pair[1])) == (True, False)
    for word in ("maybe", "2", "-1", "Truee", "nan", "None", "0.7", "ERROR", "#NAME?"):
        with pytest.raises(ValueError, match="neither true nor false"):
            flag(word)


@given(FLOATS, st.sampled_from(".,"))
def test_numbers_are_read_exactly(value: float, decimal: str) -> None:
    assert number(f" {value!r}".replace(".", decimal), decimal) == value
    assert number(f"{value:.17E}".replace(".", decimal), decimal) == value


@pytest.mark.parametrize(
    "text", ["1_000", "0x10", "1.000,5", "1,000.5", "12 %", "two", "1e", ".", "--1", "1 2", "1e5.0"]
)
def test_what_is_no_number_is_not_guessed(text: str) -> None:
    for decimal in ".,":
        with pytest.raises(ValueError, match="is no number"):
            number(text, decimal)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({FLAG: "maybe"}, "row 2, repair_successful: 'maybe' is neither true nor false"),
        ({"gap": "much"}, "row 2, gap: 'much' is no number"),
        ({"gap": "1,5"}, "is no number with a decimal comma"),
        ({"status": "fine"}, "row 2, status: 'fine' is none of"),
    ],
)
def test_a_cell_that_means_nothing_is_named_by_all(workplace: Path, cells: dict[str, str], told: str) -> None:
    path = Path("results/odd.csv")
    write(path, [row(1, gap=0.5), row(2)])
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name, cell in cells.items():
        table.loc[1, name] = cell
    table.to_csv(path, index=False)
    before = path.read_bytes()
    by_analysis = CliRunner().invoke(analysis.app, [str(path)])
    assert by_analysis.exit_code == 1
    assert f"{path}, row" in by_analysis.output
    assert told in by_analysis.output
    assert told.replace("'", "&#39;") in create_app(workplace).test_client().get("/experiments").text
    by_runner = _run(path)
    assert by_runner.exit_code == 2
    assert told in by_runner.output
    assert path.read_bytes() == before


# Files that are not ours


def _run(path: Path, *more: str) -> Any:
    asked = ["--dataset", "digits", "--edit-set-sizes", "2", "--edit-set-types", "misclassified"]
    return CliRunner().invoke(experiment_runner.app, [*asked, "--output", str(path), *more])


@pytest.mark.parametrize("restart", [[], ["--force"]])
@pytest.mark.parametrize("content", SHARED_CASES.values(), ids=SHARED_CASES.keys())
def test_a_file_that_is_not_ours_stays_bit_for_bit(workplace: Path, content: bytes, restart: list[str]) -> None:
    """The fault: the runner truncated what had no newline at its end before it looked at the header."""
    path = Path("mine.csv")
    path.write_bytes(content)
    before = path.stat()
    ended = _run(path, *restart)
    assert ended.exit_code == 2
    assert "mine.csv" in ended.output
    assert ended.output.count("\n") == 1
    assert path.read_bytes() == content
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert list(Path().iterdir()) == [path], "something was laid beside it"


def test_a_read_only_table_is_told_before_any_work(workplace: Path) -> None:
    path = Path("results/sweep.csv")
    write(path, [])
    path.chmod(0o444)
    ended = _run(path)
    assert (ended.exit_code, "read-only" in ended.output) == (1, True)


def test_a_name_too_long_for_its_folders_is_told_before_any_work(workplace: Path) -> None:
    for length in (245, 300):
        ended = _run(Path(f"tables/{'x' * length}.csv"))
        assert (ended.exit_code, ended.output.count("\n")) == (1, 1)
        assert "too long" in ended.output
    assert not Path("artifacts").exists(), "a baseline was trained"


def test_a_row_of_another_length_is_named_and_left(workplace: Path) -> None:
    path = Path("results/odd.csv")
    write(path, [row(1), row(2)])
    with path.open("a") as stream:
        stream.write("too,short\n")
    before = path.read_bytes()
    ended = _run(path)
    assert ended.exit_code == 2
    assert "row 3: it has more or fewer cells" in ended.output
    assert path.read_bytes() == before


def test_a_plan_beside_that_is_not_ours_is_left(workplace: Path) -> None:
    from experiments.sweep import _write_plan

    Path("x_sweep.json").write_text('{"wind": 3}')
    with pytest.raises(UsageError, match="not of a sweep"):
        _write_plan(Path("x.csv"), [], None)  # type: ignore[arg-type]
    assert Path("x_sweep.json").read_text() == '{"wind": 3}'


def test_what_is_changed_by_hand_meanwhile_stays(workplace: Path) -> None:
    """A spreadsheet saves the table while the sweep goes on: its dialect and its column stay, and so does every row."""
    path = Path("results/sweep.csv")
    with open_table(path) as table:
        table.begin()
        table.put(row(1, gap=0.5))
        path.write_bytes(replace(EXCEL, order=("my notes", *COLUMNS)).save([row(1, gap=0.5)]))
        table.put(row(2, gap=0.25))
        assert [cells[0] for cells in _parts(path.read_bytes(), EXCEL)] == ["my notes", "mine", ""]
        assert typed(read_file(path))["gap"].tolist() == [0.5, 0.25]
        path.write_text("no table any more")
        with pytest.raises(UsageError, match="left as it is"):
            table.put(row(3))
    assert path.read_text() == "no table any more"


def test_a_row_that_is_made_again_keeps_its_place_and_its_notes(workplace: Path) -> None:
    path = Path("sweep.csv")
    path.write_bytes(replace(SHEETS, order=("my notes", *COLUMNS)).save([row(1), row(2)]))
    with open_table(path) as table:
        assert table.failed == [row(1).experiment_id, row(2).experiment_id]
        table.begin()
        made = row(1, status="repaired", repair_successful=True, experiment_id="new name")
        table.put(made, in_place_of=[row(1).experiment_id])
        assert (table.ids, table.repaired, table.failed) == (
            [made.experiment_id, row(2).experiment_id],
            1,
            table.ids[1:],
        )
    assert _parts(path.read_bytes(), SHEETS)[1][0] == "mine"


@pytest.mark.parametrize(
    ("repaired", "message", "status"),
    [
        ("True", "", "repaired"),
        ("False", "infeasible: no change within the bound", "infeasible"),
        ("False", "time_limit: no repair was proved within 5 seconds.", "time_limit"),
        ("False", "only 3 images qualify, fewer than 500, and sizing is strict.", "too_few_images"),
        ("False", "There is nothing to select: the network is right", "too_few_images"),
        ("False", "Cannot write artifacts/x.pth: No space left on device.", "error"),
        ("False", "unexpected MemoryError: no room", "error"),
        ("", "", "error"),
    ],
)
def test_rows_of_older_tables_are_told_apart(workplace: Path, repaired: str, message: str, status: str) -> None:
    path = Path("old.csv")
    write(path, [row(1)])
    table = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=list(LATER))
    table.assign(repair_successful=repaired, error_message=message).to_csv(path, index=False)
    assert typed(read_file(path))["status"].tolist() == [status]
    with open_table(path) as opened:
        opened.begin()
        assert bool(opened.failed) == (status == "error")
    assert read_file(path).column("status") == [status]


def test_no_word_of_a_closed_column_begins_another() -> None:
    for words in CLOSED.values():
        assert not any(longer.startswith(word) for word, longer in itertools.permutations(words, 2))
    assert COLUMNS[-1] in CLOSED, "a last row without a newline is seen to be whole by its last cell"
    assert set(STATUSES) == set(CLOSED["status"])


def test_tables_of_one_name_share_no_folder(workplace: Path) -> None:
    """The fault: `a/x.csv` and `b/x.csv` wrote to one folder, and each removed what the other was writing."""
    places = ["results/x.csv", "a/x.csv", "b/x.csv", "x.csv", "/elsewhere/x.csv", "results/y.csv"]
    assert results_folder(Path("results/x.csv")) == Path("artifacts/experiments/x")
    assert len({results_folder(Path(place)) for place in places}) == len(places)
    assert results_folder(Path("a/../results/x.csv")) == results_folder(workplace / "results/x.csv")
    Path("results").mkdir()
    Path("link.csv").symlink_to("results/x.csv")
    assert results_folder(Path("link.csv")) == results_folder(Path("results/x.csv"))


# The page and analysis.py


@st.composite
def odd_tables(draw: st.DrawFn) -> str:
    """A table as somebody may have left it: odd flags, rows twice, cells missing, rows cut off."""
    lines = []
    for _ in range(draw(st.integers(1, 5))):
        made = row(draw(st.integers(0, 3)), gap=draw(FLOATS | st.none()))
        cells = {name: OURS.spelled(getattr(made, name)) for name in COLUMNS}
        cells[FLAG] = draw(st.sampled_from([*NOT_REPAIRED, *ARE_REPAIRED, "maybe"] if draw(ODD) else ARE_REPAIRED))
        emptied = draw(st.sampled_from(["requested_repair_set_size", "norm", "margin", "experiment_id", "seed"]))
        cells[emptied] = ""
        lines.append([*cells.values()][: draw(st.sampled_from([len(COLUMNS)] * 6 + [3]))])
    text = OURS.written([COLUMNS, *lines]).decode()
    return text[: draw(st.sampled_from([len(text)] * 3 + [len(text) - 1, len(text) - 4, len(text) - 30]))]


ODD = st.sampled_from([True, False, False])


def _counted(paths: list[Path]) -> tuple[int, int] | None:
    """Experiments and repairs in the summary of analysis.py; None where a cell means nothing."""
    try:
        summary = summarise(read_tables(paths))
    except ToolError as error:
        return None if ", row" in str(error) else (0, 0)
    return int(summary["experiments"].sum()), int(summary["repaired"].sum())


@settings(deadline=None, max_examples=60)
@given(odd_tables(), odd_tables())
def test_the_page_counts_what_analysis_counts(first: str, second: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / "results" / file for file in ("a.csv", "b.csv")]
        paths[0].parent.mkdir()
        for path, text in zip(paths, (first, second), strict=True):
            path.write_text(text)
        client = create_app(Path(name)).test_client()
        for chosen in ([paths[0]], paths):
            counts = _counted(chosen)
            asked = {"file": [f"results/{path.name}" for path in chosen]}
            answer = client.get("/experiments/live.json", query_string=asked)
            if counts is None:
                assert answer.status_code == 422
            else:
                state = answer.get_json()
                assert (state["rows"], state["repaired"]) == counts
                assert state["failed"] == counts[0] - counts[1]


def test_a_summary_of_analysis_is_no_table_that_cannot_be_read(workplace: Path) -> None:
    write(Path("results/x.csv"), [row(1, repair_successful=True, status="repaired")])
    assert CliRunner().invoke(analysis.app, ["results/x.csv"]).exit_code == 0
    assert Path("results/x_analysis/summary.csv").is_file()
    assert CliRunner().invoke(analysis.app, ["results/x.csv"]).exit_code == 0, "a summary of its own is replaced"
    page = create_app(workplace).test_client().get("/experiments").text
    assert "x.csv" in page
    assert "summary.csv" not in page


def test_a_summary_of_somebody_else_is_left(workplace: Path) -> None:
    write(Path("results/x.csv"), [row(1)])
    Path("summary.csv").write_text("name,score\nalice,1\n")
    ended = CliRunner().invoke(analysis.app, ["results/x.csv", "--output", "."])
    assert (ended.exit_code, Path("summary.csv").read_text()) == (2, "name,score\nalice,1\n")
    assert not list(Path().glob("*.png"))


# What killed sweeps left

OURS_LEFT = [
    ".misclassified_n2_s0_0123456789ab_edit_dataset.pt.abcd_123",
    ".class3_incorrect_n50_s1_0123456789ab.pth.k3v9x_00",
    ".misclassified_n2_s0_0123456789ab.pth.89abcdef.unfinished",
]
NOT_OURS = [".hidden", ".misclassified_n2.txt", ".sweeps.lock", "misclassified_n2_s0_0123456789ab.pth", ".git"]
DECIDED = ".misclassified_n2_s0_0123456789ab.pth.89abcdef.complete"  # what is in there is still to be put in place


def test_leftovers_are_removed_where_nobody_else_is(workplace: Path) -> None:
    for name in [*OURS_LEFT, *NOT_OURS, DECIDED]:
        Path(name).touch()
    with Path(".sweeps.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with leftovers.shared(Path()):
            assert all(Path(name).exists() for name in OURS_LEFT), "another sweep may be writing them"
    with leftovers.shared(Path()), leftovers.shared(Path()):
        assert sorted(path.name for path in Path().iterdir()) == sorted([*NOT_OURS, DECIDED])


def test_leftovers_of_a_table_are_its_own(workplace: Path) -> None:
    for name in (".x.csv.abcd_123", ".x.csv.0a1b2c3d.lock", ".xy.csv.abcd_123", ".x.csv.backup", "x.csv"):
        Path(name).touch()
    leftovers.remove_of(Path("x.csv"))
    left = {".x.csv.0a1b2c3d.lock", ".xy.csv.abcd_123", ".x.csv.backup", "x.csv"}
    assert {path.name for path in Path().iterdir()} == left
