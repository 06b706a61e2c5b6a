"""Repairs that cover shifted and mirrored copies: each is made anew here, another way, and judged by the file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models import alexnet
from typer.testing import CliRunner, Result

import edits.options
import run_repair
from edits.methods.last_layer import LastLayer
from edits.record.status import contradicting_images, image_name
from editset_helpers.copies import with_copies
from editset_helpers.edit_set import EditSet, load_edit_set, save_edit_set
from editset_helpers.regions import Move, Region
from helpers.errors import UsageError
from helpers.images.datasets import ImageDataset
from helpers.images.preprocessing import to_inputs
from sytorch import Contradiction, Multipliers, Program

EDIT_SET = Path("data/edit_sets/digits/misclassified_edit_dataset.pt")
SLOW = pytest.mark.slow


pytestmark = pytest.mark.usefixtures("repairs_folder")


def shifted(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Pixel by pixel: what is at (row, column) was at (row - down, column - right), or at the edge."""
    out = np.empty_like(image)
    last = len(image) - 1
    for row in range(len(image)):
        for column in range(len(image)):
            out[row, column] = image[min(max(row - down, 0), last), min(max(column - right, 0), last)]
    return out


def every_copy(image: NDArray[np.uint8], shifts: int, flip: bool) -> list[NDArray[np.uint8]]:
    """The image and its copies, uint8 (32, 32, 3) each."""
    seen = [image, np.fliplr(image)] if flip else [image]
    reach = range(-shifts, shifts + 1)
    return [shifted(picture, down, right) for picture in seen for down in reach for right in reach]


def least_margin(weights: Path, test: ImageDataset, edit_set: EditSet, shifts: int, flip: bool) -> float:
    """Of every image and copy, by torchvision's own AlexNet."""
    network = alexnet(num_classes=10).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    smallest = np.inf
    for entry, label in zip(edit_set.metadata, edit_set.labels.tolist(), strict=True):
        copies = every_copy(test.images[entry["image_idx"]], shifts, flip)
        with torch.no_grad():
            logits = network(to_inputs(np.stack(copies)))
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
        smallest = min(smallest, float((logits[:, label] - others.max(dim=1).values).min()))
    return smallest


def run(weights: Path, *options: str) -> Result:
    words = ["misclassified", "--dataset", "digits", "--weights", str(weights), "--output", "repaired.pth", "--json"]
    return CliRunner().invoke(run_repair.app, [*words, "--force", *options])


def repaired(weights: Path, *options: str) -> dict[str, Any]:
    result = run(weights, *options)
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.mark.parametrize(
    ("region", "options"),
    [
        (Region(1, True), ["--prepare", "none"]),
        (Region(2), ["--prepare", "none", "--norm", "l2"]),
        pytest.param(Region(1), ["--prepare", "auto"], marks=SLOW),
        pytest.param(Region(0, True), ["--prepare", "none", "--norm", "linf", "--solver", "highs"], marks=SLOW),
        pytest.param(
            *(Region(1), ["--layer", "classifier.4", "--pattern", "relinearise", "--metric-images", "300"]), marks=SLOW
        ),
    ],
)
def test_every_copy_has_the_margin(
    digits_baseline: Path, digits_test: ImageDataset, region: Region, options: list[str]
) -> None:
    shifts, flip = region.shifts, region.flip
    asked = ["--max-samples", "2", "--shifts", str(shifts), *(["--flip"] if flip else []), *options]
    report = repaired(digits_baseline, *asked)
    edit_set = load_edit_set(EDIT_SET).subset(2, 0)
    smallest = least_margin(Path("repaired.pth"), digits_test, edit_set, shifts, flip)
    assert smallest >= 2.0
    assert min(report["min_margin"], report["copies_min_margin"]) == pytest.approx(smallest, abs=1e-4)
    assert (report["edit_set_size"], report["copies"]) == (2, 2 * ((1 + flip) * (2 * shifts + 1) ** 2 - 1))
    assert (report["shifts"], report["flip"]) == (shifts, flip)
    assert report["edit_accuracy_after"] == report["copies_accuracy_after"] == 1.0
    assert report["copies_accuracy_before"] < 1.0


