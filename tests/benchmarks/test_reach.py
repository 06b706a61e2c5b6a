"""Choosing the reach: the rule on made-up trials, and what is kept aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.halves import row as half_of
from benchmarks.quantised import KINDS, answers
from benchmarks.reach import CANDIDATES, LIMITS, Trial, chosen, rehearsal, trial
from edits.network.workbench import open_workbench
from edits.options import REACHES, Reach
from editset_helpers.building import select
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.evaluation import predict_logits

ALONE, LITTLE, MUCH = (
    Reach("alone", copies=False, threshold=0.3),
    Reach("little", copies=True, threshold=0.3),
    Reach("much", copies=True, threshold=0.0),
)


def trials(reach: Reach, copies: float, few: float, many: float) -> list[Trial]:
    return [
        Trial(reach, 1000, (few, few), (copies, copies), (0, 0)),
        Trial(reach, 2000, (many,), (copies,), (0,)),
    ]


def test_each_name_gets_what_has_the_most_copies_right_within_its_limits() -> None:
    (few, many), (wide, most) = LIMITS["near"], LIMITS["wide"]
    seen = [*trials(ALONE, 0.4, 0.0, 0.0), *trials(LITTLE, 0.7, few, many), *trials(MUCH, 0.9, few, most)]
    assert chosen(seen) == {"exact": ALONE, "near": LITTLE, "wide": MUCH}
    seen = [*trials(LITTLE, 0.7, few, many), *trials(MUCH, 0.9, wide + 0.01, 0.0)]
    assert chosen(seen) == {"near": LITTLE, "wide": LITTLE}


def test_what_is_chosen_was_a_candidate() -> None:
    known = {(reach.copies, reach.threshold, reach.tolerated) for reach in CANDIDATES}
    assert {(reach.copies, reach.threshold, reach.tolerated) for reach in REACHES.values()} <= known


@pytest.mark.usefixtures("warm_workplace")
def test_images_kept_aside_are_no_ordinary_ones(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    aside = rehearsal(bench, 200)
    assert (len(aside.test), len(aside.training)) == (200, len(bench.training) - 200)
    assert len({bench.training.content_hash, aside.test.content_hash, aside.training.content_hash}) == 3
    together = np.concatenate([aside.test.images, aside.training.images])
    order, all_of_them = (np.lexsort(images.reshape(len(images), -1).T) for images in (together, bench.training.images))
    np.testing.assert_array_equal(together[order], bench.training.images[all_of_them])


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workplace")
def test_a_trial_and_a_half_and_fewer_bits_on_the_digits(digits_baseline: Path) -> None:
    bench = open_workbench(DatasetName.DIGITS, None, digits_baseline)
    found = trial(bench, REACHES["near"], 3, [0])
    assert found.size <= 3 and len(found.drawdown) == 1 and 0 <= found.copies[0] <= 1
    edit_set = select(Selection("misclassified"), bench.test, bench.test_logits)
    others = np.ones(len(bench.test), dtype=bool)
    others[edit_set.test_indices()] = False
    told = half_of(bench, edit_set, others, REACHES["near"])
    assert told[:3] == ["near", str(len(edit_set)), str(int(others.sum()))]
    assert told[3] == "100.00" and told[5].endswith("of 0")
    logits = list(answers(bench.model, edit_set.images))
    assert len(logits) == len(KINDS)
    for fewer in logits[1:]:
        assert float((fewer - predict_logits(bench.model, edit_set.images)).abs().max()) < 2.0
