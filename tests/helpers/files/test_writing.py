"""Files that are whole or not there, and names that are no files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.errors import ToolError, UsageError
from helpers.files.outputs import writable_output
from helpers.files.writing import atomic_file, load_tensors, save_tensors


@pytest.fixture(params=[os.mkfifo, os.mkdir])
def no_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A pipe, as good as a device, and a folder."""
    make: Callable[[Path], None] = request.param
    make(tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_a_device_is_never_replaced_by_a_file(no_file: Path) -> None:
    before = stat.S_IFMT(no_file.stat().st_mode)
    with pytest.raises(ToolError, match=f"Cannot write {no_file}: it is there, and is not a file"):
        save_tensors(no_file, {})
    assert stat.S_IFMT(no_file.stat().st_mode) == before
    assert list(no_file.parent.iterdir()) == [no_file]


def test_a_device_is_refused_before_the_work(no_file: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the weights file"):
        writable_output(no_file)


def test_a_device_or_folder_is_not_read(no_file: Path) -> None:
    with pytest.raises(ToolError, match=f"{no_file} is not a file, so no weights can be read from it"):
        load_tensors(no_file, "weights")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
