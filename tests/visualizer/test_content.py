"""What the web page reads and refuses, asked without a browser; on small files made here."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient

from edits.record.report import RepairReport
from editset_helpers.edit_set import EditSet, save_edit_set
from helpers.errors import ToolError
from helpers.files.writing import save_tensors, write_json
from helpers.images.cache import content_hash
from helpers.images.digits import Digits
from tests.conftest import CHECKOUT
from visualizer.app import create_app
from visualizer.caching import FileCache
from visualizer.content.edit_sets import Filter, chosen, count_classes, image_rows
from visualizer.content.experiments import progress_of, read_results
from visualizer.content.files import EDIT_SETS, find_file, list_names
from visualizer.content.outcomes import load_outcomes
from visualizer.content.repairs import broken_and_fixed, by_class
from visualizer.content.reports import read_report
from visualizer.drawing.charts import experiment_figures
from visualizer.formatting import page_of, whole

# fmt: off
COLUMNS = [
    "experiment_id", "timestamp", "repair_set_type", "repair_set_focus", "requested_repair_set_size",
    "edit_set_sizing_strategy", "actual_repair_set_size", "edit_set_path", "target_class", "param_bound", "margin",
    "baseline_model_path", "baseline_accuracy_test_set", "baseline_accuracy_edit_set", "repair_runtime_seconds",
    "gurobi_barrier_iterations", "repair_successful", "repaired_model_path", "repaired_accuracy_test_set",
    "repaired_accuracy_edit_set", "repaired_accuracy_drawdown_set", "error_message", "seed", "layer", "norm",
    "metric", "solver", "solver_iterations", "objective", "gap", "min_margin", "baseline_accuracy_drawdown_set",
    "drawdown_points", "generalization_before", "generalization_after", "peak_memory_mb", "edit_set_hash",
    "baseline_weights_hash", "repaired_weights_hash", "prepare", "seconds_prepare", "seconds_solve", "dataset",
    "sequence", "iteration", "images_so_far", "repaired_accuracy_type",
]
# fmt: on
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def noise_set(count: int, **facts: Any) -> EditSet:
    """An edit set of noise; image i is of class i % 10, taken for the next class, with margin -i / 10."""
    generator = torch.Generator().manual_seed(0)
    names = [f"class {number}" for number in range(10)]
    metadata = [
        {
            "image_idx": number,
            "true_label": number % 10,
            "predicted_label": (number + 1) % 10,
            "true_probability": 0.1,
            "predicted_probability": 0.7,
            "margin": -number / 10,
            "true_class": names[number % 10],
            "predicted_class": names[(number + 1) % 10],
            **facts,
        }
        for number in range(count)
    ]
    images = torch.rand(count, 3, 64, 64, generator=generator)
    return EditSet(images, torch.arange(count) % 10, metadata, {"dataset": "noise", "seed": 0})


def result_row(number: int, **values: Any) -> dict[str, Any]:
    """A row of a result table."""
    row = {
        **dict.fromkeys(COLUMNS, ""),
        "experiment_id": f"e{number}",
        "repair_set_type": "misclassified",
        "requested_repair_set_size": 10,
        "actual_repair_set_size": 10,
        "repair_runtime_seconds": 0.5 + number,
        "repair_successful": True,
        "repaired_accuracy_test_set": 0.7,
        "drawdown_points": 0.1 * number,
        "solver_iterations": 20,
        "seed": number,
    }
    return {**row, **values}


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """A result table as the experiments write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def report(**values: Any) -> dict[str, Any]:
    """The JSON of a repair of two images."""
    made = RepairReport("repaired", None, "2026-01-01", "run_repair.py", "data/edit_sets/small_edit_dataset.pt", "", 2, "digits", None, "w.pth", "")  # fmt: skip  # noqa: E501
    return {**made.as_json(), "output_path": "r.pth", "outcomes_path": "artifacts/r_outcomes.pt", **values}


