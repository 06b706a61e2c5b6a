"""The table that a sweep writes: every row is on disk as soon as its experiment ends, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from experiments.plan import results_folder
from experiments.table.cells import flag, number
from experiments.table.reading import NoTableError, TableFile, read_file
from experiments.table.row import COLUMNS, FAILED, FLAG, FORMER, FORMER_NUMBERS, LATER, NEEDED, NUMBERS, Row
from experiments.table.values import statuses
from helpers.errors import ToolError, UsageError
from helpers.files.places import explained_os_errors, is_no_file, link_target, refuse_unwritable
from helpers.files.writing import atomic_file, exclusive


class ResultTable:
    """A table that this process alone writes; open it with `open_table`.

    Its dialect, the order of its columns and columns that somebody added stay as they are. Nothing is written before
    `begin`. What is changed by hand meanwhile, in a spreadsheet say, is read again before the next row is written.
    """

    def __init__(self, file: TableFile, is_new: bool = False):
        self._file = _with_all_columns(file)
        self._is_current = file.ends and not is_new and self._file.header == file.header
        self._stamp = _stamp(file.path)

    @property
    def path(self) -> Path:
        """The CSV."""
        return self._file.path

    @property
    def ids(self) -> list[str]:
        """The experiments that have a row."""
        return [name.strip() for name in self._file.column("experiment_id")]

    @property
    def failed(self) -> list[str]:
        """Those whose row tells of a failure from outside, which another try may not meet again."""
        return [name for name, status in zip(self.ids, statuses(self._file), strict=True) if status == FAILED]

    def status_of(self, name: str | None) -> str | None:
        """How an experiment ended; None where it has no row."""
        return dict(zip(self.ids, statuses(self._file), strict=True)).get(name or "")

    @property
    def repaired(self) -> int:
        """How many ended in a verified repair."""
        return sum(self._file.values(FLAG, flag))

    def __len__(self) -> int:
        return len(self._file.rows)

    def begin(self) -> None:
        """Put the columns on disk, and a newline where the last line lacks it; what a killed runner tore is cut off.

        Raises:
            ToolError: the file cannot be written.
        """
        if not self._is_current:
            self._write(self._file.rows)

    def put(self, row: Row, in_place_of: Collection[str] = ()) -> None:
        """Write a row, behind the others or in the place of one of the experiments named.

        Raises:
            ToolError: the file cannot be written, or was changed by hand to something that is no table; it is then as
                it was.
        """
        self._read_changes()
        dialect, rows = self._file.dialect, list(self._file.rows)
        places = [place for place, name in enumerate(self.ids) if name in {row.experiment_id, *in_place_of}]
        cells = dict(zip(self._file.header, rows[places[0]], strict=True)) if places else {}
        cells |= {name: dialect.spelled(value) for name, value in asdict(row).items()}
        made = tuple(cells.get(name, FORMER.get(name, "")) for name in self._file.header)
        if places:
            rows[places[0]] = made
        else:
            rows.append(made)
        self._write(tuple(rows))

    def sort(self, order: Sequence[str]) -> None:
        """Put the rows in the order of a plan, however they came to be."""
        self._read_changes()
        places = {name: place for place, name in enumerate(order)}
        ids = iter(self.ids)
        ordered = tuple(sorted(self._file.rows, key=lambda _: places.get(next(ids), len(places))))
        if ordered != self._file.rows:
            self._write(ordered)

    def _read_changes(self) -> None:
        if _stamp(self.path) not in (self._stamp, None):
            self._file = _with_all_columns(_look(self.path) or self._file)

    def _write(self, rows: tuple[tuple[str, ...], ...]) -> None:
        with atomic_file(self.path) as temporary:
            temporary.write_bytes(self._file.dialect.written([self._file.header, *rows]))
        self._file, self._is_current, self._stamp = replace(self._file, rows=rows), True, _stamp(self.path)


@contextlib.contextmanager
def open_table(path: Path, restart: bool = False) -> Iterator[ResultTable]:
    """Look at a file, lock it, and read its rows; a file that is no table of the runner stays untouched.

    Args:
        path: the CSV.
        restart: begin anew, and keep the old table under another name.

    Raises:
        UsageError: the file is there and no table of this kind, or a cell in it means nothing.
        ToolError: another process writes it, or the folder cannot be written.
    """
    check_output(path, restart)  # before a lock is laid beside a file that is not ours
    with exclusive(path):
        file = _look(path, restart)
        if restart and file is not None:
            target = link_target(path)
            target.rename(_name_for_old(target))
            file = None
        yield ResultTable(file or TableFile(path, COLUMNS), is_new=file is None)


def check_output(path: Path, restart: bool = False) -> None:
    """Raise `UsageError`, or `ToolError`, where a sweep could not write its table, before anything else is done."""
    with explained_os_errors(path):
        if is_no_file(path) or path.suffix != ".csv":
            raise UsageError(f"{path} cannot be the table: name a file that ends in .csv.")
        for derived in (plan_path(path), results_folder(path)):
            Path(derived.name).exists()  # a name that is too long is an error
    _look(path, restart)
    refuse_unwritable(link_target(path))


def plan_path(table: Path) -> Path:
    """``results/sweep.csv`` -> ``results/sweep_sweep.json``."""
    return table.with_name(f"{table.stem}_sweep.json")


def _look(path: Path, restart: bool = False) -> TableFile | None:
    """The table that is there, each of its cells seen to mean something unless it is only to be set aside."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        file = read_file(path, NEEDED)
    except NoTableError as error:
        raise UsageError(f"{error} It was left as it is: give another --output.") from error
    if restart:
        return file
    try:
        _check_cells(file)
    except ToolError as error:
        raise UsageError(f"{error} Nothing was written; --force sets that table aside.") from error
    return file


def _check_cells(file: TableFile) -> None:
    if file.misfits:
        raise ToolError(f"{file.path}, row {file.misfits[0]}: it has more or fewer cells than the header.")
    statuses(file)
    for name in (*NUMBERS, *FORMER_NUMBERS):
        if name in file.header:
            file.values(name, lambda cell: number(cell, file.dialect.decimal))


def _with_all_columns(file: TableFile) -> TableFile:
    """With the columns that older tables lack, at the end."""
    lacking = [name for name in COLUMNS if name not in file.header]
    told = statuses(file) if "status" in lacking else [""] * len(file.rows)
    rows = tuple(
        (*row, *(status if name == "status" else LATER[name] for name in lacking))
        for row, status in zip(file.rows, told, strict=True)
    )
    return replace(file, header=(*file.header, *lacking), rows=rows)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs when the file differs; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _name_for_old(path: Path) -> Path:
    """``full_experiment.until-20261124-131500.csv``, with a number where that is taken."""
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    names = [path.with_name(f"{path.stem}.until-{stamp}{suffix}.csv") for suffix in ("", *(f"-{n}" for n in range(99)))]
    return next(name for name in names if not name.exists())
