"""The names of a result's files, and what is refused before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import ToolError, UsageError
from helpers.files.outputs import beside, certificate_path, outcomes_path, report_path, result_paths, writable_output
from helpers.files.writing import atomic_file, write_json


@pytest.mark.parametrize(
    ("weights", "report"),
    [
        ("three.pth", "three.json"),
        ("v1.5.pth", "v1.5.json"),
        ("three", "three.json"),
        ("three.safetensors", "three.safetensors.json"),
        ("three.pt", "three.pt.json"),
        ("three.pt.pth", "three.pt.pth.json"),
    ],
)
def test_the_names_beside(weights: str, report: str) -> None:
    assert report_path(Path("a") / weights) == Path("a") / report


def test_outcomes_and_certificate() -> None:
    assert outcomes_path(Path("x.pth")) == Path("x_outcomes.pt")
    assert certificate_path(Path("x.pth")) == Path("x_certificate.npz")
    assert certificate_path(Path("x.safetensors")) == Path("x.safetensors_certificate.npz")


names = st.lists(st.sampled_from(["three", ".pth", ".safetensors", ".pt", ".json", "_outcomes", ".v1"]), min_size=1)


@given(names, names)
def test_no_two_weights_share_a_report_unless_refused(first: list[str], second: list[str]) -> None:
    one, two = Path("".join(["w", *first])), Path("".join(["w", *second]))
    if one != two and report_path(one) == report_path(two):
        assert {one.name, two.name} == {min(one.name, two.name), min(one.name, two.name) + ".pth"}  # then refused


def test_weights_whose_report_is_taken_are_refused(tmp_path: Path) -> None:
    for mine, theirs in (("three", "three.pth"), ("four.pth", "four")):
        (tmp_path / theirs).touch()
        with pytest.raises(UsageError, match=f"would be that of .*{theirs}"):
            writable_output(tmp_path / mine)


def test_a_trial_leaves_nothing(tmp_path: Path) -> None:
    assert writable_output(tmp_path / "new" / "w.pth") == tmp_path / "new" / "w.pth"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_name_whose_report_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="name too long"):
        writable_output(tmp_path / ("w" * 240 + ".pth"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("letter", ["w", "ü", "\U0001f600"])
def test_the_longest_name_that_is_accepted_can_be_written(tmp_path: Path, letter: str) -> None:
    room = 255 - len("_certificate.npz")
    output = tmp_path / (letter * (room // len(letter.encode())) + ".pth")
    for path in result_paths(writable_output(output)):
        with atomic_file(path) as temporary:
            temporary.write_text("whole")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "w.pth", tmp_path / "link.pth"
    link.symlink_to(target)
    assert writable_output(link) == target  # dangling so far
    for content in ("first", "second"):
        with atomic_file(link) as temporary:
            temporary.write_text(content)
        assert link.is_symlink()
        assert target.read_text() == content
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "link.pth", "w.pth"]


def test_links_that_lead_to_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "nowhere.pth").symlink_to(tmp_path / "unmounted" / "w.pth")
    (tmp_path / "folder.pth").symlink_to(tmp_path)
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    for name, message in (("nowhere", "whose folder is not there"), ("folder", "cannot be"), ("loop", "back to")):
        with pytest.raises(ToolError, match=message):
            writable_output(tmp_path / f"{name}.pth")
        with pytest.raises(ToolError, match="Cannot write"):
            write_json(tmp_path / f"{name}.pth", {})
    assert len(list(tmp_path.iterdir())) == 3


def test_a_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("old")
    os.link(tmp_path / "w.pth", tmp_path / "kept.pth")
    with atomic_file(writable_output(tmp_path / "w.pth")) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "kept.pth").read_text() == "old"


@pytest.mark.parametrize("suffix", ["", ".json", "_outcomes.pt", "_certificate.npz"])
def test_a_file_made_read_only_is_not_replaced(tmp_path: Path, suffix: str) -> None:
    weights = tmp_path / "w.pth"
    path = beside(weights, suffix) if suffix else weights
    path.write_text("precious")
    path.chmod(0o444)
    with pytest.raises(ToolError, match=f"Cannot write {path}: it is read-only"):
        writable_output(weights)
    with pytest.raises(ToolError, match="read-only"):
        write_json(path, {})
    assert path.read_text() == "precious"


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    (tmp_path / "w.json").touch(mode=0o600)
    write_json(tmp_path / "w.json", {})
    assert (tmp_path / "w.json").stat().st_mode & 0o777 == 0o600