def outcomes() -> dict[str, Any]:
    """Of six test images, 0 and 1 are the edit set's; 2 was broken, 3 fixed, 4 and 5 stayed right."""
    before, after = torch.tensor([1, 1, 0, 1, 0, 1]), torch.tensor([0, 0, 1, 0, 0, 1])
    margins = torch.tensor([-1.0, -2.0, 0.5, -0.5, 3.0, 4.0])
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    moved = margins + torch.tensor([3.0, 4.0, -1.0, 1.0, 0.0, 0.5])
    content: dict[str, Any] = {"class_names": ["zero", "one"], "dataset_hash": "none"}
    for name, count in (("test", 6), ("edit", 2)):
        parts = {"labels": labels, "predicted_before": before, "predicted_after": after}
        parts |= {"margin_before": margins, "margin_after": moved}
        content |= {f"{name}_{key}": value[:count].clone() for key, value in parts.items()}
    changes = {"classifier.6.weight": torch.tensor([[0.0, 3.0], [4.0, 0.0]]), "classifier.6.bias": torch.zeros(2)}
    return {**content, "edit_indices": torch.tensor([0, 1]), "changes": changes}


def text_of(client: FlaskClient, address: str, status: int = 200) -> str:
    """The page at an address."""
    answer = client.get(address)
    assert answer.status_code == status, (address, answer.status_code)
    return answer.text


# What is computed


def test_rows_are_filtered_and_sorted() -> None:
    rows = image_rows(noise_set(25))
    assert [row.position for row in chosen(rows, Filter(true=3))] == [3, 13, 23]
    assert chosen(rows, Filter(true=3, predicted=3)) == []
    assert [row.position for row in chosen(rows, Filter(sort="margin"))] == list(range(24, -1, -1))
    assert chosen(rows, Filter(predicted=4, sort="-margin"))[0].position == 3


def test_counts_of_classes() -> None:
    edit_set = noise_set(25)
    classes = count_classes(edit_set, image_rows(edit_set))
    assert classes.true[4] == 3
    assert classes.predicted[5] == 3
    assert classes.confusion[(4, 5)] == 3
    assert classes.confusion.total() == 25
    assert classes.names[9] == "class 9"


def test_metadata_of_any_kind_is_survived() -> None:
    odd = {"margin": float("nan"), "predicted_label": "x", "true_class": 7, "predicted_class": [], "image_idx": True}
    edit_set = noise_set(3, **odd, true_probability=10**400)
    rows = image_rows(edit_set)
    assert [row.margin for row in chosen(rows, Filter(sort="margin"))] == [None] * 3
    assert rows[0].true_probability is rows[0].test_index is rows[0].predicted is None
    assert count_classes(edit_set, rows).names == {0: "0", 1: "1", 2: "2"}


@pytest.mark.parametrize(("number", "shown"), [(-3, 1), (1, 1), (3, 3), (99, 3)])
def test_pages(number: int, shown: int) -> None:
    page = page_of(range(25), number, 10)
    assert (page.number, page.pages, page.first) == (shown, 3, 10 * (shown - 1) + 1)
    assert list(page.items) == list(range(25))[page.first - 1 : page.first + 9]


def test_numbers_in_addresses() -> None:
    assert [whole("12"), whole(""), whole(None, 4), whole("x", 1), whole("9" * 5000)] == [12, None, 4, 1, None]


def test_broken_and_fixed(folder: Path) -> None:
    loaded = load_outcomes(folder / "artifacts/r_outcomes.pt")
    masks = broken_and_fixed(loaded)
    assert {key: np.flatnonzero(mask).tolist() for key, mask in masks.items()} == {
        "broken": [2],
        "fixed": [3],
        "all": [2, 3, 4, 5],
    }
    zero, one = by_class(loaded, masks)
    assert (zero.count, zero.broken, zero.fixed, zero.gained) == (3, 1, 1, 0.0)
    assert (one.count, one.broken, one.fixed, one.gained) == (1, 0, 0, 0.5)
    weight = loaded.changes[0]
    assert (weight.changed, weight.largest, weight.norm) == (2, 4.0, 5.0)
    assert weight.blocks.tolist() == [[0.0, 3.0], [4.0, 0.0]]


