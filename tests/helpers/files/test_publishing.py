"""The files of a result appear together, or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ToolError
from helpers.files import publishing
from helpers.files.publishing import publication, settle, settle_folder

NAMES = ("three.json", "three.pth", "three_outcomes.pt")


def _publish(output: Path, content: str, names: tuple[str, ...] = NAMES, removed: tuple[str, ...] = ()) -> None:
    with publication(output) as publishing_now:
        for name in names:
            (publishing_now.folder / name).write_text(content)
        publishing_now.publish([output.with_name(name) for name in removed])


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".lock"}


def test_all_files_are_there_and_nothing_else(tmp_path: Path) -> None:
    _publish(tmp_path / "three.pth", "old")
    (tmp_path / "three_failed.json").write_text("an earlier failure")
    (tmp_path / "three_other.json").write_text("somebody else's")
    _publish(tmp_path / "three.pth", "new", removed=("three_failed.json", "three_never.json"))
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "new") | {"three_other.json": "somebody else's"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "three_other.json"])


def test_what_is_removed_stays_where_it_is_written_anew(tmp_path: Path) -> None:
    _publish(tmp_path / "three.pth", "new", removed=("three.json",))
    assert _contents(tmp_path)["three.json"] == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_fails_before_the_end_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    _publish(tmp_path / "three.pth", "old")
    with pytest.raises(error), publication(tmp_path / "three.pth") as publishing_now:
        (publishing_now.folder / "three.pth").write_text("new")
        raise error
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "old")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_second_run_is_refused_meanwhile(tmp_path: Path) -> None:
    with publication(tmp_path / "three.pth"), pytest.raises(ToolError, match="Another run"):
        _publish(tmp_path / "three.pth", "second")
    _publish(tmp_path / "three.pth", "third")
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "third")


def test_outputs_with_a_long_common_beginning_do_not_share_a_folder(tmp_path: Path) -> None:
    long = "x" * 150
    with publication(tmp_path / f"{long}1.pth") as one, publication(tmp_path / f"{long}2.pth") as two:
        assert one.folder != two.folder


def test_permissions_stay(tmp_path: Path) -> None:
    _publish(tmp_path / "three.pth", "old")
    (tmp_path / "three.json").chmod(0o600)
    _publish(tmp_path / "three.pth", "new")
    assert (tmp_path / "three.json").stat().st_mode & 0o777 == 0o600


def _killed_after(calls: int, output: Path) -> bool:
    """Publish in a child that kills itself when it has called the system so many times; whether it was killed."""
    child = os.fork()
    if child == 0:
        left = calls
        for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            original = getattr(Path, name)

            def counting(self: Path, *args: object, _original: object = original, **kwargs: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return _original(self, *args, **kwargs)  # type: ignore[operator]

            setattr(Path, name, counting)
        _publish(output, "new", names=NAMES[:2], removed=NAMES[2:])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@settings(deadline=None, max_examples=25)
@given(calls=st.integers(0, 16), by_folder=st.booleans())
def test_a_killed_publication_is_wholly_old_or_wholly_new(
    tmp_path_factory: pytest.TempPathFactory, calls: int, by_folder: bool
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    output = folder / "three.pth"
    _publish(output, "old")
    _killed_after(calls, output)
    if by_folder:
        settle_folder(folder)
    else:
        settle(output)
    assert _contents(folder) in (dict.fromkeys(NAMES, "old"), dict.fromkeys(NAMES[:2], "new"))
    _publish(output, "next")
    assert _contents(folder) == dict.fromkeys(NAMES, "next")
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_the_kills_reach_every_step(tmp_path: Path) -> None:
    output = tmp_path / "three.pth"
    outcomes = []
    for calls in range(40):
        _publish(output, "old")
        if not _killed_after(calls, output):
            break
        settle(output)
        outcomes.append(_contents(tmp_path)["three.pth"])
    assert "old" in outcomes and "new" in outcomes and calls > 6


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(tmp_path / "three.pth", "old")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "flush_to_disk", full)
    with pytest.raises(ToolError, match="No space left"):
        _publish(tmp_path / "three.pth", "new")
    assert _contents(tmp_path) == dict.fromkeys(NAMES, "old")
