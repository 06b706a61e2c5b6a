"""What pages say of repairs: names in words, lists, two side by side, an image, chains; asked without a browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from flask.testing import FlaskClient
from typer.core import TyperGroup

from editset_helpers.edit_set import save_edit_set
from helpers.errors import UsageError
from helpers.files.writing import save_tensors, write_json
from helpers.images.cache import content_hash
from helpers.images.digits import Digits
from tests.visualizer.test_content import (
    HOSTILE,
    noise_set,
    outcomes,
    report,
    result_row,
    text_of,
    words_of,
    write_results,
)
from visualizer.app import create_app
from visualizer.content.outcomes import load_outcomes
from visualizer.content.repairs import ClassOutcome
from visualizer.content.reports import read_report
from visualizer.export import export
from visualizer.telling import commands
from visualizer.telling.words import harm_of, images_in_words, verdict_of

SMALL = "data/edit_sets/small_edit_dataset.pt"
STEP = {
    "timestamp": "2026-01-01T10:00:00+00:00", "command": "run_repair.py", "output_path": "artifacts/first.pth",
    "edit_set_size": 1, "drawdown_points": 0.25, "generalization_after": 0.5,
}  # fmt: skip


def likely(classes: int = 2) -> dict[str, torch.Tensor]:
    """Probabilities and answers on two copies, as a repair of two images writes them; test images 0 to 3 moved."""
    edit = torch.tensor([[0.2, 0.8], [0.9, 0.1]])[:, None].expand(2, 2, classes)
    moved = torch.tensor([[0.6, 0.4], [0.3, 0.7]])[:, None].expand(2, 4, classes)
    copies = torch.tensor([[[1, 1], [1, 0]], [[0, 1], [0, 0]]], dtype=torch.int16)
    return {
        "edit_probabilities": edit.half(), "moved": torch.arange(4), "moved_probabilities": moved.half(),
        "copies_predicted": copies,
    }  # fmt: skip


def another(folder: Path, name: str, **values: Any) -> dict[str, Any]:
    """A second repair beside the first: image 2 is not broken, image 3 not fixed, image 5 is broken."""
    told = report(**values)
    write_json(folder / f"artifacts/{name}.json", told)
    content = outcomes()
    content["test_predicted_after"] = torch.tensor([0, 0, 0, 1, 0, 0])
    save_tensors(folder / f"artifacts/{name}_outcomes.pt", content)
    return told


# In words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("misclassified", "5 misclassified images of CIFAR-10"),
        ("misclassified_100_seed1", "5 misclassified images of CIFAR-10"),
        ("misclassified_n6_s0_799f7eba3d7c", "5 misclassified images of CIFAR-10"),
        ("misclassified_346b4306_997ccf0c", "5 misclassified images of CIFAR-10"),
        ("class_3_cat", "5 misclassified images of class cat, CIFAR-10"),
        ("class_3_cat_any", "5 images of class cat, CIFAR-10"),
        (
            "class_9_big_truck_correct_taken_for_1_car",
            "5 rightly classified images of class big_truck, CIFAR-10 taken for car",
        ),
        ("class3_incorrect_n10_s0_ab12cd34ef56", "5 misclassified images of class cat, CIFAR-10"),
        (
            "misclassified_train_relabeled_ab12cd34",
            "5 misclassified training images of CIFAR-10 with labels that were given",
        ),
        ("images_4_17", "5 chosen images of CIFAR-10"),
        ("joined_13af1863347b", "5 images of CIFAR-10"),
        ("my own", "5 images of CIFAR-10, my own"),
    ],
)
def test_edit_sets_have_names_in_words(name: str, words: str) -> None:
    assert images_in_words(name, 5, "cifar10") == words


def test_one_image_and_an_unknown_number() -> None:
    assert images_in_words("misclassified", 1, "pets") == "1 misclassified image of pets"
    assert images_in_words("misclassified", None, None) == "? misclassified images"


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"certificate_path": "r_certificate.npz"}, "accepted"),
        ({"certificate_path": "r_certificate.npz", "status": "infeasible"}, "proved"),
        ({"status": "not_verified"}, "refused"),
        ({}, "none"),
    ],
)
def test_the_checkers_verdict(facts: dict[str, Any], word: str) -> None:
    assert verdict_of(report(**facts))[0] == word


def test_a_class_that_pays_is_named() -> None:
    dog, cat = ClassOutcome(5, "dog", 1000, 90, 5, -0.1), ClassOutcome(3, "cat", 1000, 3, 468, 0.5)
    assert harm_of([cat, dog]) == (
        "Class dog pays most: 85 more of its images are wrong (8.5 % of its 1,000 images), and class cat gains 465."
    )
    assert harm_of([cat]) is None
    assert harm_of([ClassOutcome(5, "dog", 1000, 7, 1, -0.1)]) is None


def test_reports_keep_flags_and_earlier_repairs(folder: Path) -> None:
    write_json(folder / "artifacts/r.json", report(flip=True, earlier=[{**STEP, "margin": "odd"}, 3]))
    told = read_report(folder / "artifacts/r.json")
    assert told is not None
    assert told["flip"] is True
    (step,) = told["earlier"]
    assert (step["edit_set_size"], step["margin"]) == (1, None)


# Lists


def test_the_list_is_sorted_searched_and_paged(folder: Path, client: FlaskClient) -> None:
    for number in range(120):
        facts = {"drawdown_points": None if number == 7 else number / 10, "timestamp": f"2025-01-01T{number:05}"}
        write_json(folder / f"artifacts/many/r{number:03}.json", report(**facts, dataset="cifar10"))
    first = text_of(client, "/repairs?sort=-drawdown&words=cifar")
    assert "1 to 100 of 120 repairs" in first
    assert first.index("many/r119.json") < first.index("many/r118.json")
    last = text_of(client, "/repairs?sort=-drawdown&words=cifar&page=2")
    assert last.index("many/r000.json") < last.index("many/r007.json")  # what is not known comes last
    up = text_of(client, "/repairs?sort=drawdown&words=many r01")
    assert up.index("many/r010.json") < up.index("many/r019.json")
    assert 'aria-sort="ascending"' in up
    assert "artifacts/r.json" in text_of(client, "/repairs?sort=evil&words=digits")


def test_pictures_of_a_set_that_was_written_anew_are_not_shown(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/r.json", report(edit_images=[4, 9]))
    assert "/pictures/edit-set/" in text_of(client, "/repairs")
    os.utime(folder / SMALL, (time.time() + 100,) * 2)
    assert "/pictures/edit-set/" not in text_of(client, "/repairs")


def test_the_overview_shows_the_latest_repairs_and_what_runs(folder: Path, client: FlaskClient) -> None:
    facts = {"drawdown_points": 0.641, "generalization_after": 0.86, "certificate_path": "artifacts/r_certificate.npz"}
    write_json(folder / "artifacts/r.json", report(**facts, seconds={"solve": 8.41}))
    told = words_of(text_of(client, "/"))
    for words in (
        "2 images of handwritten digits, small",
        "Drawdown0.64",
        "Copies right86.0",
        "8.4",
        "accepted by the",
    ):
        assert words in told, words
    assert "results/sweep.csv: 2 experiments, 2 repaired, 0 not." in told
    assert "uv run python verify.py artifacts/r_certificate.npz" in told
    os.utime(folder / "results/sweep.csv", (time.time() - 1000,) * 2)
    assert "Running now" not in text_of(client, "/")


def offered(folder: Path) -> list[str]:
    """The commands of the pages of a folder."""
    told = report(
        output_path="artifacts/it's.pth", certificate_path="artifacts/c.npz", dataset="digits", data_root=None
    )
    steps = [line for which in (None, told) for _, line in commands.next_steps(which)]
    compared = [commands.compare(told, None), commands.compare(told, told)]
    empty = [commands.sweep(), commands.undo(told), commands.repair_set(SMALL, "digits")]
    return [*steps, *filter(None, compared), *empty]


def test_the_commands_of_the_pages_can_be_typed(folder: Path) -> None:
    """Each is taken apart by its own script, which refuses options that it does not have."""
    for line in offered(folder):
        python, script, *words = shlex.split(line.removeprefix("uv run "))
        assert python == "python"
        if script == "verify.py":
            continue  # which is no typer script
        command = typer.main.get_command(import_module(script.removesuffix(".py")).app)
        if isinstance(command, TyperGroup):
            _, chosen, words = command.resolve_command(command.make_context(script, list(words)), words)
            assert chosen is not None
            command = chosen
        command.make_context(script, words)


def test_a_repair_upon_a_repair_promises_no_less() -> None:
    told = report(output_path="a.pth", margin=3.5, param_bound=5.0, shifts=1, flip=True, dataset="cifar10")
    ((_, line),) = [step for step in commands.next_steps(told) if "--weights" in step[1]]
    assert line.endswith("--weights a.pth --output a_next.pth --margin 3.5 --shifts 1 --flip")
    assert not [step for step in commands.next_steps(told | {"test_accuracy_after": 1.0}) if "--weights" in step[1]]


# Two side by side


def test_two_repairs_side_by_side(folder: Path, client: FlaskClient) -> None:
    another(folder, "s", weights_path="w.pth")
    page = text_of(client, "/compare?pick=artifacts/r.json&pick=artifacts/s.json")
    told = words_of(page)
    for words in ("A alone broke: 1", "B alone broke: 1", "A alone fixed: 1"):
        assert words in told
    rows = dict(zip(("zero", "one"), page.split('<th scope="row">')[1:3], strict=True))
    cells = re.findall(r'number">([\d.+]+)', rows["zero"])
    assert cells == ["5", "40.00", "80.00", "80.00", "+0.00"]
    assert "uv run python repairs.py compare r.pth r.pth --dataset digits" in told
    kind = text_of(client, "/compare?pick=artifacts/r.json&pick=artifacts/s.json&kind=second_broke")
    assert "test_image=5" in kind or "Test image" not in kind


def test_before_and_after(client: FlaskClient) -> None:
    told = words_of(text_of(client, "/compare?pick=artifacts/r.json"))
    assert "the repair broke: 1" in told
    assert "the repair fixed: 3" in told  # the edit images are among them


def test_what_cannot_be_compared(folder: Path, client: FlaskClient) -> None:
    assert "Tick one repair, or two" in text_of(client, "/compare")
    assert "3 repairs are ticked" in text_of(client, "/compare?pick=a&pick=b&pick=c")
    text_of(client, "/compare?pick=artifacts/none.json", 404)
    another(folder, "s")
    content = outcomes() | {"dataset_hash": "another"}
    save_tensors(folder / "artifacts/s_outcomes.pt", content)
    assert "different test images" in text_of(client, "/compare?pick=artifacts/r.json&pick=artifacts/s.json", 422)
    save_tensors(folder / "artifacts/s_outcomes.pt", outcomes() | {"test_predicted_before": torch.zeros(6).long()})
    assert "different networks" in text_of(client, "/compare?pick=artifacts/r.json&pick=artifacts/s.json", 422)


# One repair


def test_a_chain_is_a_line_of_time(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/first.json", report(output_path="artifacts/first.pth"))
    chained = report(earlier=[STEP], earlier_images=1, output_path="artifacts/r.pth", weights_path="artifacts/base.pth")
    write_json(folder / "artifacts/r.json", chained)
    page = text_of(client, "/repairs/artifacts/r.json")
    told = words_of(page)
    assert "1 of them new" in told
    assert "1 Jan 2026, 10:00: 1 new image, 1 in all; drawdown 0.25" in told
    assert '<a href="/repairs/artifacts/first.json">artifacts/first.pth</a>' in page
    assert "uv run python repairs.py undo artifacts/r.pth --output artifacts/r_undone.pth" in told


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"edit_test_indices": [90, 17], "contradicting_images": [17, 90]}, "test images 17 and 90"),
        ({"contradicting_images": [0, 1, 2]}, "edit images 0, 1 and 2, counted from 0 in the order of the edit set"),
    ],
)
def test_a_contradiction_says_what_its_numbers_are(
    folder: Path, client: FlaskClient, facts: dict[str, Any], words: str
) -> None:
    lost = report(
        status="infeasible", outcomes_path=None, edit_set_path="data/edit_sets/gone.pt", message="no", **facts
    )
    write_json(folder / "artifacts/r.json", lost)
    assert f"These images contradict each other: {words}." in words_of(text_of(client, "/repairs/artifacts/r.json"))


def test_a_file_outside_is_not_gone(folder: Path, client: FlaskClient) -> None:
    save_edit_set(noise_set(2), folder / "elsewhere.pt")
    for path, words in (("elsewhere.pt", "outside the folders that this page shows"), ("gone.pt", "not here any more")):
        write_json(folder / "artifacts/r.json", report(edit_set_path=path))
        assert f"{path} ({words})" in text_of(client, "/repairs/artifacts/r.json")


def test_a_repair_leads_to_its_sweep_and_its_set_to_it(folder: Path, client: FlaskClient) -> None:
    write_json(folder / "artifacts/r.json", report(output_path="artifacts/r.pth", edit_images=[4, 9]))
    assert 'href="/experiments?file=results/sweep.csv#rows"' in text_of(client, "/repairs/artifacts/r.json")
    link = '<a href="/repairs/artifacts/r.json">'
    assert link in text_of(client, f"/edit-sets/{SMALL}")
    assert "/repairs/artifacts/r.json?edit_image=1" in text_of(client, f"/edit-sets/{SMALL}?image=9")
    assert "None yet." in text_of(client, f"/edit-sets/{SMALL}?image=8")


# One image


def test_an_edit_image_with_probabilities_and_copies(folder: Path, client: FlaskClient) -> None:
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely())
    page = text_of(client, "/repairs/artifacts/r.json?edit_image=1")
    table = page[page.index("<caption>Probability") :].partition("</table>")[0]
    assert words_of(table).replace("\N{NO-BREAK SPACE}", " ").split("zero")[1].split()[:4] == ["20.0", "%", "90.0", "%"]
    assert "shifted down" in page
    assert "shifted right" not in page  # there are two copies: the last two
    assert 'rel="prev"' in page
    assert 'rel="next"' not in page


def test_a_test_image_that_changed(folder: Path, client: FlaskClient) -> None:
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely())
    assert "70.0" in text_of(client, "/repairs/artifacts/r.json?test_image=3")
    assert "Probabilities are kept of edit images" in text_of(client, "/repairs/artifacts/r.json?test_image=4")
    for wrong in ("test_image=6", "edit_image=2", "edit_image=-1", "edit_image=x"):
        text_of(client, f"/repairs/artifacts/r.json?{wrong}", 404)


def test_training_images_that_are_near(folder: Path, client: FlaskClient) -> None:
    hashed = content_hash(Digits().read("train"))
    near = {"nearest": torch.tensor([[5, 7], [9, 10**6]]), "training_hash": hashed}
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely() | near)
    assert "training image 7" in text_of(client, "/repairs/artifacts/r.json?edit_image=0")
    assert text_of(client, "/repairs/artifacts/r.json?edit_image=1").count("training image ") == 1
    assert client.get("/pictures/training/artifacts/r.json/7.png").mimetype == "image/png"
    text_of(client, "/pictures/training/artifacts/r.json/8.png", 404)  # no other one is shown
    text_of(client, f"/pictures/training/artifacts/r.json/{10**6}.png", 404)
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely() | near | {"training_hash": "another"})
    assert "training image" not in text_of(client, "/repairs/artifacts/r.json?edit_image=0")


def test_outcomes_of_earlier_versions_have_no_probabilities(client: FlaskClient) -> None:
    assert "Probabilities are kept of edit images" in text_of(client, "/repairs/artifacts/r.json?edit_image=0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"edit_probabilities": torch.zeros(2, 1, 2)},
        {"moved_probabilities": torch.zeros(2, 4, 3)},
        {"copies_predicted": torch.full((2, 2, 2), 9)},
        {"moved": None},
        {"nearest": torch.zeros(3, 5)},
        {"nearest": "no"},
    ],
)
def test_probabilities_that_do_not_fit(folder: Path, client: FlaskClient, wrong: dict[str, Any]) -> None:
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely() | wrong)
    text_of(client, "/repairs/artifacts/r.json?edit_image=0", 422)


def test_copies_of_an_image(client: FlaskClient) -> None:
    page = text_of(client, f"/edit-sets/{SMALL}?image=3")
    assert page.count("/pictures/copy/") == 5
    plain = client.get(f"/pictures/edit-set/{SMALL}/3.png")
    mirrored = client.get(f"/pictures/copy/{SMALL}/3/0.png")
    assert plain.data != mirrored.data
    text_of(client, f"/pictures/copy/{SMALL}/3/5.png", 404)
    text_of(client, f"/pictures/copy/{SMALL}/25/0.png", 404)


def test_rows_of_a_change_say_which_they_are(folder: Path) -> None:
    rows = {"w": torch.tensor([[3.0, 4.0]]), "w:rows": torch.tensor([2])}
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | {"changes": rows, "change_rows": {"w": 4}})
    (change,) = load_outcomes(folder / "artifacts/r_outcomes.pt").changes
    assert (change.shape, change.changed, change.norm) == ((4, 2), 2, 5.0)
    assert change.blocks.tolist() == [[0, 0], [0, 0], [3, 4], [0, 0]]


# Files to send


def test_a_repair_is_exported(folder: Path) -> None:
    save_tensors(folder / "artifacts/r_outcomes.pt", outcomes() | likely())
    write_json(folder / "artifacts/r.json", report(edit_images=[0, 10], message=HOSTILE))
    app, target = create_app(folder), folder / "sent"
    before = sorted(folder.rglob("*"))
    index = export(app, None, target)
    names = {path.name for path in target.iterdir()}
    assert {"index.html", "page.css", "plots.js", "plotly.min.js", "page_1.html"} <= names
    assert "live.js" not in names
    assert not [path for path in folder.rglob("*") if path not in before and target not in (path, path.parent)]
    for page in target.glob("*.html"):
        text = page.read_text()
        assert "<script>alert" not in text
        assert str(folder) not in text
        linked = {
            link.partition('"')[0].partition("#")[0] for key in (' href="', ' src="') for link in text.split(key)[1:]
        }
        assert linked - {""} <= names, page
    assert "Probability of each class" in (target / "page_1.html").read_text() or "page_2.html" in names
    assert index == target / "index.html"


def test_a_sweep_is_exported_with_its_repairs(folder: Path) -> None:
    target = folder / "sent"
    export(create_app(folder), Path("results/sweep.csv"), target)
    figures = (target / "index.html").read_text().split('id="figures">')[1].partition("</script>")[0]
    links = [trace["customdata"] for trace in json.loads(figures)["runtime"]["data"]]
    assert links == [["page_1.html", ""]]
    assert "What was asked" in (target / "page_1.html").read_text()
    with pytest.raises(UsageError, match="not an empty folder"):
        export(create_app(folder), None, target)


@pytest.mark.parametrize("what", [SMALL, "artifacts/none.json", "../r.json"])
def test_what_has_no_page_is_not_exported(folder: Path, what: str) -> None:
    with pytest.raises(UsageError, match="neither a repair's report"):
        export(create_app(folder), Path(what), folder / "sent")
    assert not (folder / "sent").exists()


def test_without_a_repair_there_is_nothing_to_export(folder: Path) -> None:
    shutil.rmtree(folder / "artifacts")
    with pytest.raises(UsageError, match="no repair to export"):
        export(create_app(folder), None, folder / "sent")


# A sweep


def test_bars_are_the_range_and_steps_have_a_plot(folder: Path, client: FlaskClient) -> None:
    rows = [
        result_row(n, drawdown_points=0.1 * n, sequence="step", iteration=1, repaired_accuracy_type=0.5)
        for n in (1, 2, 6)
    ]
    write_results(folder / "results/sweep.csv", rows)
    page = text_of(client, "/experiments")
    figures = json.loads(page.split('id="figures">')[1].partition("</script>")[0])
    line = figures["drawdown"]["data"][0]
    assert line["y"] == pytest.approx([0.3])
    assert (line["error_y"]["array"], line["error_y"]["arrayminus"]) == (pytest.approx([0.3]), pytest.approx([0.2]))
    assert "Repairs one upon the other." in page
    drawn = re.findall(r'id="plot-(\w+)"', page)
    assert drawn == ["accuracy", "drawdown", "copies", "runtime", "iterations", "success", "sequence"]