@pytest.mark.slow
def test_detectors_reach_copies_and_the_program_does_not(digits_baseline: Path) -> None:
    exact = repaired(digits_baseline, "--max-samples", "5", "--reach", "exact")
    near = repaired(digits_baseline, "--max-samples", "5", "--reach", "near")
    assert (exact["reach"], near["reach"], near["copies"]) == ("exact", "near", 0)
    assert near["generalization_after"] > exact["generalization_after"]
    assert near["edit_accuracy_after"] == 1.0 and near["min_margin"] >= 2.0


@pytest.mark.slow
def test_a_copy_has_the_margin_with_the_pattern_held(digits_baseline: Path, digits_test: ImageDataset) -> None:
    options = ["--layer", "classifier.4", "--metric-images", "300", "--max-samples", "1", "--flip", "--margin", "0.5"]
    report = repaired(digits_baseline, *options)
    assert (report["pattern"], report["copies"]) == ("fixed", 1)
    edit_set = load_edit_set(EDIT_SET).subset(1, 0)
    assert least_margin(Path("repaired.pth"), digits_test, edit_set, 0, True) >= 0.5


def test_without_copies_the_copies_are_not_right(digits_baseline: Path, digits_test: ImageDataset) -> None:
    report = repaired(digits_baseline, "--prepare", "none", "--max-samples", "2")
    edit_set = load_edit_set(EDIT_SET).subset(2, 0)
    assert least_margin(Path("repaired.pth"), digits_test, edit_set, 2, False) < 2.0
    assert (report["copies"], report["copies_min_margin"]) == (0, None)


