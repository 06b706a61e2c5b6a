"""A project's folder with one file of each kind, and the pages of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from editset_helpers.edit_set import save_edit_set
from helpers.files.writing import save_tensors, write_json
from tests.visualizer.test_content import noise_set, outcomes, report, result_row, write_results
from visualizer.app import create_app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_edit_set(noise_set(25), tmp_path / "data/edit_sets/small_edit_dataset.pt")
    write_json(tmp_path / "artifacts/r.json", report())
    save_tensors(tmp_path / "artifacts/r_outcomes.pt", outcomes())
    write_results(tmp_path / "results/sweep.csv", [result_row(1, repaired_model_path="artifacts/r.pth"), result_row(2)])
    return tmp_path


@pytest.fixture
def client(folder: Path) -> FlaskClient:
    return create_app(folder).test_client()