def test_large_changes_are_shown_in_blocks(folder: Path) -> None:
    change = torch.arange(128.0)[:, None].expand(128, 256).contiguous()
    save_tensors(folder / "artifacts/r_outcomes.pt", {**outcomes(), "changes": {"w": change}})
    blocks = load_outcomes(folder / "artifacts/r_outcomes.pt").changes[0].blocks
    assert blocks.shape == (64, 64)
    assert blocks[:, 5].tolist() == [2 * row + 0.5 for row in range(64)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"edit_indices": torch.tensor([0])},
        {"test_predicted_after": torch.full((6,), 7)},
        {"test_margin_after": torch.zeros(5)},
        {"class_names": None},
        {"changes": torch.zeros(3)},
        {"edit_labels": "no"},
    ],
)
def test_outcomes_that_are_none(folder: Path, client: FlaskClient, wrong: dict[str, Any]) -> None:
    save_tensors(folder / "artifacts/r_outcomes.pt", {**outcomes(), **wrong})
    with pytest.raises(ToolError, match="does not hold the outcomes"):
        load_outcomes(folder / "artifacts/r_outcomes.pt")
    assert "Nothing to show: artifacts/r_outcomes.pt does not hold" in text_of(client, "/repairs/artifacts/r.json")


def test_training_records_are_no_reports(folder: Path) -> None:
    write_json(folder / "artifacts/base.json", {"accuracy": 0.7, "seconds": 3})
    assert read_report(folder / "artifacts/base.json") is None
    assert read_report(folder / "artifacts/r.json") is not None


def test_results_while_they_are_written(folder: Path) -> None:
    path = folder / "results/sweep.csv"
    with path.open("a") as stream:
        stream.write("e3,half a row")
    results = read_results(path)
    assert (len(results.table), results.unreadable) == (2, 0)
    with path.open("a") as stream:
        stream.write("\n")
    assert read_results(path).unreadable == 1
    assert progress_of(results.table).repaired == 2
    assert results.table["drawdown_points"].tolist() == [0.1, 0.2]


def test_figures_are_strict_json(folder: Path) -> None:
    rows = [
        result_row(1),
        result_row(2, requested_repair_set_size=50),
        result_row(3, repair_successful=False, drawdown_points="", repaired_accuracy_test_set="nan"),
        result_row(4, repair_set_type="class_homogeneous", target_class=HOSTILE, gap="inf"),
    ]
    write_results(folder / "results/sweep.csv", rows)
    table = read_results(folder / "results/sweep.csv").table
    figures = experiment_figures(table.assign(iterations=table["solver_iterations"]), ["", "/repairs/x", "", ""])
    text = json.dumps(figures, allow_nan=False)
    assert "<script>" not in text
    drawdown = {trace["name"]: trace for trace in figures["drawdown"]["data"]}
    assert drawdown["misclassified"]["x"] == [10.0, 50.0]
    assert drawdown["misclassified"]["customdata"] == ["", "/repairs/x"]
    assert figures["success"]["data"][1]["text"] == ["1 of 2", "1 of 1"]


def test_cache_reads_again_when_the_file_changes(tmp_path: Path) -> None:
    cache = FileCache(lambda path: (path.read_text(), object()), 2)
    path = tmp_path / "a"
    path.write_text("one")
    first = cache.get(path)
    assert cache.get(path) is first
    path.write_text("three")
    assert cache.get(path)[0] == "three"
    path.unlink()
    with pytest.raises(ToolError, match="vanished"):
        cache.get(path)