def test_a_copy_that_misses_the_margin_is_not_verified(digits_baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is given the images alone, so only the forward pass can see that copies are left out."""

    seeing = LastLayer.program

    def blind(problem: LastLayer, allowance: float) -> Program:
        program = seeing(problem, allowance)
        return replace(program, margins=program.margins.of(np.arange(2)))

    monkeypatch.setattr(LastLayer, "program", blind)
    result = run(digits_baseline, "--prepare", "none", "--max-samples", "2", "--shifts", "2")
    assert result.exit_code == 5 and "misses the margin 2 by" in result.stderr
    assert not Path("repaired.pth").exists()
    assert json.loads(Path("repaired_failed.json").read_text())["status"] == "not_verified"


@pytest.mark.slow
def test_copies_count_where_the_number_of_images_decides(
    digits_baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits.options, "MANY_IMAGES", 8)
    options = ["--prepare", "none", "--max-samples", "1"]
    assert repaired(digits_baseline, *options)["norm"] == "l1"
    assert repaired(digits_baseline, *options, "--shifts", "1")["norm"] == "l2"


def test_contradicting_copies_are_named(digits_baseline: Path) -> None:
    options = ["--prepare", "none", "--max-samples", "2", "--shifts", "1", "--param-bound", "0.0001"]
    result = run(digits_baseline, *options)
    assert result.exit_code == 3 and re.search(r"a copy \(\d .+\) of image [01] \(\d, test image \d+\)", result.stderr)
    report = json.loads(Path("repaired_failed.json").read_text())
    indices = [entry["image_idx"] for entry in load_edit_set(EDIT_SET).subset(2, 0).metadata]
    assert report["contradicting_images"] and set(report["contradicting_images"]) <= set(indices)
    assert len(report["contradicting_images"]) == len(set(report["contradicting_images"]))


@pytest.mark.parametrize("shifts", ["-1", "32", "1000"])
def test_impossible_shifts_are_one_sentence(digits_baseline: Path, shifts: str) -> None:
    result = run(digits_baseline, "--shifts", shifts)
    assert result.exit_code == 2 and "--shifts is a number of pixels from 0 to 31" in result.stderr
    assert "Traceback" not in result.output and result.stderr.count("\n") == 1


def test_images_that_are_no_test_images_cannot_be_shifted(digits_baseline: Path) -> None:
    images = torch.rand(1, 3, 64, 64)
    words = ["--dataset", "digits", "--weights", str(digits_baseline), "--output", "repaired.pth", "--shifts", "1"]
    for metadata, sentence in (
        ({}, "the set does not hold them"),
        ({"image_idx": 4}, "1 of its images are no test images"),
    ):
        save_edit_set(EditSet(images, torch.tensor([3]), [metadata]), Path("mine_edit_dataset.pt"))
        result = CliRunner().invoke(run_repair.app, ["file", "mine_edit_dataset.pt", *words])
        assert result.exit_code == 2 and sentence in result.stderr and "Traceback" not in result.output


def test_the_copies_are_in_the_order_of_the_moves(digits_test: ImageDataset) -> None:
    region = Region(shifts=1, flip=True)
    edit_set = EditSet(to_inputs(digits_test.images[:3]), torch.tensor([5, 6, 7]), [{"image_idx": i} for i in range(3)])
    covered = with_copies(edit_set, region, digits_test)
    assert len(region.moves) == 17 and len(covered) == 3 * 18
    assert torch.equal(covered.images[:3], edit_set.images)
    for position in range(3, len(covered)):
        image, move = region.source(position, 3)
        assert move is not None and covered.labels[position] == edit_set.labels[image]
        picture = np.fliplr(digits_test.images[image]) if move.mirrored else digits_test.images[image]
        expected = to_inputs(shifted(picture, move.down, move.right)[None])[0]
        assert torch.equal(covered.images[position], expected)


def test_pixels_that_the_set_holds_are_shifted_where_the_images_are_made_of_them(digits_test: ImageDataset) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    edit_set = EditSet(to_inputs(pixels), torch.tensor([5, 6]), [{}] * 2, pixels=torch.from_numpy(pixels))
    covered = with_copies(edit_set, Region(shifts=1), digits_test)
    moves = [(move.down, move.right) for move in Region(1).moves]
    expected = [to_inputs(np.stack([shifted(image, *move) for image in pixels])) for move in moves]
    assert torch.equal(covered.images[2:], torch.cat(expected))
    others = replace(edit_set, pixels=torch.from_numpy(pixels[::-1].copy()))
    with pytest.raises(UsageError, match="2 of its images are no test images"):
        with_copies(others, Region(shifts=1), digits_test)


def test_mirroring_before_resizing_is_mirroring_after(digits_test: ImageDataset) -> None:
    edit_set = EditSet(to_inputs(digits_test.images[:3]), torch.tensor([5, 6, 7]), [{}] * 3)
    covered = with_copies(edit_set, Region(flip=True), digits_test)
    torch.testing.assert_close(covered.images[3:], to_inputs(np.ascontiguousarray(digits_test.images[:3, :, ::-1])))


def test_no_region_is_the_edit_set_itself(digits_test: ImageDataset) -> None:
    edit_set = EditSet(to_inputs(digits_test.images[:1]), torch.tensor([5]), [{}])
    assert with_copies(edit_set, Region(), digits_test) is edit_set


def test_names_of_copies() -> None:
    edit_set = EditSet(torch.zeros(2, 3, 64, 64), torch.tensor([0, 1]), [{"image_idx": 70}, {}])
    region = Region(shifts=1, flip=True)
    names = [image_name(position, edit_set, ("cat", "dog"), region) for position in (0, 2, 2 * 17 + 1)]
    assert names == [
        "image 0 (cat, test image 70)",
        "a copy (1 up and 1 left) of image 0 (cat, test image 70)",
        "a mirrored copy (1 down and 1 right) of image 1 (dog)",
    ]
    training = replace(edit_set, metadata=[{"training_idx": 70}, {}])
    assert image_name(0, training, ("cat", "dog"), region) == "image 0 (cat, training image 70)"
    assert str(Move(mirrored=True)) == "a mirrored copy"
    none = Multipliers(np.zeros((6, 2)), np.zeros((2, 1)))
    found, _ = contradicting_images(
        Contradiction((1, 3, 0), 1.0, multipliers=none, proved_for_all_changes=True), edit_set
    )
    assert found == [1, 0]


def test_a_negative_region_is_refused() -> None:
    with pytest.raises(UsageError):
        Region(shifts=-1)
