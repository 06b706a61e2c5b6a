"""What is asked of a repair: an option that would change nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

import run_repair
from edits.options import HIDDEN_METRIC_IMAGES, RepairOptions
from helpers.errors import UsageError

IDLE: dict[str, Any] = {"ridge": 0.01, "solver": "highs", "whole_program": True, "metric_images": 10_001}


@pytest.mark.parametrize("name", IDLE)
def test_an_option_that_another_layer_does_not_heed_is_refused(name: str) -> None:
    asked = {name: IDLE[name]}
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}.* --layer classifier.4"):
        RepairOptions(layer="classifier.4", norm="l2", **asked)
    assert RepairOptions(**asked).ridge > 0  # the last layer heeds it


def test_what_another_layer_heeds_is_taken() -> None:
    asked = RepairOptions(layer="classifier.4", norm="l2", metric_images=HIDDEN_METRIC_IMAGES, time_limit=5)
    assert asked.is_hidden


def test_the_command_line_says_it(workplace: Any) -> None:
    words = ["misclassified", "--dataset", "digits", "--layer", "classifier.4", "--ridge", "0.5", "--dry-run"]
    result = CliRunner().invoke(run_repair.app, words)
    assert result.exit_code == 2 and "--ridge 0.5 would change nothing" in result.output, result.output