def test_a_file_that_takes_long_holds_up_no_other(tmp_path: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def read(path: Path) -> str:
        if path.name == "slow":
            begun.set()
            assert may_end.wait(20)
        return path.name

    cache = FileCache(read, 2)
    for name in ("slow", "quick"):
        (tmp_path / name).touch()
    other = threading.Thread(target=cache.get, args=(tmp_path / "slow",))
    other.start()
    assert begun.wait(20)
    assert cache.get(tmp_path / "quick") == "quick"
    may_end.set()
    other.join()


# What is shown


@pytest.mark.parametrize(
    ("prepare", "shown"), [("none", "nothing"), (None, "nothing"), ("classifier.4", "classifier.4")]
)
def test_a_page_says_what_was_prepared(folder: Path, client: FlaskClient, prepare: str | None, shown: str) -> None:
    write_json(folder / "artifacts/r.json", report(prepare=prepare))
    assert f"<dt>prepared first</dt><dd>{shown}</dd>" in text_of(client, "/repairs/artifacts/r.json")


PLANTED = {
    "prepare": "spare-units", "reach": "near", "planted_units": 2, "planted_loss": 0.00012, "detected_alone": 1,
    "not_separable": [0, 1], "nearest_training_images": [17, -1], "largest_ordinary_response": 0.4375,
    "outside_detected": 3, "edit_images": [4, 9], "edit_test_indices": [90, -1],
}  # fmt: skip


def words_of(page: str) -> str:
    """The text of a page, blanks made one."""
    return " ".join(re.sub(r"<[^>]*>", "", page).split())


def test_a_page_says_what_was_planted(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/r.json", report(**PLANTED))
    page = text_of(client, "/repairs/artifacts/r.json")
    told = words_of(page)
    for sentence in (
        "2 spare units of classifier.4, which ordinary images do not need, became detectors of the 2 edit images.",
        "Reach near: shifted copies are to set them off, too. 1 edit image is detected without such copies",
        "Without these units, 0.012 % of the training images get another answer.",
        "an edit image with another label, is 0.4375. Edit images that are not separable are left out of this.",
        "3 other test images set a detector off.",
        "2 of 2 edit images are not separable: another image responds as much",
        "test image 90 from training image 17 edit image 9 from another edit image",
    ):
        assert sentence in told
    name = "data/edit_sets/small_edit_dataset.pt"
    assert f'<a href="/edit-sets/{name}?image=9">edit image 9</a>' in page
    text_of(client, f"/edit-sets/{name}?image=9")


@pytest.mark.parametrize(
    ("reach", "dataset", "words"),
    [
        ("exact", "cifar10", "Reach exact: hardly any other image is to set them off."),
        ("near", "cifar10", "Reach near: mirrored and shifted copies are to set them off, too."),
        ("wide", "digits", "Reach wide: shifted copies are to set them off, too, more of them than with near."),
    ],
)
def test_a_page_says_how_far_detectors_reach(
    folder: Path, client: FlaskClient, reach: str, dataset: str, words: str
) -> None:
    separable = {"not_separable": [], "nearest_training_images": [], "detected_alone": 0, "outside_detected": None}
    facts = PLANTED | separable | {"reach": reach, "dataset": dataset, "copies": 8}
    write_json(folder / "artifacts/r.json", report(**facts))
    told = words_of(text_of(client, "/repairs/artifacts/r.json"))
    assert f"of the 2 edit images and their constrained copies. {words} Without these units" in told
    assert "Every edit image is separable" in told
    assert "a detector off" not in told


MOVED = {
    "prepare": "classifier.4", "prepare_copies": "mirrored", "prepare_objective": 1.5, "prepare_steps": 2,
    "prepare_margins": [3, 0], "prepare_iterations": [40, 50],
}  # fmt: skip
PLANTED_FIRST = {"prepare": "spare-units", "planted_units": 2, "planted_cost": 0.1, "not_separable": [1]}


@pytest.mark.parametrize("facts", [{}, {"prepare": None}, MOVED, PLANTED_FIRST])
def test_a_page_of_an_old_report_says_nothing_of_planting(
    folder: Path, client: FlaskClient, facts: dict[str, Any]
) -> None:
    old = {key: value for key, value in report().items() if key not in PLANTED or key.startswith("edit_")}
    write_json(folder / "artifacts/r.json", {**old, **facts})
    page = text_of(client, "/repairs/artifacts/r.json")
    assert "Edit images before and after" in page
    assert not any(word in page for word in ("What was planted", "separable", "Reach", "copies of edit images"))


def test_lists_that_do_not_fit_are_not_shown(folder: Path, client: FlaskClient) -> None:
    for wrong in ([17], [17, "x"], None):
        write_json(folder / "artifacts/r.json", report(**PLANTED | {"nearest_training_images": wrong}))
        assert "What was planted" not in text_of(client, "/repairs/artifacts/r.json")


def test_a_page_says_how_many_copies_are_right(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/r.json", report(generalization_before=0.125, generalization_after=0.625))
    page = text_of(client, "/repairs/artifacts/r.json")
    row = page[page.index("copies of edit images</th>") :].partition("</tr>")[0]
    assert re.findall(r"[+\d.]+", row) == ["12.50", "62.50", "+50.00"]
    tile = page[page.index("<dt>Copies right</dt>") :].partition("</div>")[0]
    assert re.findall(r"[\d.]+", words_of(tile)) == ["62.5", "12.5"]


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/edit-sets",
        "/edit-sets/data/edit_sets/small_edit_dataset.pt",
        "/edit-sets/data/edit_sets/small_edit_dataset.pt?image=3",
        "/repairs",
        "/repairs/artifacts/r.json",
        "/experiments",
        "/experiments?file=results/sweep.csv",
    ],
)
def test_every_page_answers_and_changes_nothing(folder: Path, client: FlaskClient, address: str) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_filters_in_addresses(client: FlaskClient) -> None:
    page = text_of(
        client, "/edit-sets/data/edit_sets/small_edit_dataset.pt?true=3&predicted=4&sort=margin&size=huge&per=30"
    )
    assert page.count('loading="lazy"') == 3
    assert page.index("Image 24: class 3") < page.index("Image 4: class 3")
    assert 'width="320"' in page
    odd = text_of(client, "/edit-sets/data/edit_sets/small_edit_dataset.pt?true=x&sort=evil&size=1&per=-1&page=x")
    assert odd.count('loading="lazy"') == 25


def test_pictures_are_the_images(folder: Path, client: FlaskClient) -> None:
    from io import BytesIO

    from PIL import Image

    answer = client.get("/pictures/edit-set/data/edit_sets/small_edit_dataset.pt/7.png")
    pixels = np.asarray(Image.open(BytesIO(answer.data)))
    wanted = (noise_set(25).images[7] * 255).round().byte().permute(1, 2, 0).numpy()
    assert answer.mimetype == "image/png"
    assert np.array_equal(pixels, wanted)
    assert client.get("/pictures/edit-set/data/edit_sets/small_edit_dataset.pt/25.png").status_code == 404


def test_test_pictures_are_of_the_same_data_or_none(folder: Path, client: FlaskClient) -> None:
    page = text_of(client, "/repairs/artifacts/r.json")
    assert "No pictures: the test images of &#39;digits&#39; here are not those of this repair." in page
    digits = Digits().read("test")
    save_tensors(folder / "artifacts/r_outcomes.pt", {**outcomes(), "dataset_hash": content_hash(digits)})
    assert "No pictures: the test images" not in text_of(client, "/repairs/artifacts/r.json")
    assert client.get("/pictures/test/artifacts/r.json/3.png").mimetype == "image/png"
    assert client.get("/pictures/test/artifacts/r.json/9999.png").status_code == 404
    assert not (folder / "data/cache").exists()


def test_outcomes_of_another_repair_are_not_shown(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/r.json", report(test_accuracy_after=0.123))
    assert "those of another repair" in text_of(client, "/repairs/artifacts/r.json")
    write_json(folder / "artifacts/r.json", report(outcomes_path=None, status="infeasible", message="no way"))
    assert "kept no weights" in text_of(client, "/repairs/artifacts/r.json")


def test_rows_link_to_their_repairs(client: FlaskClient) -> None:
    page = text_of(client, "/experiments")
    assert '<a href="/repairs/artifacts/r.json">e1</a>' in page
    assert ">e2</a>" not in page


def test_live_state(folder: Path, client: FlaskClient) -> None:
    state = client.get("/experiments/live.json?file=results/sweep.csv").get_json()
    assert (state["rows"], state["repaired"], state["failed"], state["running"]) == (2, 2, 0, True)
    os.utime(folder / "results/sweep.csv", (time.time() - 1000,) * 2)
    assert not client.get("/experiments/live.json?file=results/sweep.csv").get_json()["running"]


# Every state has a page


def test_nothing_there_yet(tmp_path: Path) -> None:
    client = create_app(tmp_path).test_client()
    assert "uv run python editset_generator.py misclassified" in text_of(client, "/edit-sets")
    assert "uv run python run_repair.py misclassified" in text_of(client, "/repairs")
    assert "uv run python experiment_runner.py" in text_of(client, "/experiments")
    assert "There are no repairs yet" in text_of(client, "/")


def test_broken_files_are_named_and_the_others_shown(folder: Path, client: FlaskClient) -> None:
    whole = (folder / "data/edit_sets/small_edit_dataset.pt").read_bytes()
    (folder / "data/edit_sets/cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "data/edit_sets/empty.pt").touch()
    (folder / "artifacts/half.json").write_text('{"status": "repa')
    (folder / "artifacts/deep.json").write_text("[" * 100_000)
    (folder / "results/other.csv").write_text("a,b\n1,2\n")
    (folder / "results/bytes.csv").write_bytes(b"\xff\xfe\0\0,\n\0")
    for address, broken, kept in (
        ("/edit-sets", ["cut.pt", "empty.pt"], "small_edit_dataset.pt"),
        ("/repairs", ["half.json", "deep.json"], "r.json"),
        ("/experiments", ["other.csv", "bytes.csv"], "sweep.csv"),
    ):
        page = text_of(client, address)
        problems = page[page.index("Files that cannot be read") :]
        assert all(name in problems for name in broken), address
        assert str(folder) not in page
        assert f"{kept}</span>" in page or f"{kept} <span" in page
    assert "cut.pt" in text_of(client, "/edit-sets/data/edit_sets/cut.pt", 422)


def test_files_are_loaded_without_running_code(folder: Path, client: FlaskClient) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(folder / "pwned"),))

    torch.save({"images": Evil(), "labels": Evil()}, folder / "data/edit_sets/evil.pt")
    torch.save({"class_names": Evil()}, folder / "artifacts/r_outcomes.pt")
    assert "evil.pt is not a plain tensor file" in text_of(client, "/edit-sets")
    text_of(client, "/edit-sets/data/edit_sets/evil.pt", 422)
    assert "not a plain tensor file" in text_of(client, "/repairs/artifacts/r.json")
    assert not (folder / "pwned").exists()


def test_files_that_vanish_or_change_while_they_are_read(folder: Path, client: FlaskClient) -> None:
    path = folder / "data/edit_sets/small_edit_dataset.pt"
    whole, stop = path.read_bytes(), threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            path.unlink(missing_ok=True)
            path.write_bytes(whole[: len(whole) // 3])
            path.write_bytes(whole)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        addresses = ["/edit-sets", "/edit-sets/data/edit_sets/small_edit_dataset.pt"]
        seen = {client.get(address).status_code for _ in range(25) for address in addresses}
    finally:
        stop.set()
        other.join()
    assert seen <= {200, 404, 422}
    text_of(client, "/edit-sets/data/edit_sets/small_edit_dataset.pt")
    path.unlink()
    text_of(client, "/edit-sets/data/edit_sets/small_edit_dataset.pt", 404)
    text_of(client, "/pictures/edit-set/data/edit_sets/small_edit_dataset.pt/0.png", 404)


# What is refused

WAYS_OUT = [
    "../secret.pt",
    "data/edit_sets/../../secret.pt",
    "data/edit_sets/%2e%2e/%2e%2e/secret.pt",
    "data/edit_sets/..%2f..%2fsecret.pt",
    "data/edit_sets/..%5c..%5csecret.pt",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "data/edit_sets/link.pt",
    "data/edit_sets/elsewhere/secret.pt",
    "data/edit_sets//small_edit_dataset.pt",
    "data/edit_sets/.hidden.pt",
    "data/edit_sets/small_edit_metadata.json",
    "data/edit_sets/small_edit_dataset.pt%00.pt",
    "data/edit_sets/none.pt",
    "data/edit_sets",
    "artifacts/r_outcomes.pt",
    "x" * 5000,
]


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("page", ["/edit-sets/{}", "/pictures/edit-set/{}/0.png", "/repairs/{}"])
def test_no_address_leaves_the_folders(folder: Path, client: FlaskClient, page: str, way: str) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    save_edit_set(noise_set(2), outside / "secret.pt")
    save_edit_set(noise_set(2), folder / "secret.pt")
    save_edit_set(noise_set(2), folder / "data/edit_sets/.hidden.pt")
    (folder / "data/edit_sets/link.pt").symlink_to(outside / "secret.pt")
    (folder / "data/edit_sets/elsewhere").symlink_to(outside)
    assert client.get(page.format(way)).status_code in {308, 404}
    assert list_names(folder, EDIT_SETS) == ["data/edit_sets/small_edit_dataset.pt"]


def test_a_folder_that_is_itself_a_link_is_the_users_choice(folder: Path) -> None:
    (folder / "data").rename(folder / "disk")
    (folder / "data").symlink_to(folder / "disk")
    assert list_names(folder, EDIT_SETS) == ["data/edit_sets/small_edit_dataset.pt"]


def test_names_that_are_no_text(folder: Path, client: FlaskClient) -> None:
    strange = os.fsdecode(os.fsencode(folder / "data/edit_sets") + b"/\xff_edit_dataset.pt")
    Path(strange).touch()
    assert "small_edit_dataset.pt" in text_of(client, "/edit-sets")
    with pytest.raises(ToolError):
        find_file(folder, EDIT_SETS, "data/edit_sets/\udcff_edit_dataset.pt\0")


@pytest.mark.parametrize(
    "address", ["/none", "/edit-sets/", "/repairs/artifacts/base.json", "/experiments?file=../x.csv"]
)
def test_unknown_pages(client: FlaskClient, address: str) -> None:
    assert "There is no such page" in text_of(client, address, 404)


def test_hostile_names_are_text(folder: Path) -> None:
    name = f"data/edit_sets/{HOSTILE.replace('/', '_')}_edit_dataset.pt"
    save_edit_set(noise_set(12, true_class=HOSTILE, predicted_class=HOSTILE, type=HOSTILE), folder / name)
    facts = report(message=HOSTILE, command=HOSTILE, layer=HOSTILE, status=HOSTILE, seconds={HOSTILE: 1})
    write_json(folder / "artifacts/r.json", facts)
    save_tensors(folder / "artifacts/r_outcomes.pt", {**outcomes(), "class_names": [HOSTILE, "</script>"]})
    hostile = {"experiment_id": HOSTILE, "repair_set_type": HOSTILE, "error_message": HOSTILE, "target_class": HOSTILE}
    write_results(
        folder / "results/sweep.csv", [result_row(1, **hostile), result_row(2, repair_successful=False, **hostile)]
    )
    client = create_app(folder).test_client()
    addresses = ["/edit-sets", "/repairs", "/repairs/artifacts/r.json", "/experiments", f"/edit-sets/{name}"]
    for address in [*addresses, f"/edit-sets/{name}?image=3", f"/edit-sets/{HOSTILE}", f"/experiments?file={HOSTILE}"]:
        page = client.get(address).text
        assert "alert(1)" in page, address
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address


def test_odd_values_are_survived(folder: Path) -> None:
    half = "\ud800"
    odd = {"true_class": "", "type": [[]], "image_idx": 10**500, "true_probability": 10**500, "predicted_label": 10**30}
    edit_set = noise_set(3, **odd)
    content = {"images": edit_set.images, "labels": edit_set.labels, "metadata": edit_set.metadata}
    save_tensors(folder / "data/edit_sets/small_edit_dataset.pt", content)
    facts = report(message=half, layer=half, rows=10**400, gap=10**400, seconds={half: 10**400}, timestamp=3, norm=[[]])
    (folder / "artifacts/r.json").write_text(json.dumps({**facts, "norm": half, "edit_set_size": None}))
    weights = (".", "/", "..", "artifacts", half.encode(errors="replace").decode(), "\0", "x" * 9999)
    rows = [result_row(number, repaired_model_path=path, seed=half[:0]) for number, path in enumerate(weights)]
    write_results(folder / "results/sweep.csv", rows)
    client = create_app(folder).test_client()
    name = "data/edit_sets/small_edit_dataset.pt"
    for address in ("/edit-sets", f"/edit-sets/{name}", f"/edit-sets/{name}?image=1", "/repairs"):
        text_of(client, address)
    for address in ("/repairs/artifacts/r.json", "/experiments", "/experiments/live.json?file=results/sweep.csv"):
        text_of(client, address)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "[::ffff:1.2.3.4]", "169.254.1.1"])
def test_foreign_names_are_refused(folder: Path, client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 421
    served = create_app(folder, "0.0.0.0").test_client()
    assert served.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80"])
def test_own_names_are_served(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_sent(client: FlaskClient, method: str) -> None:
    assert client.open("/edit-sets", method=method).status_code == 405


# The command


def test_a_port_in_use_gets_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, str(CHECKOUT / "editset_visualizer.py"), "--port", port]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: Cannot listen on 127.0.0.1 port {port}")
    assert ended.stderr.count("\n") == 1
