"""Repairs upon repairs: what was repaired before stays, and all counts from the network before all of them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import repairs
import run_repair
from checker.certificate import Certificate
from edits.outcome.remeasuring import remeasure
from edits.record.chain import Comparison
from edits.record.history import gone_back, way_back
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from helpers.cli import DatasetName
from helpers.evaluation import margins, predict_logits
from helpers.files.outputs import certificate_path, files_beside, report_path
from helpers.images.datasets import load_dataset
from model_classes.alexnet import load_alexnet
from model_classes.weight_files import read_history, save_weights
from model_classes.weights import base_file, read_weights, weights_hash
from tests.conftest import with_cache

BASE, FIRST, SECOND = (Path(f"artifacts/{name}.pth") for name in ("alexnet_base_digits", "first", "second"))
PLANTED = ("classifier.4.weight", "classifier.4.bias")


def _run(*arguments: str, output: Path) -> Result:
    """Nothing counts as chosen by other weights: `file` takes any set."""
    words = [*arguments, "--dataset", "digits", "--output", str(output), "--force"]
    return CliRunner().invoke(run_repair.app, words)


def _told(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(report_path(output).read_text())
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path, digits_baseline: Path) -> Iterator[Path]:
    """A repair of four images, and one upon it of all that the repaired network still gets wrong."""
    folder = with_cache(tmp_path_factory.mktemp("earlier"), warm_cache)
    (folder / "artifacts").mkdir()
    for suffix in (".pth", ".json"):
        (folder / BASE.with_suffix(suffix)).symlink_to(digits_baseline.with_suffix(suffix))
    with contextlib.chdir(folder):
        first = _run("misclassified", "--max-samples", "4", output=FIRST)
        assert first.exit_code == 0, first.output
        second = _run("misclassified", "--weights", str(FIRST), "--keep-weights", "changed-layer", output=SECOND)
        assert second.exit_code == 0, second.output
        yield folder


def test_earlier_images_keep_their_margin_beside_the_new_ones(folder: Path) -> None:
    first, second = _told(FIRST), _told(SECOND)
    assert second["earlier_images"] == 4 < second["edit_set_size"]
    assert [step["output_path"] for step in second["earlier"]] == [str(FIRST)] and first["earlier"] == []
    network = load_alexnet(SECOND)
    for told in (first, second):
        images = load_edit_set(Path(told["edit_set_path"])).at(np.array(told["edit_images"]))
        assert margins(predict_logits(network, images.images), images.labels).min() >= 2
    assert Certificate(certificate_path(SECOND)).check().accepted


def test_only_what_changed_can_be_kept(folder: Path) -> None:
    """A detector is a row of 4,097 numbers."""
    assert SECOND.stat().st_size < 500_000 + 40_000 * _told(SECOND)["planted_units"] < FIRST.stat().st_size


def test_all_counts_from_the_network_before_all_repairs(folder: Path) -> None:
    second = _told(SECOND)
    assert second["weights_path"] == str(BASE) and second["weights_hash_before"] == _told(FIRST)["weights_hash_before"]
    base, after = read_weights(BASE), read_weights(SECOND)
    assert max(float((after[name].double() - base[name].double()).abs().max()) for name in base) <= 5
    last = second["earlier"][0]["drawdown_points"] - second["drawdown_points"]
    assert "drawdown against the repair before:" in _repairs("show", str(SECOND)).output
    assert second["last_drawdown_points"] == pytest.approx(-last, abs=0.5)  # they are of other images outside


def test_detectors_of_earlier_images_stay_and_new_ones_are_other_units(folder: Path) -> None:
    base, first, second = (read_weights(path) for path in (BASE, FIRST, SECOND))
    planted = [(base[PLANTED[0]] != after[PLANTED[0]]).any(dim=1) for after in (first, second)]
    assert planted[0].sum() == 4 == (planted[0] & planted[1]).sum() < planted[1].sum()
    assert all(torch.equal(first[name][planted[0]], second[name][planted[0]]) for name in PLANTED)


def test_detectors_stay_whatever_was_repaired_in_between(folder: Path) -> None:
    """The fault: units that the first repair had planted were spare ones of the network before the second."""
    between, last = Path("artifacts/between.pth"), Path("artifacts/upon_between.pth")
    for weights, output, *options in ((FIRST, between, "--prepare", "none"), (between, last)):
        result = _run("misclassified", "--weights", str(weights), "--max-samples", "2", *options, output=output)
        assert result.exit_code == 0, result.output
    base, first, third = (read_weights(path) for path in (BASE, FIRST, last))
    planted = (base[PLANTED[0]] != first[PLANTED[0]]).any(dim=1)
    assert planted.sum() == 4 and all(torch.equal(first[name][planted], third[name][planted]) for name in PLANTED)
    assert _told(last)["weights_path"] == str(BASE)
    assert _told(last)["planted_units"] == _told(last)["edit_set_size"] == 8  # those in between had no detector
    assert _told(last)["detected_images"] == 4 and "in groups" not in result.output
    assert _told(last)["min_margin"] >= 2 and Certificate(certificate_path(last)).check().accepted


def test_a_bound_below_what_kept_detectors_moved_is_refused_at_once(folder: Path) -> None:
    """The repair in between, of the last layer alone, got by with less than they."""
    base, first = (read_weights(path) for path in (BASE, FIRST))
    moved = max(float((first[name].double() - base[name].double()).abs().max()) for name in PLANTED)
    between, last, bound = Path("artifacts/little.pth"), Path("artifacts/upon_little.pth"), f"{0.9 * moved:.6f}"
    asked = ("misclassified", "--max-samples", "2", "--param-bound")
    result = _run(*asked, bound, "--weights", str(FIRST), "--prepare", "none", output=between)
    assert result.exit_code == 0, result.output
    result = _run(*asked, bound, "--weights", str(between), output=last)
    enough = re.search(r"give --param-bound (\S+) or more", result.output)
    assert result.exit_code == 2 and enough and moved <= float(enough[1]) < moved + 0.001, result.output
    assert not report_path(last).exists() and not report_path(last).with_name("upon_little_failed.json").exists()
    result = _run(*asked, "5", "--weights", str(between), output=last)
    assert result.exit_code == 0, result.output


def test_for_a_larger_margin_all_images_get_new_detectors(folder: Path) -> None:
    output = Path("artifacts/larger.pth")
    result = _run("misclassified", "--weights", str(FIRST), "--max-samples", "2", "--margin", "9", output=output)
    assert result.exit_code == 0 and "all images get new ones" in result.output, result.output
    told = _told(output)
    assert told["edit_set_size"] == 6 and told["min_margin"] >= 9 and told["weights_path"] == str(BASE)
    assert told["planted_units"] >= 6 and Certificate(certificate_path(output)).check().accepted
    base, after = read_weights(BASE), read_weights(output)
    assert int((base[PLANTED[0]] != after[PLANTED[0]]).any(dim=1).sum()) == told["planted_units"]


def test_figures_count_from_the_network_before_all_repairs(folder: Path) -> None:
    """Also where the change counts from the last one."""
    output = Path("artifacts/last_layer.pth")
    result = _run("misclassified", "--weights", str(FIRST), "--prepare", "none", output=output)
    assert result.exit_code == 0, result.output
    told, test = _told(output), load_dataset(DatasetName.DIGITS, "test")
    outside = np.setdiff1d(np.arange(len(test)), told["edit_test_indices"])
    right = [
        float((predict_logits(load_alexnet(path), test).argmax(dim=1).numpy() == test.labels)[outside].mean())
        for path in (BASE, FIRST, output)
    ]
    assert told["weights_path"] == str(FIRST) and told["first_weights_path"] == str(BASE)
    assert told["drawdown_points"] == pytest.approx(100 * (right[0] - right[2]))
    assert told["last_drawdown_points"] == pytest.approx(100 * (right[1] - right[2]))
    assert told["edit_accuracy_before"] == 0
    assert remeasure(report_path(output)).agree


def test_a_third_one_knows_all_before(folder: Path) -> None:
    """A right digit of each class on top: three steps, and the first images still have their margin."""
    digits = load_edit_set(Path(_told(SECOND)["edit_set_path"]))
    shifted = EditSet(torch.roll(digits.images[:2], 3, dims=-1), digits.labels[:2], [{}, {}])
    save_edit_set(shifted, Path("mine_edit_dataset.pt"))
    third = _run("file", "mine_edit_dataset.pt", "--weights", str(SECOND), output=Path("artifacts/third.pth"))
    assert third.exit_code == 0, third.output
    told = _told(Path("artifacts/third.pth"))
    assert [step["output_path"] for step in told["earlier"]] == [str(FIRST), str(SECOND)]
    assert told["edit_set_size"] == len(digits) + 2 and told["min_margin"] >= 2
    entries = load_edit_set(Path(told["edit_set_path"])).metadata
    assert [entry["edit_set"] for entry in entries[-2:]] == ["mine_edit_dataset.pt"] * 2
    assert len({(entry["edit_set"], entry["edit_image"]) for entry in entries}) == len(entries)


def _repairs(*arguments: str) -> Result:
    return CliRunner().invoke(repairs.app, arguments)


def test_a_chain_is_shown_and_listed(folder: Path) -> None:
    shown = json.loads(_repairs("show", str(SECOND), "--json").stdout)
    assert shown["base"] == str(BASE)
    assert [(step["weights"], step["new"], step["images"]) for step in shown["repairs"]] == [
        (str(FIRST), 4, 4),
        (str(SECOND), _told(SECOND)["edit_set_size"] - 4, _told(SECOND)["edit_set_size"]),
    ]
    assert str(FIRST) in _repairs("show", str(SECOND)).stdout
    listed = json.loads(_repairs("list", "--json").stdout)
    assert {str(FIRST), str(SECOND)} <= {step["weights"] for step in listed}
    assert str(BASE) not in {step["weights"] for step in listed}


def test_undo_is_bit_for_bit_and_knows_what_was_before(folder: Path) -> None:
    before, base = Path("artifacts/before.pth"), Path("artifacts/at_first.pth")
    assert _repairs("undo", str(SECOND), "--output", str(before)).exit_code == 0
    assert before.read_bytes() == FIRST.read_bytes() and _told(before)["edit_set_hash"] == _told(FIRST)["edit_set_hash"]
    assert _repairs("undo", str(SECOND), "--output", str(base), "--all").exit_code == 0
    assert base.read_bytes() == BASE.read_bytes() and not report_path(base).exists()
    assert _repairs("undo", str(before), "--output", str(base)).exit_code == 2  # it is there
    certificate_path(base).write_bytes(certificate_path(FIRST).read_bytes())  # of what was there before
    assert _repairs("undo", str(before), "--output", str(base), "--force").exit_code == 0
    left = {*files_beside(base), *files_beside(before)} - {report_path(before)}
    assert not [path for path in left if path.exists()]
    again = _run("misclassified", "--weights", str(before), output=Path("artifacts/again.pth"))
    assert again.exit_code == 0 and _told(Path("artifacts/again.pth"))["earlier_images"] == 4


def _alone(weights: Path, place: str) -> Path:
    """The file by itself, in another folder, where nothing is beside it but a link to the base."""
    moved = Path(place) / weights.name
    moved.parent.mkdir()
    moved.symlink_to(weights.resolve())
    return moved


def test_a_file_without_its_report_knows_what_it_was_repaired_of(folder: Path) -> None:
    moved = _alone(SECOND, "moved")
    shown, known = (json.loads(_repairs("show", str(path), "--json").stdout) for path in (moved, SECOND))
    figures = ("drawdown_points", "last_drawdown_points", "generalization")
    known["repairs"][-1] |= {**dict.fromkeys(figures), "weights": str(moved)}  # figures are the report's
    assert shown == known
    assert _repairs("list", "moved").stdout.count("second.pth") == 1
    again = _run("file", _told(FIRST)["edit_set_path"], "--weights", str(moved), output=Path("artifacts/none.pth"))
    assert again.exit_code == 2 and "was repaired of all these images already" in again.output, again.output


def _files() -> dict[Path, tuple[int, int, int]]:
    """What a file that was written anew would differ in."""
    there = ((path, path.stat()) for path in Path("artifacts").iterdir())
    return {path: (file.st_ino, file.st_mtime_ns, file.st_size) for path, file in there}


def test_undo_replaces_nothing_that_repairs_were_made_from(folder: Path) -> None:
    """The fault: a relative --output with --force took the place of the repaired network, or lost its report."""
    before = _files()
    for output, arguments in ((SECOND, []), (FIRST, []), (BASE, ["--all"]), (BASE, [])):
        told = _repairs("undo", str(SECOND), "--output", str(output), "--force", *arguments)
        assert told.exit_code == 2 and "stays; name another --output" in told.stderr, told.output
        assert _files() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("margin", 0.5), ("edit_set_size", 1), ("margin", None), ("param_bound", "five")],
        ("weights_hash_before", "0" * 64),
        ("edit_images", [0]),
    ],
)
def test_a_report_that_says_another_thing_than_its_weights_is_refused(folder: Path, name: str, value: Any) -> None:
    """The fault: the next repair gave earlier images the margin that the altered report told, or had a traceback."""
    report = report_path(FIRST)
    told = report.read_text()
    try:
        report.write_text(json.dumps({**json.loads(told), name: value}))
        again = _run("misclassified", "--weights", str(FIRST), output=Path("artifacts/none.pth"))
        assert again.exit_code in (1, 2) and isinstance(again.exception, SystemExit)
        assert "was altered" in again.stderr or "is no report of a repair" in again.stderr
        listed = _repairs("list", "artifacts")
        assert listed.exit_code == 0 and SECOND.name in listed.stdout
    finally:
        report.write_text(told)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_undo_without_the_file_before(folder: Path, suffix: str) -> None:
    """Put together from what the repaired file holds and the base, it is bit for bit what is gone, history and all."""
    digits = load_edit_set(Path(_told(FIRST)["edit_set_path"]))
    shifted = EditSet(torch.roll(digits.images[:2], 3, dims=-1), digits.labels[:2], [{}, {}])
    save_edit_set(shifted, Path(f"other{suffix}_edit_dataset.pt"))
    last = Path(f"artifacts/last{suffix}")
    assert _run("file", f"other{suffix}_edit_dataset.pt", "--weights", str(SECOND), output=last).exit_code == 0
    moved = _alone(last, f"chain{suffix}")
    for gone in (FIRST, SECOND):
        gone.rename(gone.with_suffix(".gone"))
    try:
        before, first = (Path(f"undone{suffix}/{name}{suffix}") for name in ("before", "at_first"))
        base, before_all = Path(f"undone{suffix}/base.pth"), Path("x.safetensors")
        refused = _repairs("undo", str(moved), "--output", str(before_all), "--all")
        assert refused.exit_code == 2 and "ends in .pth" in refused.output and not before_all.exists()
        for undone, output in ((moved, before), (before, first), (first, base)):
            result = _repairs("undo", str(undone), "--output", str(output))
            assert result.exit_code == 0, result.output
    finally:
        for gone in (FIRST, SECOND):
            gone.with_suffix(".gone").rename(gone)
    assert base.read_bytes() == BASE.read_bytes()
    for path, other in ((before, SECOND), (first, FIRST)):
        state, bits = read_weights(path), {name: value.view(torch.int32) for name, value in read_weights(other).items()}
        assert all(torch.equal(state[name].view(torch.int32), bits[name]) for name in bits)
        assert not report_path(path).exists()
        steps, known = (json.loads(_repairs("show", str(file), "--json").stdout)["repairs"] for file in (path, other))
        assert [step["weights_hash"] for step in steps] == [step["weights_hash"] for step in known]


def test_undo_says_what_is_not_there(folder: Path) -> None:
    alone = Path("artifacts/alone.pth")
    alone.symlink_to(BASE.resolve())
    result = _repairs("undo", str(alone), "--output", "artifacts/x.pth")
    assert result.exit_code == 1 and "has no report alone.json beside it" in result.output
    alone.unlink()
    alone.symlink_to(FIRST.resolve())
    told = _told(FIRST) | {"weights_path": "artifacts/gone.pth", "first_weights_path": "artifacts/gone.pth"}
    report_path(alone).write_text(json.dumps(told))
    result = _repairs("undo", str(alone), "--output", "artifacts/x.pth")
    assert result.exit_code == 1 and "artifacts/gone.pth, from which" in result.output
    assert not Path("artifacts/x.pth").exists()


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (lambda told: told | {"back": [""] * 2}, "does not hold the way back"),
        (lambda told: told | {"back": ["", way_back(*[{"classifier.6.bias": torch.ones(10)}] * 3)]}, "is damaged"),
        (lambda told: told | {"back": ["", "{}"]}, "is damaged"),
        (
            lambda told: told | {"repairs": [told["repairs"][0], told["repairs"][1] | {"weights_path": "g.pth"}]},
            "and g.pth",
        ),
        (lambda told: told | {"repairs": told["repairs"][:1]}, "is damaged"),
        (lambda told: told | {"repairs": [{}, {}]}, "is damaged"),
        (lambda told: [told], "is damaged"),
    ],
)
def test_a_way_back_that_does_not_lead_there(folder: Path, tmp_path: Path, told: Any, says: str) -> None:
    damaged = tmp_path / "damaged.pth"
    save_weights(read_weights(SECOND), damaged, json.dumps(told(json.loads(read_history(SECOND)))))
    FIRST.rename(FIRST.with_suffix(".gone"))
    try:
        result = _repairs("undo", str(damaged), "--output", "artifacts/x.pth")
    finally:
        FIRST.with_suffix(".gone").rename(FIRST)
    assert result.exit_code == 1 and says in result.output, result.output
    assert not Path("artifacts/x.pth").exists()


ROWS = st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0]), min_size=2, max_size=2), min_size=3, max_size=3)


@given(states=st.lists(st.tuples(ROWS, ROWS), min_size=3, max_size=3))
def test_a_way_back_leads_to_every_bit(states: list[tuple[Any, Any]]) -> None:
    """-0 is not 0, and rows may be as in the base, as after, as neither."""
    after, before, base = ({"a": torch.tensor(one), "b": torch.tensor(other)[:, 0]} for one, other in states)
    found = gone_back(after, way_back(after, before, base), base)
    assert all(torch.equal(found[name].view(torch.int32), before[name].view(torch.int32)) for name in before)


def test_two_networks_side_by_side(folder: Path) -> None:
    found = json.loads(_repairs("compare", str(BASE), str(SECOND), "--dataset", "digits", "--json").stdout)
    assert {row["name"] for row in found["weights"]} == {*PLANTED, "classifier.6.weight", "classifier.6.bias"}
    test = load_dataset(DatasetName.DIGITS, "test")
    right = [predict_logits(load_alexnet(path), test).argmax(dim=1).numpy() == test.labels for path in (BASE, SECOND)]
    assert found["right_by_the_second_alone"] == np.flatnonzero(~right[0] & right[1]).tolist()
    assert found["right_by_the_first_alone"] == np.flatnonzero(right[0] & ~right[1]).tolist()
    assert (
        "right by the first alone: 0 test images"
        in _repairs("compare", str(BASE), str(SECOND), "--dataset", "digits").stdout
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--margin", "1"), "give --margin 2 or more"),
        (("--param-bound", "3"), "give --param-bound 5 or more"),
    ],
)
def test_what_would_keep_less_is_refused(folder: Path, options: tuple[str, ...], said: str) -> None:
    result = _run("misclassified", "--weights", str(FIRST), *options, output=Path("artifacts/less.pth"))
    assert result.exit_code == 2 and said in result.output
    assert not list(Path("artifacts").glob("less*"))


def test_images_that_were_repaired_already(folder: Path) -> None:
    told = _told(FIRST)
    result = _run(
        "file", told["edit_set_path"], "--max-samples", "4", "--weights", str(FIRST), output=Path("artifacts/again.pth")
    )
    assert result.exit_code == 2 and "was repaired of all these images already" in result.output


def test_a_picture_with_another_label_is_named_with_both_sets(folder: Path) -> None:
    told = _told(FIRST)
    known = load_edit_set(Path(told["edit_set_path"])).at(np.array(told["edit_images"]))
    other = EditSet(known.images[1:2], (known.labels[1:2] + 1) % 10, [{}])
    save_edit_set(other, Path("other_edit_dataset.pt"))
    result = _run("file", "other_edit_dataset.pt", "--weights", str(FIRST), output=Path("artifacts/both.pth"))
    said = " ".join(result.output.split())
    assert result.exit_code == 2 and "image 0 of other_edit_dataset.pt is to be" in said
    assert f"image {told['edit_images'][1]} of {told['edit_set_path']}, the same picture" in said


@pytest.mark.parametrize(
    "options", [pytest.param(("--layer", "classifier.4"), marks=pytest.mark.slow), ("--metric", "identity")]
)
def test_other_ways_keep_the_earlier_images_too(folder: Path, options: tuple[str, ...]) -> None:
    """They start from the repaired network, and the bound counts from it."""
    output = Path("artifacts/other.pth")
    result = _run("misclassified", "--weights", str(FIRST), "--max-samples", "2", *options, output=output)
    assert result.exit_code == 0, result.output
    told = _told(output)
    assert told["weights_path"] == str(FIRST) and told["earlier_images"] == 4 and told["edit_set_size"] == 6
    images = load_edit_set(Path(told["edit_set_path"]))
    assert margins(predict_logits(load_alexnet(output), images.images), images.labels).min() >= 2


@pytest.mark.parametrize("keep", ["changed-layer", pytest.param("full", marks=pytest.mark.slow)])
def test_a_repair_upon_changes_is_read_and_certified(folder: Path, keep: str) -> None:
    """It starts from `SECOND`, which holds changes; its own file names the whole weights that these change."""
    test = load_dataset(DatasetName.DIGITS, "test")
    shifted, labels = torch.roll(test.inputs(slice(100)), 12, dims=-1), torch.from_numpy(test.labels[:100])
    worst = margins(predict_logits(load_alexnet(SECOND), shifted), labels).argmin()
    again = EditSet(shifted[worst : worst + 1], labels[worst : worst + 1], [{}])
    save_edit_set(again, Path("again_edit_dataset.pt"))
    words = ("file", "again_edit_dataset.pt", "--metric", "identity", "--keep-weights", keep, "--weights", str(SECOND))
    output = Path(f"artifacts/upon_{keep}.safetensors")
    result = _run(*words, output=output)
    assert result.exit_code == 0, result.output
    base = base_file(output)
    assert base is None if keep == "full" else base is not None and base.resolve() == BASE.resolve()
    assert weights_hash(read_weights(output)) == _told(output)["weights_hash_after"]
    assert _told(output)["weights_path"] == str(SECOND)
    assert Certificate(certificate_path(output)).check().accepted


def test_a_class_without_test_images_has_no_accuracy_in_json() -> None:
    none = np.zeros(0, dtype=np.int64)
    found = Comparison([], np.array([[0.5, np.nan], [0.75, np.nan]]), none, none)
    assert repairs._as_json(found, ("cat", "dog"))["accuracies"] == {"cat": [0.5, 0.75], "dog": None}


def test_a_report_of_other_weights_says_so(folder: Path) -> None:
    copy = Path("artifacts/copy.pth")
    copy.symlink_to(BASE.resolve())
    report_path(copy).write_bytes(report_path(FIRST).read_bytes())
    result = _run("misclassified", "--weights", str(copy), "--max-samples", "2", output=Path("artifacts/new.pth"))
    assert result.exit_code == 0 and "counts as never repaired" in result.output
    assert _told(Path("artifacts/new.pth"))["earlier"] == []


def test_a_network_before_that_is_gone_is_named(folder: Path) -> None:
    told = _told(FIRST) | {"first_weights_path": "artifacts/gone.pth"}
    for path in (FIRST, Path(told["edit_set_path"])):
        (Path("elsewhere") / path.name).parent.mkdir(exist_ok=True)
    moved = Path("elsewhere/first.pth")
    moved.symlink_to(FIRST.resolve())
    report_path(moved).write_text(json.dumps(told))
    result = _run("misclassified", "--weights", str(moved), output=Path("artifacts/none.pth"))
    assert result.exit_code == 1 and "artifacts/gone.pth" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("victim", ["base", "also"])
def test_what_earlier_repairs_or_sets_given_by_hand_need_is_not_overwritten(folder: Path, victim: str) -> None:
    also = Path("also_edit_dataset.pt")
    save_edit_set(load_edit_set(Path(_told(FIRST)["edit_set_path"])).at(np.arange(1)), also)
    output = {"base": BASE, "also": also}[victim]
    before = output.read_bytes()
    result = _run("misclassified", "--weights", str(FIRST), "--also", str(also), output=output)
    assert result.exit_code == 2 and "would overwrite" in result.output, result.output
    assert output.read_bytes() == before


def test_sets_given_by_hand_are_repaired_together(folder: Path) -> None:
    whole = load_edit_set(Path(_told(SECOND)["edit_set_path"]))
    for name, positions in (("a", [0, 1, 2]), ("b", [2, 3])):
        save_edit_set(whole.at(np.array(positions)), Path(f"{name}_edit_dataset.pt"))
    output = Path("artifacts/joined.pth")
    result = _run("file", "a_edit_dataset.pt", "--also", "b_edit_dataset.pt", output=output)
    assert result.exit_code == 0, result.output
    told = _told(output)
    assert told["edit_set_size"] == 4 and told["earlier"] == [] and told["min_margin"] >= 2


def test_a_picture_with_a_corrected_label_is_not_chosen_again(folder: Path) -> None:
    """By the dataset's label the repaired network is wrong of it."""
    whole = load_edit_set(Path(_told(SECOND)["edit_set_path"]))
    corrected = EditSet(whole.images[:1], (whole.labels[:1] + 1) % 10, [{"image_idx": whole.metadata[0]["image_idx"]}])
    save_edit_set(corrected, Path("corrected_edit_dataset.pt"))
    output, after = Path("artifacts/corrected.pth"), Path("artifacts/after.pth")
    assert _run("file", "corrected_edit_dataset.pt", output=output).exit_code == 0
    result = _run("misclassified", "--weights", str(output), "--max-samples", "1000", output=after)
    assert result.exit_code == 0 and "note: 1 of the images" in result.output, result.output
    test = load_dataset(DatasetName.DIGITS, "test")
    wrong = predict_logits(load_alexnet(output), test).argmax(dim=1).numpy() != test.labels
    assert wrong[whole.metadata[0]["image_idx"]]
    assert sorted(_told(after)["edit_test_indices"]) == np.flatnonzero(wrong).tolist()
